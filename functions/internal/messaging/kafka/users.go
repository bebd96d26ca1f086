package kafka

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/messaging/scram"
	"example.com/orders/functions/internal/web/secret"
)

// UsersVariable has the secret from which the passwords of the principals are derived.
const UsersVariable = "KAFKA_USERS_SECRET"

// UsersSecret derives the password of each principal. It is nil if there are none: then all clients of a process log in as
// KAFKA_SASL_USER.
type UsersSecret []byte

// shortestSecret is the fewest characters of a secret: who knows one password could find out a short one by trying.
const shortestSecret = 16

// Users reads KAFKA_USERS_SECRET, with the settings of Secure.
func Users(config map[string]string) (UsersSecret, error) {
	secret, err := secret.Read(config, UsersVariable)
	switch mechanism := config["KAFKA_SASL_MECHANISM"]; {
	case err != nil:
		return nil, err
	case secret == "":
		return nil, nil
	case len(secret) < shortestSecret:
		return nil, fmt.Errorf("%s has %d characters: give at least %d random ones, as openssl rand -base64 32 prints", UsersVariable, len(secret), shortestSecret)
	case mechanism != sarama.SASLTypeSCRAMSHA256 && mechanism != sarama.SASLTypeSCRAMSHA512:
		return nil, errors.New(UsersVariable + " is set: set KAFKA_SASL_MECHANISM to SCRAM-SHA-512 or SCRAM-SHA-256, and KAFKA_SASL_USER to an administrator of the cluster, who makes the users")
	}
	return UsersSecret(secret), nil
}

// Login is the name and the password of a principal.
type Login struct{ User, Password string }

// Login returns the login of a principal, nil without a secret.
func (s UsersSecret) Login(principal string) *Login {
	if s == nil {
		return nil
	}
	h := hmac.New(sha256.New, s)
	h.Write([]byte("orders kafka user " + principal))
	return &Login{principal, base64.RawURLEncoding.EncodeToString(h.Sum(nil))}
}

// apply makes a client log in as the principal.
func (l *Login) apply(c *sarama.Config) *sarama.Config {
	if l != nil {
		c.Net.SASL.User, c.Net.SASL.Password = l.User, l.Password
	}
	return c
}

// iterations are those of the stored passwords. They are random, so that more would not make them safer.
const iterations = scram.FewestIterations

// make stores the passwords of principals in the cluster.
func (s UsersSecret) make(admin sarama.ClusterAdmin, principals []Principal) error {
	if s == nil {
		return nil
	}
	var users []sarama.AlterUserScramCredentialsUpsert
	for _, p := range principals {
		users = append(users, sarama.AlterUserScramCredentialsUpsert{
			Name: p.Name, Mechanism: stored(), Iterations: iterations, Salt: []byte(rand.Text()), Password: []byte(s.Login(p.Name).Password),
		})
	}
	results, err := admin.UpsertUserScramCredentials(users)
	if err != nil {
		return fmt.Errorf("make the users: %w", err)
	}
	return refusals("make", results)
}

// remove deletes the passwords of principals from the cluster.
func (s UsersSecret) remove(admin sarama.ClusterAdmin, principals []Principal) error {
	if s == nil {
		return nil
	}
	var users []sarama.AlterUserScramCredentialsDelete
	for _, p := range principals {
		users = append(users, sarama.AlterUserScramCredentialsDelete{Name: p.Name, Mechanism: stored()})
	}
	results, err := admin.DeleteUserScramCredentials(users)
	if err != nil {
		return fmt.Errorf("remove the users: %w", err)
	}
	return refusals("remove", results)
}

// stored returns the mechanism for which passwords are stored: that of this process.
func stored() sarama.ScramMechanismType {
	if secured.Load().mechanism == sarama.SASLTypeSCRAMSHA256 {
		return sarama.SCRAM_MECHANISM_SHA_256
	}
	return sarama.SCRAM_MECHANISM_SHA_512
}

// refusals returns which users could not be changed.
func refusals(what string, results []*sarama.AlterUserScramCredentialsResult) error {
	var errs []error
	for _, r := range results {
		if r.ErrorCode != sarama.ErrNoError {
			errs = append(errs, fmt.Errorf("%s the user %s: %w", what, r.User, r.ErrorCode))
		}
	}
	return errors.Join(errs...)
}
