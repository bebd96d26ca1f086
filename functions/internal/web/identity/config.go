package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/orders/functions/internal/web/certificate"
)

// algorithms are those that OIDC_ALGORITHMS may name: signatures with a key pair. With a shared secret (HS256) every
// function that checks tokens could also make them.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// defaultAlgorithms are the value of OIDC_ALGORITHMS if it is empty.
var defaultAlgorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}

// New returns the verifier that a configuration asks for; it does not contact the provider. Without OIDC_ISSUER and
// OIDC_AUDIENCE the verifier is not Enabled, and every request is that of the open principal.
//
//	OIDC_ISSUER         issuer of the tokens, exactly as their claim iss says it; an https URL, or http on this machine
//	OIDC_AUDIENCE       audience of the tokens, as their claim aud says it
//	OIDC_ALGORITHMS     signature algorithms to accept, with commas between; default RS256,PS256,ES256,EdDSA
//	OIDC_ROLES_CLAIM    claim with the user's roles, or the path to it; default roles, for Keycloak realm_access.roles
//	OIDC_OPERATOR_ROLE  role of operators; default operator
//	OIDC_CA_FILE        certificates in PEM that sign the provider's certificate, instead of the system's
func New(config map[string]string) (*Verifier, error) {
	v := &Verifier{
		issuer: config["OIDC_ISSUER"], audience: config["OIDC_AUDIENCE"],
		algorithms: defaultAlgorithms, rolesClaim: "roles", operatorRole: "operator", now: time.Now,
	}
	if v.issuer == "" && v.audience == "" {
		for _, name := range []string{"OIDC_ALGORITHMS", "OIDC_ROLES_CLAIM", "OIDC_OPERATOR_ROLE", "OIDC_CA_FILE"} {
			if config[name] != "" {
				return nil, fmt.Errorf("%s is set without OIDC_ISSUER and OIDC_AUDIENCE: set them too, or unset it, since nothing is checked now", name)
			}
		}
		return &Verifier{}, nil
	}
	if v.issuer == "" || v.audience == "" {
		return nil, errors.New("set both OIDC_ISSUER and OIDC_AUDIENCE, or neither of them")
	}
	if err := checkURL(v.issuer); err != nil {
		return nil, fmt.Errorf("OIDC_ISSUER is %q: %w", v.issuer, err)
	}
	if len(v.issuer) > maxIssuer {
		return nil, fmt.Errorf("OIDC_ISSUER has %d bytes: at most %d fit into an order's owner", len(v.issuer), maxIssuer)
	}
	if text := config["OIDC_ALGORITHMS"]; text != "" {
		v.algorithms = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
		for _, name := range v.algorithms {
			if !slices.Contains(algorithms, name) {
				return nil, fmt.Errorf("OIDC_ALGORITHMS has %q: give some of %s", name, strings.Join(algorithms, ","))
			}
		}
		if len(v.algorithms) == 0 {
			return nil, fmt.Errorf("OIDC_ALGORITHMS has no algorithm: give some of %s", strings.Join(algorithms, ","))
		}
	}
	if claim := config["OIDC_ROLES_CLAIM"]; claim != "" {
		v.rolesClaim = claim
	}
	if role := config["OIDC_OPERATOR_ROLE"]; role != "" {
		v.operatorRole = role
	}
	client, err := client("OIDC_CA_FILE", config["OIDC_CA_FILE"])
	if err != nil {
		return nil, err
	}
	v.keys = &keys{issuer: v.issuer, client: client, now: func() time.Time { return v.now() }}
	return v, nil
}

// checkURL returns an error unless text is a URL of a provider that this machine can trust: over TLS, or on this machine.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(text, " \t\r\n") {
		return errors.New("give a URL like https://login.example.com/realms/orders")
	}
	if u.Scheme == "https" || (u.Scheme == "http" && onThisMachine(u.Hostname())) {
		return nil
	}
	return errors.New("give an https URL: keys that come over plain http could be anybody's (http is accepted for localhost, names below .localhost, and loopback addresses)")
}

// onThisMachine returns whether a host is this machine by its name: RFC 6761, 6.3 reserves localhost and the names below it.
func onThisMachine(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

// client returns a client for the provider; the variable name names the certificates that it trusts. It follows no redirect,
// which could lead from https to http.
func client(name, caFile string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // nothing here replaces it
	if caFile != "" {
		pool := x509.NewCertPool()
		if err := certificate.Add(pool, caFile); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport: transport, Timeout: fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
