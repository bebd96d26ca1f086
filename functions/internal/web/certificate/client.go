// Package certificate takes certificates and keys from PEM files: those by which this process verifies a server and proves
// itself to it, and those by which it serves HTTPS. Files may be replaced while it runs.
package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Client names the files of a client.
type Client struct {
	prefix        string // of the variables
	ca, cert, key string // paths; "" if not set
}

// NewClient reads PREFIX_CA_FILE, the authorities that are trusted instead of the system's, and PREFIX_CERT_FILE with
// PREFIX_KEY_FILE, the certificate of the client and its key. It loads them once, so that a mistake is reported at once.
func NewClient(config map[string]string, prefix string) (Client, error) {
	c := Client{prefix: prefix, ca: config[prefix+"_CA_FILE"], cert: config[prefix+"_CERT_FILE"], key: config[prefix+"_KEY_FILE"]}
	if (c.cert == "") != (c.key == "") {
		return c, fmt.Errorf("only one of %[1]s_CERT_FILE and %[1]s_KEY_FILE is set: give both, or none", prefix)
	}
	_, err := c.Config()
	return c, err
}

// Given returns whether any file is set.
func (c Client) Given() bool { return c.ca != "" || c.cert != "" }

// Config returns the TLS settings of a connection, with the authorities as the file has them now. It reads the certificate
// and the key anew for each handshake, also of a client that keeps the settings.
func (c Client) Config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ca != "" {
		config.RootCAs = x509.NewCertPool()
		if err := Add(config.RootCAs, c.ca); err != nil {
			return nil, fmt.Errorf("%s_CA_FILE: %w", c.prefix, err)
		}
	}
	if c.cert != "" {
		if _, err := c.own(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.own() }
	}
	return config, nil
}

// own loads the certificate of the client.
func (c Client) own() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("%[1]s_CERT_FILE and %[1]s_KEY_FILE: %[2]w", c.prefix, err)
	}
	return &pair, nil
}

// Add adds the certificates of a PEM file to those that are trusted.
func Add(pool *x509.CertPool, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(text) {
		return errors.New(path + " has no certificate: give a file in PEM, which begins with -----BEGIN CERTIFICATE-----")
	}
	return nil
}
