package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/identitytest"
	"example.com/orders/functions/internal/web/rest"
)

// clock is a clock that a test moves; it starts at the real time, which the provider's tokens use.
type clock struct{ nanoseconds atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.nanoseconds.Load()) }
func (c *clock) advance(d time.Duration) { c.nanoseconds.Add(int64(d)) }

func verifier(t testing.TB, config map[string]string) (*Verifier, *clock) {
	t.Helper()
	v, err := New(config)
	require.NoError(t, err)
	require.True(t, v.Enabled())
	c := &clock{}
	c.nanoseconds.Store(time.Now().UnixNano())
	v.now = c.now
	return v, c
}

func status(t testing.TB, err error) int {
	t.Helper()
	if err == nil {
		return http.StatusOK
	}
	p, ok := errors.AsType[*rest.Problem](err)
	require.True(t, ok, "%T: %v", err, err)
	return p.Status
}

func TestPrincipalOfAToken(t *testing.T) {
	p := identitytest.Start(t)
	v, _ := verifier(t, p.Config())
	for name, c := range map[string]struct {
		claims map[string]any
		want   Principal
	}{
		"a customer":              {nil, Principal{Email: "alice@example.com", EmailVerified: true}},
		"an operator":             {map[string]any{"roles": []string{"other", "operator"}}, Principal{Email: "alice@example.com", EmailVerified: true, Operator: true}},
		"one role as a text":      {map[string]any{"roles": "operator"}, Principal{Email: "alice@example.com", EmailVerified: true, Operator: true}},
		"a role that contains it": {map[string]any{"roles": []string{"operators", "Operator"}}, Principal{Email: "alice@example.com", EmailVerified: true}},
		"roles in a text":         {map[string]any{"roles": "viewer operator"}, Principal{Email: "alice@example.com", EmailVerified: true}},
		"roles of another shape":  {map[string]any{"roles": map[string]any{"operator": true}}, Principal{Email: "alice@example.com", EmailVerified: true}},
		"an unverified address":   {map[string]any{"email_verified": false}, Principal{Email: "alice@example.com"}},
		"no word on the address":  {map[string]any{"email_verified": nil}, Principal{Email: "alice@example.com"}},
		"verified in a text":      {map[string]any{"email_verified": "true"}, Principal{Email: "alice@example.com", EmailVerified: true}},
		"not verified in a text":  {map[string]any{"email_verified": "false"}, Principal{Email: "alice@example.com"}},
		"verified without one":    {map[string]any{"email": nil}, Principal{}},
		"several audiences":       {map[string]any{"aud": []string{"account", identitytest.Audience}, "email": nil}, Principal{}},
		"Keycloak's own typ":      {map[string]any{"typ": "Bearer", "email": nil}, Principal{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Issuer, c.want.Subject = p.Issuer, "alice"
			got, err := v.Verify(t.Context(), p.Sign(p.Claims("alice", c.claims), map[string]any{"typ": "JWT"}))
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
			assert.Equal(t, p.Issuer+" alice", got.Owner())
		})
	}
}

func TestRolesAtAPath(t *testing.T) {
	p := identitytest.Start(t)
	config := p.Config()
	for name, c := range map[string]struct {
		claim  string
		claims map[string]any
		want   bool
	}{
		"Keycloak's":          {"realm_access.roles", map[string]any{"realm_access": map[string]any{"roles": []string{"boss"}}}, true},
		"a name with dots":    {"https://example.com/roles", map[string]any{"https://example.com/roles": []string{"boss"}}, true},
		"nothing at the path": {"realm_access.roles", map[string]any{"realm_access": map[string]any{}}, false},
		"a list on the way":   {"realm_access.roles", map[string]any{"realm_access": []string{"boss"}}, false},
		"no such claim":       {"realm_access.roles", map[string]any{"roles": []string{"boss"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			config["OIDC_ROLES_CLAIM"], config["OIDC_OPERATOR_ROLE"] = c.claim, "boss"
			v, _ := verifier(t, config)
			got, err := v.Verify(t.Context(), p.Sign(p.Claims("alice", c.claims), nil))
			require.NoError(t, err)
			assert.Equal(t, c.want, got.Operator)
		})
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	p := identitytest.Start(t)
	v, c := verifier(t, p.Config())
	_, err := v.Verify(t.Context(), p.Customer("alice"))
	require.NoError(t, err)
	other := identitytest.Start(t)
	now := c.now()
	in := func(d time.Duration) int64 { return now.Add(d).Unix() }
	claims := func(changes map[string]any) string { return p.Sign(p.Claims("alice", changes), nil) }
	header := func(fields map[string]any) string { return p.Sign(p.Claims("alice", nil), fields) }
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	signed := strings.Split(p.Customer("alice"), ".")
	published, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	public := x509.MarshalPKCS1PublicKey(&published.PublicKey)
	symmetric := identitytest.SignWith(t, jose.HS256, public, "1", p.Claims("alice", nil), nil)

	for name, token := range map[string]string{
		"empty":                               "",
		"no JWT":                              "opaque",
		"no signature":                        part(`{"alg":"none"}`) + "." + signed[1] + ".",
		"algorithm none":                      part(`{"alg":"none","kid":"1"}`) + "." + signed[1] + "." + signed[2],
		"a public key as a shared secret":     symmetric,
		"a changed payload":                   signed[0] + "." + part(`{"sub":"bob"}`) + "." + signed[2],
		"another provider's key":              other.Sign(p.Claims("alice", nil), nil),
		"another provider":                    other.Customer("alice"),
		"another issuer":                      claims(map[string]any{"iss": p.Issuer + "/"}),
		"no issuer":                           claims(map[string]any{"iss": nil}),
		"another audience":                    claims(map[string]any{"aud": "console"}),
		"an audience that contains it":        claims(map[string]any{"aud": identitytest.Audience + "2"}),
		"no audience":                         claims(map[string]any{"aud": nil}),
		"expired":                             claims(map[string]any{"exp": in(-31 * time.Second)}),
		"no expiry":                           claims(map[string]any{"exp": nil}),
		"an expiry in words":                  claims(map[string]any{"exp": "tomorrow"}),
		"not valid yet":                       claims(map[string]any{"nbf": in(32 * time.Second)}),
		"an ID token by its nonce":            claims(map[string]any{"nonce": "n"}),
		"an ID token by its hash":             claims(map[string]any{"at_hash": "h"}),
		"an ID token by its code's hash":      claims(map[string]any{"c_hash": "h"}),
		"an ID token by Keycloak's word":      claims(map[string]any{"typ": "ID"}),
		"a refresh token by Keycloak's word":  claims(map[string]any{"typ": "Refresh"}),
		"a token for log-out":                 header(map[string]any{"typ": "logout+jwt"}),
		"a typ that is no text":               header(map[string]any{"typ": 7}),
		"bound to a key":                      claims(map[string]any{"cnf": map[string]any{"jkt": "k"}}),
		"no subject":                          claims(map[string]any{"sub": nil}),
		"a subject too long":                  claims(map[string]any{"sub": strings.Repeat("s", 256)}),
		"a subject that is not ASCII":         claims(map[string]any{"sub": "älice"}),
		"a subject with a line":               claims(map[string]any{"sub": "a\nb"}),
		"an unknown key":                      header(map[string]any{"kid": "unknown"}),
		"a header that must be understood":    header(map[string]any{"crit": []string{"exp"}}),
		"too large":                           claims(map[string]any{"pad": strings.Repeat("x", maxToken)}),
		"claims that are no object of claims": claims(map[string]any{"email": 7}),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := v.Verify(t.Context(), token)
			require.Equal(t, http.StatusUnauthorized, status(t, err), "%v %v", got, err)
			assert.Zero(t, got)
			w := httptest.NewRecorder()
			rest.Handler(nil, func(http.ResponseWriter, *http.Request) error { return err })(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
			assert.Regexp(t, `^Bearer error="invalid_token", error_description="[ !#-\[\]-~]+"$`, w.Header().Get("WWW-Authenticate"))
		})
	}
}

func TestTokensWithinTheSkewOfClocks(t *testing.T) {
	p := identitytest.Start(t)
	v, c := verifier(t, p.Config())
	for name, claims := range map[string]map[string]any{
		"just expired":       {"exp": c.now().Add(-28 * time.Second).Unix()},
		"about to be valid":  {"nbf": c.now().Add(28 * time.Second).Unix()},
		"times in fractions": {"exp": float64(c.now().Unix()) + 10.5},
		"the longest sub":    {"sub": strings.Repeat("s", 255)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := v.Verify(t.Context(), p.Sign(p.Claims("alice", claims), map[string]any{"typ": "application/at+jwt"}))
			require.NoError(t, err)
			assert.LessOrEqual(t, len(got.Owner()), MaxOwner)
		})
	}
}

func TestOnlyTheListedAlgorithmsAreAccepted(t *testing.T) {
	p := identitytest.Start(t)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p.Publish(jose.JSONWebKey{Key: private.Public(), KeyID: "rsa"})
	config := p.Config()
	config["OIDC_ALGORITHMS"] = "RS256, PS256"
	v, _ := verifier(t, config)
	for algorithm, want := range map[jose.SignatureAlgorithm]int{jose.RS256: 200, jose.PS256: 200, jose.RS384: 401, jose.PS512: 401} {
		_, err := v.Verify(t.Context(), identitytest.SignWith(t, algorithm, private, "rsa", p.Claims("alice", nil), nil))
		assert.Equal(t, want, status(t, err), algorithm)
	}
	_, err = v.Verify(t.Context(), p.Customer("alice"))
	assert.Equal(t, 401, status(t, err), "ES256")
}

func TestAKeyForAnotherAlgorithmOrUseDoesNotServe(t *testing.T) {
	p := identitytest.Start(t)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p.Publish(jose.JSONWebKey{Key: private.Public(), KeyID: "other", Algorithm: "RS512"})
	p.Publish(jose.JSONWebKey{Key: private.Public(), KeyID: "encryption", Use: "enc"})
	v, _ := verifier(t, p.Config())
	for _, id := range []string{"other", "encryption"} {
		_, err := v.Verify(t.Context(), identitytest.SignWith(t, jose.RS256, private, id, p.Claims("alice", nil), nil))
		assert.Equal(t, 401, status(t, err), id)
	}
}

func TestATokenWithoutAKeyIDIsCheckedWithEachKey(t *testing.T) {
	p := identitytest.Start(t)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p.Publish(jose.JSONWebKey{Key: private.Public(), KeyID: "second"})
	v, _ := verifier(t, p.Config())
	_, err = v.Verify(t.Context(), identitytest.SignWith(t, jose.ES256, private, "", p.Claims("alice", nil), map[string]any{"kid": nil}))
	require.NoError(t, err)
}

func TestANewKeyIsFetchedAndAWithdrawnOneIsRefused(t *testing.T) {
	p := identitytest.Start(t)
	v, c := verifier(t, p.Config())
	old := p.Customer("alice")
	_, err := v.Verify(t.Context(), old)
	require.NoError(t, err)
	p.Rotate()
	c.advance(unknownKeyInterval)
	_, err = v.Verify(t.Context(), p.Customer("alice"))
	require.NoError(t, err)
	assert.Equal(t, 2, p.Fetches())
	_, err = v.Verify(t.Context(), old)
	assert.Equal(t, 401, status(t, err))
}

func TestAWithdrawnKeyIsRefusedOnceTheKeysAreOld(t *testing.T) {
	p := identitytest.Start(t)
	v, c := verifier(t, p.Config())
	old := p.Customer("alice")
	_, err := v.Verify(t.Context(), old)
	require.NoError(t, err)
	p.Rotate()
	c.advance(refreshAfter)
	_, err = v.Verify(t.Context(), old) // it starts the fetch, and does not wait for it
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := v.Verify(t.Context(), old)
		return err != nil && status(t, err) == 401
	}, 10*time.Second, time.Millisecond)
	assert.Equal(t, 2, p.Fetches())
}

func TestUnknownKeysDoNotHammerTheProvider(t *testing.T) {
	p := identitytest.Start(t)
	v, c := verifier(t, p.Config())
	forged := p.Sign(p.Claims("alice", nil), map[string]any{"kid": "made-up"})
	const rounds = 3
	for range rounds {
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				_, err := v.Verify(t.Context(), forged)
				assert.Equal(t, 401, status(t, err))
			})
		}
		all.Wait()
		c.advance(unknownKeyInterval)
	}
	assert.Equal(t, rounds, p.Fetches())
	_, err := v.Verify(t.Context(), p.Customer("alice"))
	require.NoError(t, err)
}

func TestWithoutTheProviderNobodyGetsIn(t *testing.T) {
	p := identitytest.Start(t)
	p.Down()
	v, c := verifier(t, p.Config())
	for range 3 {
		_, err := v.Verify(t.Context(), p.Customer("alice"))
		require.Equal(t, 503, status(t, err))
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+p.Customer("alice"))
	v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was let in") })).ServeHTTP(w, r)
	assert.Equal(t, 503, w.Code)
	assert.NotEmpty(t, w.Header().Get("Retry-After"))

	p.Break(nil)
	c.advance(failureInterval)
	_, err := v.Verify(t.Context(), p.Customer("alice"))
	require.NoError(t, err)
}

func TestProvidersWhoseDocumentsAreRefused(t *testing.T) {
	p := identitytest.Start(t)
	issuer := p.Issuer
	answer := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
	}
	for name, broken := range map[string]http.HandlerFunc{
		"another issuer": answer(`{"issuer":"` + issuer + `/","jwks_uri":"` + issuer + `/keys"}`),
		"keys over http": answer(`{"issuer":"` + issuer + `","jwks_uri":"http://login.example.com/keys"}`),
		"no keys' place": answer(`{"issuer":"` + issuer + `"}`),
		"no JSON":        answer(`<html>`),
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.com/", http.StatusFound)
		},
		"a key set of one": answer(`{"issuer":"` + issuer + `","jwks_uri":"` + issuer + `/keys","keys":[{"kty":"new"}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			p.Break(broken)
			v, _ := verifier(t, p.Config())
			_, err := v.Verify(t.Context(), p.Customer("alice"))
			assert.Equal(t, 503, status(t, err))
		})
	}
}

func TestTheProvidersCertificateIsChecked(t *testing.T) {
	p, certificates := identitytest.StartTLS(t)
	for file, want := range map[string]int{certificates: 200, "": 503} {
		config := p.Config()
		config["OIDC_CA_FILE"] = file
		v, _ := verifier(t, config)
		_, err := v.Verify(t.Context(), p.Customer("alice"))
		assert.Equal(t, want, status(t, err), file)
	}
}

func TestKnownKeysServeForAWhileWithoutTheProvider(t *testing.T) {
	p := identitytest.Start(t)
	v, c := verifier(t, p.Config())
	lasting := p.Sign(p.Claims("alice", map[string]any{"exp": time.Now().Add(24 * time.Hour).Unix()}), nil)
	_, err := v.Verify(t.Context(), lasting)
	require.NoError(t, err)
	p.Down()
	c.advance(keepFor - time.Second)
	_, err = v.Verify(t.Context(), lasting)
	require.NoError(t, err)
	c.advance(2 * time.Second)
	_, err = v.Verify(t.Context(), lasting)
	assert.Equal(t, 503, status(t, err))
}

func TestAWaiterLeavesWithItsRequest(t *testing.T) {
	p := identitytest.Start(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p.Break(func(http.ResponseWriter, *http.Request) {
		once.Do(func() { close(arrived) })
		<-release
	})
	defer close(release)
	v, _ := verifier(t, p.Config())
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := v.Verify(ctx, p.Customer("alice"))
	assert.Equal(t, 503, status(t, err))
}

func TestHandler(t *testing.T) {
	p := identitytest.Start(t)
	enabled, _ := verifier(t, p.Config())
	open, err := New(nil)
	require.NoError(t, err)
	require.False(t, open.Enabled())
	alice := Principal{Issuer: p.Issuer, Subject: "alice", Email: "alice@example.com", EmailVerified: true}
	session := Principal{Issuer: p.Issuer, Subject: "session", Operator: true}
	for name, c := range map[string]struct {
		verifier  *Verifier
		given     *Principal
		headers   []string
		code      int
		challenge string
		want      Principal
	}{
		"a token":                   {verifier: enabled, headers: []string{"Bearer " + p.Customer("alice")}, code: 200, want: alice},
		"another case":              {verifier: enabled, headers: []string{"bearer  " + p.Customer("alice")}, code: 200, want: alice},
		"none":                      {verifier: enabled, code: 401, challenge: "Bearer"},
		"a password":                {verifier: enabled, headers: []string{"Basic YTpi"}, code: 401, challenge: "Bearer"},
		"an empty token":            {verifier: enabled, headers: []string{"Bearer "}, code: 401, challenge: "Bearer"},
		"two":                       {verifier: enabled, headers: []string{"Bearer " + p.Customer("alice"), "Bearer " + p.Operator("eve")}, code: 401, challenge: `Bearer error="invalid_token"`},
		"a session":                 {verifier: enabled, given: &session, code: 200, want: session},
		"a session and a token":     {verifier: enabled, given: &session, headers: []string{"Bearer x"}, code: 200, want: session},
		"nobody in-process":         {verifier: enabled, given: &Principal{}, code: 200},
		"no provider":               {verifier: open, code: 200, want: Principal{Open: true}},
		"no provider, yet a token":  {verifier: open, headers: []string{"Bearer x"}, code: 200, want: Principal{Open: true}},
		"no verifier":               {verifier: nil, code: 200, want: Principal{Open: true}},
		"no provider, in-process":   {verifier: open, given: &session, code: 200, want: session},
		"a token that is not valid": {verifier: enabled, headers: []string{"Bearer x"}, code: 401, challenge: `Bearer error="invalid_token"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			if c.given != nil {
				r = r.WithContext(With(r.Context(), *c.given))
			}
			for _, value := range c.headers {
				r.Header.Add("Authorization", value)
			}
			var got *Principal
			w := httptest.NewRecorder()
			c.verifier.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				p := From(r.Context())
				got = &p
			})).ServeHTTP(w, r)
			assert.Equal(t, c.code, w.Code)
			assert.True(t, strings.HasPrefix(w.Header().Get("WWW-Authenticate"), c.challenge))
			if c.code != 200 {
				assert.Nil(t, got)
				assert.NotEmpty(t, w.Header().Get("WWW-Authenticate"))
				return
			}
			require.NotNil(t, got)
			assert.Equal(t, c.want, *got)
		})
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	alice := Principal{Issuer: "https://a", Subject: "alice"}
	for name, c := range map[string]struct {
		principal              Principal
		operator, own, another bool
		unowned                bool
	}{
		"nobody":       {},
		"alice":        {principal: alice, own: true},
		"her namesake": {principal: Principal{Issuer: "https://b", Subject: "alice"}, another: true},
		"an operator":  {principal: Principal{Issuer: "https://a", Subject: "op", Operator: true}, operator: true, own: true, another: true, unowned: true},
		"open":         {principal: Principal{Open: true}, operator: true, own: true, another: true, unowned: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := With(t.Context(), c.principal)
			if name == "nobody" {
				ctx = t.Context()
			}
			err := RequireOperator(ctx)
			assert.Equal(t, c.operator, err == nil)
			if err != nil {
				assert.Equal(t, http.StatusForbidden, status(t, err))
			}
			assert.Equal(t, c.own, Owns(ctx, "https://a alice"))
			assert.Equal(t, c.another, Owns(ctx, "https://b alice"))
			assert.Equal(t, c.unowned, Owns(ctx, ""))
		})
	}
	assert.Empty(t, Principal{Open: true, Issuer: "i", Subject: "s"}.Owner())
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		config map[string]string
		says   string
	}{
		"no audience":            {map[string]string{"OIDC_ISSUER": "https://a"}, "both"},
		"no issuer":              {map[string]string{"OIDC_AUDIENCE": "orders"}, "both"},
		"no URL":                 {map[string]string{"OIDC_ISSUER": "login", "OIDC_AUDIENCE": "orders"}, "OIDC_ISSUER"},
		"plain http":             {map[string]string{"OIDC_ISSUER": "http://login.example.com", "OIDC_AUDIENCE": "orders"}, "https"},
		"http to a lookalike":    {map[string]string{"OIDC_ISSUER": "http://localhost.example.com", "OIDC_AUDIENCE": "orders"}, "https"},
		"a URL with a query":     {map[string]string{"OIDC_ISSUER": "https://a?b", "OIDC_AUDIENCE": "orders"}, "OIDC_ISSUER"},
		"a URL with a password":  {map[string]string{"OIDC_ISSUER": "https://a:b@c", "OIDC_AUDIENCE": "orders"}, "OIDC_ISSUER"},
		"too long":               {map[string]string{"OIDC_ISSUER": "https://" + strings.Repeat("a", 504), "OIDC_AUDIENCE": "orders"}, "511"},
		"a shared secret":        {map[string]string{"OIDC_ISSUER": "https://a", "OIDC_AUDIENCE": "orders", "OIDC_ALGORITHMS": "RS256,HS256"}, "HS256"},
		"no signature":           {map[string]string{"OIDC_ISSUER": "https://a", "OIDC_AUDIENCE": "orders", "OIDC_ALGORITHMS": "none"}, "none"},
		"no algorithm":           {map[string]string{"OIDC_ISSUER": "https://a", "OIDC_AUDIENCE": "orders", "OIDC_ALGORITHMS": ","}, "OIDC_ALGORITHMS"},
		"no such file":           {map[string]string{"OIDC_ISSUER": "https://a", "OIDC_AUDIENCE": "orders", "OIDC_CA_FILE": "missing.pem"}, "OIDC_CA_FILE"},
		"no certificate in it":   {map[string]string{"OIDC_ISSUER": "https://a", "OIDC_AUDIENCE": "orders", "OIDC_CA_FILE": "identity_test.go"}, "PEM"},
		"a role without issuer":  {map[string]string{"OIDC_OPERATOR_ROLE": "boss"}, "OIDC_OPERATOR_ROLE"},
		"a claim without issuer": {map[string]string{"OIDC_ROLES_CLAIM": "groups"}, "OIDC_ROLES_CLAIM"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(c.config)
			require.ErrorContains(t, err, c.says)
		})
	}
	for _, issuer := range []string{"https://a", "http://localhost:8180/realms/orders", "http://keycloak.localhost:8180", "http://127.0.0.1:1", "http://[::1]:1"} {
		v, err := New(map[string]string{"OIDC_ISSUER": issuer, "OIDC_AUDIENCE": "orders"})
		require.NoError(t, err)
		assert.True(t, v.Enabled())
	}
}

func TestNoPartOfATokenIsInItsError(t *testing.T) {
	p := identitytest.Start(t)
	v, _ := verifier(t, p.Config())
	token := p.Sign(p.Claims("alice", map[string]any{"aud": "x"}), nil)
	_, err := v.Verify(t.Context(), token)
	for part := range bytes.SplitSeq([]byte(token), []byte(".")) {
		assert.NotContains(t, err.Error(), string(part))
	}
}
