package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/web/certificate"
	"example.com/orders/functions/internal/web/direct"
)

// Variables of HTTPS.
const (
	certVariable = "HARNESS_TLS_CERT_FILE"
	keyVariable  = "HARNESS_TLS_KEY_FILE"
	caVariable   = "HARNESS_CA_FILE" // for commands, and for the harness that other commands find
)

// origin returns the URL of the harness that serves on addr, by which this process calls it from now on. certFile is the file
// of its certificate, and caFile one of authorities; without either it has no HTTPS.
func origin(addr, certFile, caFile string) (string, error) {
	addr = reachable(addr)
	if certFile == "" && caFile == "" {
		return "http://" + addr, nil
	}
	settings, err := trust(certFile, caFile)
	if err != nil {
		return "", err
	}
	direct.Trust(addr, settings)
	return "https://" + addr, nil
}

// given returns the URL of the harness on the address that the user gives. Flags or variables say whether it has HTTPS: those
// of the harness itself, as in its container, or HARNESS_CA_FILE.
func (o options) given() (string, error) { return origin(o.addr, o.certFile, o.environ[caVariable]) }

// origin returns the URL of the harness that has written the run file, on one of its addresses. caFile overrides the
// authorities that it names.
func (r runFile) origin(addr, caFile string) (string, error) {
	if r.Certificate == "" {
		return origin(addr, "", "")
	}
	return origin(addr, r.Certificate, or(caFile, r.Variables[caVariable]))
}

// trust returns the TLS settings for a harness. Its certificate is one that the system trusts, one of the authorities in
// caFile, or the one in certFile, whose name is then expected whatever the address. Either file may be missing.
func trust(certFile, caFile string) (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if settings.RootCAs, err = x509.SystemCertPool(); err != nil {
		settings.RootCAs = x509.NewCertPool() // such as in an image without any
	}
	if caFile != "" {
		if err := certificate.Add(settings.RootCAs, caFile); err != nil {
			return nil, fmt.Errorf("%s: %w", caVariable, err)
		}
	}
	if certFile == "" {
		return settings, nil
	}
	err = certificate.Add(settings.RootCAs, certFile)
	if err == nil {
		settings.ServerName, err = serverName(certFile)
	}
	if err != nil && caFile == "" {
		return nil, fmt.Errorf("the certificate of the harness cannot be read, set %s to the authority that issued it: %w", caVariable, err)
	}
	return settings, nil
}

// serverName returns the first name of the certificate in a file.
func serverName(certFile string) (string, error) {
	text, err := os.ReadFile(certFile)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "", errors.New(certFile + " is not in PEM")
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("%s: %w", certFile, err)
	}
	names := certificate.Names(parsed)
	if len(names) == 0 {
		return "", errors.New(certFile + " has no names")
	}
	return names[0], nil
}

// isLocal returns whether only this machine reaches a listener.
func isLocal(listening net.Addr) bool {
	address, ok := listening.(*net.TCPAddr)
	return ok && address.IP.IsLoopback()
}

// trusting returns the value of --trust-network, which HARNESS_TRUST_NETWORK sets without the flag.
func trusting(flags *pflag.FlagSet, flag bool, environ map[string]string) (bool, error) {
	if flags.Changed("trust-network") {
		return flag, nil
	}
	return readBool(environ, "HARNESS_TRUST_NETWORK", false)
}

// oidcIssuer switches on the login of customers and operators.
const oidcIssuer = "OIDC_ISSUER"

// checkOpen refuses an address at which everybody in a network could do everything. It judges the address that the kernel has
// chosen, since a name may resolve to anything.
func (o options) checkOpen(listening net.Addr) error {
	if isLocal(listening) || o.trustNetwork || o.environ[oidcIssuer] != "" {
		return nil
	}
	return usage(fmt.Errorf("--addr %s (%s) would let everybody who reaches this machine place, cancel and operate: set OIDC_ISSUER and OIDC_AUDIENCE so that callers must log in, "+
		"or, if you trust everybody on that network, add --trust-network or set HARNESS_TRUST_NETWORK=true", o.addr, listening))
}
