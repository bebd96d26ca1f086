// Package scram is the client's side of a SCRAM authentication at a Kafka broker, for clients of sarama.
package scram

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/IBM/sarama"
)

// Client authenticates once (RFC 5802, and RFC 7677 for SHA-256), without channel binding. Names and passwords are printable
// ASCII.
type Client struct {
	Mechanism string // SCRAM-SHA-256 or SCRAM-SHA-512

	nonce string // of the client; Begin generates it if it is ""

	hash            func() hash.Hash
	password        string
	bare            string // the first message, without its header
	serverSignature []byte // expected after the proof
	step            int
	done            bool
}

// Begin sets the name and the password.
func (s *Client) Begin(user, password, _ string) error {
	switch s.Mechanism {
	case sarama.SASLTypeSCRAMSHA256:
		s.hash = sha256.New
	case sarama.SASLTypeSCRAMSHA512:
		s.hash = sha512.New
	default:
		return fmt.Errorf("unknown SCRAM mechanism %q", s.Mechanism)
	}
	if s.nonce == "" {
		s.nonce = rand.Text()
	}
	s.password = password
	s.bare = "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user) + ",r=" + s.nonce
	return nil
}

// The header says that there is no channel binding.
const header64, gs2Header = "biws", "n,,"

// Step answers the server's message; the first is "".
func (s *Client) Step(challenge string) (string, error) {
	s.step++
	switch s.step {
	case 1:
		return gs2Header + s.bare, nil
	case 2:
		return s.prove(challenge)
	case 3:
		return "", s.verify(challenge)
	default:
		return "", errors.New("the SCRAM exchange is over")
	}
}

// Done returns whether the server has proved that it knows the password, too.
func (s *Client) Done() bool { return s.done }

const (
	// FewestIterations are those that a server must ask for (RFC 7677, 4).
	FewestIterations = 4096
	mostIterations   = 1_000_000
)

func (s *Client) prove(first string) (string, error) {
	fields := attributes(first)
	salt, err := base64.StdEncoding.DecodeString(fields["s"])
	if err != nil || len(salt) == 0 {
		return "", fmt.Errorf("the server's first SCRAM message has no salt: %q", first)
	}
	iterations, err := strconv.Atoi(fields["i"])
	if err != nil || iterations < FewestIterations || iterations > mostIterations {
		return "", fmt.Errorf("the server asks for %q SCRAM iterations: allowed are %d to %d", fields["i"], FewestIterations, mostIterations)
	}
	if nonce := fields["r"]; !strings.HasPrefix(nonce, s.nonce) || nonce == s.nonce {
		return "", errors.New("the server's SCRAM nonce does not continue the client's")
	}
	salted, err := pbkdf2.Key(s.hash, s.password, salt, iterations, s.hash().Size())
	if err != nil {
		return "", fmt.Errorf("salt the password: %w", err)
	}
	withoutProof := "c=" + header64 + ",r=" + fields["r"]
	message := s.bare + "," + first + "," + withoutProof
	clientKey := s.mac(salted, "Client Key")
	h := s.hash()
	h.Write(clientKey)
	signature := s.mac(h.Sum(nil), message)
	proof := make([]byte, len(clientKey))
	subtle.XORBytes(proof, clientKey, signature)
	s.serverSignature = s.mac(s.mac(salted, "Server Key"), message)
	return withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

func (s *Client) verify(final string) error {
	fields := attributes(final)
	if reason := fields["e"]; reason != "" {
		return fmt.Errorf("the server refuses the user or the password: %s", reason)
	}
	signature, err := base64.StdEncoding.DecodeString(fields["v"])
	if err != nil || !hmac.Equal(signature, s.serverSignature) {
		return errors.New("the server did not prove that it knows the password")
	}
	s.done = true
	return nil
}

func (s *Client) mac(key []byte, message string) []byte {
	h := hmac.New(s.hash, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

// attributes returns the values of a message by their letters.
func attributes(message string) map[string]string {
	values := map[string]string{}
	for field := range strings.SplitSeq(message, ",") {
		if name, value, ok := strings.Cut(field, "="); ok {
			values[name] = value
		}
	}
	return values
}
