package identity

import "net/http"

// Client returns a client for the provider of a configuration: it trusts the certificates of OIDC_CA_FILE, if that is set,
// gives up after some seconds, and follows no redirect.
func Client(config map[string]string) (*http.Client, error) {
	return client("OIDC_CA_FILE", config["OIDC_CA_FILE"])
}

// Algorithms returns the signature algorithms that the verifier accepts.
func (v *Verifier) Algorithms() []string { return v.algorithms }
