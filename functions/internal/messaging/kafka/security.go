package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/IBM/sarama"
)

// security is the authentication and encryption of this process's clients.
type security struct {
	tls                       bool
	mechanism, user, password string
}

// secured applies to all clients: a process uses one cluster.
var secured atomic.Pointer[security]

// Secure sets how all clients that this process makes from then on connect to the brokers. It reads KAFKA_TLS, true or false
// (the default); TLS trusts the system's certificates and those in SSL_CERT_DIR. It reads KAFKA_SASL_MECHANISM, which is
// PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, with KAFKA_SASL_USER and KAFKA_SASL_PASSWORD. PLAIN without TLS is an error, since
// it would send the password unencrypted.
func Secure(config map[string]string) error {
	s := security{mechanism: config["KAFKA_SASL_MECHANISM"], user: config["KAFKA_SASL_USER"], password: config["KAFKA_SASL_PASSWORD"]}
	if text := config["KAFKA_TLS"]; text != "" {
		var err error
		if s.tls, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("KAFKA_TLS is %q: give true or false", text)
		}
	}
	switch s.mechanism {
	case "":
		if s.user != "" || s.password != "" {
			return errors.New("KAFKA_SASL_USER or KAFKA_SASL_PASSWORD is set without KAFKA_SASL_MECHANISM: give PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
		}
	case sarama.SASLTypePlaintext:
		if !s.tls {
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

// apply configures a client.
func (s *security) apply(c *sarama.Config) {
	if s == nil {
		return
	}
	if s.tls {
		c.Net.TLS.Enable = true
		c.Net.TLS.Config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if s.mechanism == "" {
		return
	}
	c.Net.SASL.Enable = true
	c.Net.SASL.Handshake = true
	c.Net.SASL.Mechanism = sarama.SASLMechanism(s.mechanism)
	c.Net.SASL.User, c.Net.SASL.Password = s.user, s.password
	if s.mechanism != sarama.SASLTypePlaintext {
		c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scram{mechanism: s.mechanism} }
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
