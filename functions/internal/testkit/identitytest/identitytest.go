// Package identitytest has an OpenID Connect provider for tests: a discovery document, keys that rotate, tokens with whatever
// claims a test wants, and a log-in that lets in whom the test names, without asking.
package identitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
)

// Audience is the audience of the tokens.
const Audience = "orders"

// Provider is a running provider.
type Provider struct {
	// Issuer is its URL.
	Issuer string

	t testing.TB

	mu      sync.Mutex
	key     key
	public  jose.JSONWebKeySet
	fetches int
	broken  func(w http.ResponseWriter, r *http.Request)
	login   login
}

type key struct {
	id      string
	private crypto.Signer
}

// Start starts a provider with one key. It ends with the test.
func Start(t testing.TB) *Provider {
	t.Helper()
	p, _ := start(t, httptest.NewServer)
	return p
}

// StartTLS is Start for a provider behind TLS. It returns a file with the certificate that signs the provider's.
func StartTLS(t testing.TB) (p *Provider, certificates string) {
	t.Helper()
	p, server := start(t, httptest.NewTLSServer)
	certificates = filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(certificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	return p, certificates
}

func start(t testing.TB, serve func(http.Handler) *httptest.Server) (*Provider, *httptest.Server) {
	t.Helper()
	p := &Provider{t: t}
	p.Rotate()
	server := serve(http.HandlerFunc(p.serve))
	t.Cleanup(server.Close)
	p.Issuer = server.URL
	return p, server
}

// Config returns the configuration of a function that trusts the provider.
func (p *Provider) Config() map[string]string {
	return map[string]string{"OIDC_ISSUER": p.Issuer, "OIDC_AUDIENCE": Audience}
}

func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	broken, public, document := p.broken, p.public, map[string]any{
		"issuer": p.Issuer, "jwks_uri": p.Issuer + "/keys", "authorization_endpoint": p.Issuer + "/authorize",
		"token_endpoint": p.Issuer + "/token", "end_session_endpoint": p.Issuer + "/logout", "id_token_signing_alg_values_supported": []string{"ES256"},
	}
	if r.URL.Path == "/keys" {
		p.fetches++
	}
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case broken != nil:
		broken(w, r)
	case r.URL.Path == "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(document) // it fails only if the client is gone
	case r.URL.Path == "/keys":
		_ = json.NewEncoder(w).Encode(public)
	default:
		p.serveLogin(w, r)
	}
}

// Keys serves the public keys, whatever the path and however broken the provider is.
func (p *Provider) Keys() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = json.NewEncoder(w).Encode(p.public) // it fails only if the client is gone
	})
}

// Break makes the provider answer with broken; nil mends it.
func (p *Provider) Break(broken http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = broken
}

// Down makes the provider answer nothing but 503.
func (p *Provider) Down() {
	p.Break(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
}

// Fetches returns how often the keys were asked for.
func (p *Provider) Fetches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches
}

// Rotate replaces the key by a new one, and no longer publishes the old one.
func (p *Provider) Rotate() {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(p.t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	n, _ := strconv.Atoi(p.key.id)
	p.key = key{id: strconv.Itoa(n + 1), private: private}
	p.public = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: p.key.id, Algorithm: "ES256", Use: "sig"}}}
}

// Publish adds a key to those that the provider publishes.
func (p *Provider) Publish(added jose.JSONWebKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.public.Keys = append(p.public.Keys, added)
}

// Claims returns the claims of a valid access token of a user with a verified address, changed by changes; nil takes a claim
// away.
func (p *Provider) Claims(subject string, changes map[string]any) map[string]any {
	now := time.Now()
	all := map[string]any{
		"iss": p.Issuer, "aud": Audience, "sub": subject, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"email": subject + "@example.com", "email_verified": true,
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

// Customer returns the access token of a customer.
func (p *Provider) Customer(subject string) string {
	return p.Sign(p.Claims(subject, nil), map[string]any{"typ": "at+jwt"})
}

// Operator returns the access token of an operator.
func (p *Provider) Operator(subject string) string {
	return p.Sign(p.Claims(subject, map[string]any{"roles": []string{"operator"}}), map[string]any{"typ": "at+jwt"})
}

// Sign returns a token with claims and, beside alg and kid, the header's fields; nil takes the kid away.
func (p *Provider) Sign(claims, header map[string]any) string {
	p.mu.Lock()
	signing := p.key
	p.mu.Unlock()
	return SignWith(p.t, jose.ES256, signing.private, signing.id, claims, header)
}

// SignWith returns a token that is signed with a key.
func SignWith(t testing.TB, algorithm jose.SignatureAlgorithm, private any, id string, claims, header map[string]any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	options.WithHeader("kid", id)
	for name, value := range header {
		options.WithHeader(jose.HeaderKey(name), value)
		if value == nil {
			delete(options.ExtraHeaders, jose.HeaderKey(name))
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: private}, options)
	require.NoError(t, err)
	payload, err := json.Marshal(claims)
	require.NoError(t, err)
	signed, err := signer.Sign(payload)
	require.NoError(t, err)
	token, err := signed.CompactSerialize()
	require.NoError(t, err)
	return token
}
