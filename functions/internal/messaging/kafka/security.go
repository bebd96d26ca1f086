package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/messaging/scram"
	"example.com/orders/functions/internal/web/certificate"
	"example.com/orders/functions/internal/web/secret"
)

// security is the authentication and encryption of this process's clients.
type security struct {
	tls                       *tls.Config // nil for plaintext
	mechanism, user, password string
}

// secured applies to all clients: a process uses one cluster.
var secured atomic.Pointer[security]

// Secure sets how all clients that this process makes from then on connect to the brokers. It reads KAFKA_TLS, true or false
// (the default). TLS trusts the system's certificates and those in SSL_CERT_DIR, or instead those in KAFKA_TLS_CA_FILE; the
// client's own certificate, if the brokers ask for one, is in KAFKA_TLS_CERT_FILE, with its key in KAFKA_TLS_KEY_FILE. It
// reads KAFKA_SASL_MECHANISM, which is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, with KAFKA_SASL_USER and KAFKA_SASL_PASSWORD
// (or the file of KAFKA_SASL_PASSWORD_FILE). PLAIN without TLS is an error, since it would send the password unencrypted.
func Secure(config map[string]string) error {
	s := security{mechanism: config["KAFKA_SASL_MECHANISM"], user: config["KAFKA_SASL_USER"]}
	var err error
	if s.password, err = secret.Read(config, "KAFKA_SASL_PASSWORD"); err != nil {
		return err
	}
	if s.tls, err = readTLS(config); err != nil {
		return err
	}
	switch s.mechanism {
	case "":
		if s.user != "" || s.password != "" {
			return errors.New("KAFKA_SASL_USER or KAFKA_SASL_PASSWORD is set without KAFKA_SASL_MECHANISM: give PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
		}
	case sarama.SASLTypePlaintext:
		if s.tls == nil {
			return errors.New("KAFKA_SASL_MECHANISM is PLAIN without KAFKA_TLS: the password would travel unencrypted, set KAFKA_TLS=true or use SCRAM-SHA-512")
		}
	case sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512:
	default:
		return fmt.Errorf("KAFKA_SASL_MECHANISM is %q: give PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.mechanism)
	}
	if s.mechanism != "" && (s.user == "" || s.password == "") {
		return errors.New("KAFKA_SASL_MECHANISM is set: give KAFKA_SASL_USER and KAFKA_SASL_PASSWORD too")
	}
	if s.mechanism != "" && !printableASCII(s.user+s.password) {
		return errors.New("KAFKA_SASL_USER and KAFKA_SASL_PASSWORD must be printable ASCII")
	}
	secured.Store(&s)
	return nil
}

// readTLS returns the TLS settings of clients, nil for plaintext.
func readTLS(config map[string]string) (*tls.Config, error) {
	on := false
	if text := config["KAFKA_TLS"]; text != "" {
		var err error
		if on, err = strconv.ParseBool(text); err != nil {
			return nil, fmt.Errorf("KAFKA_TLS is %q: give true or false", text)
		}
	}
	files, err := certificate.NewClient(config, "KAFKA_TLS")
	switch {
	case err != nil:
		return nil, err
	case on:
		return files.Config()
	case files.Given():
		return nil, errors.New("KAFKA_TLS_CA_FILE or KAFKA_TLS_CERT_FILE is set without KAFKA_TLS: set KAFKA_TLS=true, or leave them out")
	}
	return nil, nil //nolint:nilnil // plaintext
}

// Apply makes the settings of a client those that Secure has read.
func Apply(c *sarama.Config) { secured.Load().apply(c) }

// apply configures a client.
func (s *security) apply(c *sarama.Config) {
	if s == nil {
		return
	}
	if s.tls != nil {
		c.Net.TLS.Enable = true
		c.Net.TLS.Config = s.tls.Clone()
	}
	if s.mechanism == "" {
		return
	}
	c.Net.SASL.Enable = true
	c.Net.SASL.Handshake = true
	c.Net.SASL.Mechanism = sarama.SASLMechanism(s.mechanism)
	c.Net.SASL.User, c.Net.SASL.Password = s.user, s.password
	if s.mechanism != sarama.SASLTypePlaintext {
		c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scram.Client{Mechanism: s.mechanism} }
	}
}

// printableASCII returns whether a text is printable ASCII, which SASLprep (RFC 4013) leaves as it is.
func printableASCII(text string) bool {
	for _, r := range text {
		if r < ' ' || r > '~' {
			return false
		}
	}
	return true
}
