package identity

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/identitytest"
)

const (
	mine    = "system:serviceaccount:orders:finalize-order.inventory.reserved"
	another = "system:serviceaccount:orders:notify.order.confirmed"
	shared  = "a-token-that-is-shared"
)

// sinkConfig is the configuration of a function to which the provider is the cluster that issues tokens.
func sinkConfig(p *identitytest.Provider, more ...string) map[string]string {
	config := map[string]string{"SINK_ISSUER": p.Issuer, "SINK_AUDIENCE": identitytest.Audience, "SINK_SUBJECTS": mine + ", system:serviceaccount:orders:operator"}
	for i := 0; i < len(more); i += 2 {
		config[more[i]] = more[i+1]
	}
	return config
}

// account returns a token as a cluster issues it for a service account: without a typ, and with a list of audiences.
func account(p *identitytest.Provider, subject string, changes map[string]any) string {
	claims := p.Claims(subject, map[string]any{"email": nil, "email_verified": nil, "aud": []string{identitytest.Audience}, "jti": "1"})
	for name, value := range changes {
		claims[name] = value
	}
	return p.Sign(claims, nil)
}

func newSources(t testing.TB, config map[string]string) *Sources {
	t.Helper()
	s, err := NewSources(config)
	require.NoError(t, err)
	return s
}

// sent returns a request with an Authorization header for each value.
func sent(t testing.TB, authorization ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	for _, value := range authorization {
		r.Header.Add("Authorization", value)
	}
	return r
}

func TestEventsAreTakenFromTheirSourcesOnly(t *testing.T) {
	p := identitytest.Start(t)
	elsewhere := identitytest.Start(t)
	s := newSources(t, sinkConfig(p, "SINK_TOKEN", shared))
	for name, c := range map[string]struct {
		authorization []string
		says          string // empty if the event is taken
	}{
		"its own source":        {[]string{"Bearer " + account(p, mine, nil)}, ""},
		"the operator":          {[]string{"bearer " + account(p, "system:serviceaccount:orders:operator", nil)}, ""},
		"the shared token":      {[]string{"Bearer " + shared}, ""},
		"nobody":                {nil, "not sent with one token"},
		"a user and password":   {[]string{"Basic b3JkZXJzOm9yZGVycw=="}, "not sent with one token"},
		"two tokens":            {[]string{"Bearer " + shared, "Bearer " + shared}, "not sent with one token"},
		"another source":        {[]string{"Bearer " + account(p, another, nil)}, "SINK_SUBJECTS does not have"},
		"a part of the subject": {[]string{"Bearer " + account(p, mine[:len(mine)-1], nil)}, "SINK_SUBJECTS does not have"},
		"another audience":      {[]string{"Bearer " + account(p, mine, map[string]any{"aud": []string{"shop"}})}, "audience"},
		"another issuer":        {[]string{"Bearer " + account(elsewhere, mine, nil)}, "signature, issuer or audience"},
		"an old token":          {[]string{"Bearer " + account(p, mine, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})}, "expired"},
		"half of the token":     {[]string{"Bearer " + shared[:len(shared)/2]}, "not a JWT"},
		"a longer token":        {[]string{"Bearer " + shared + "x"}, "not a JWT"},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.Check(sent(t, c.authorization...))
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.says)
			assert.Equal(t, http.StatusServiceUnavailable, status(t, err), "a KafkaSource retries it, and sets the event aside for 401 and 403")
			for _, value := range c.authorization {
				assert.NotContains(t, err.Error(), value)
			}
		})
	}
}

func TestWithoutAnIssuerTheSharedTokenCounts(t *testing.T) {
	s := newSources(t, map[string]string{"SINK_TOKEN": shared, "SINK_SUBJECTS": mine})
	require.True(t, s.Enabled())
	require.NoError(t, s.Check(sent(t, "Bearer "+shared)))
	require.ErrorContains(t, s.Check(sent(t)), "not sent with one token")
	require.ErrorContains(t, s.Check(sent(t, "Bearer another-token-of-some-length")), "its token is not SINK_TOKEN")
}

func TestOperatorsMaySendOnceTheyLogIn(t *testing.T) {
	p := identitytest.Start(t)
	for name, config := range map[string]map[string]string{"alone": p.Config(), "beside a cluster": sinkConfig(identitytest.Start(t), "OIDC_ISSUER", p.Issuer, "OIDC_AUDIENCE", identitytest.Audience)} {
		s := newSources(t, config)
		require.NoError(t, s.Check(sent(t, "Bearer "+p.Operator("olga"))), name)
		require.Error(t, s.Check(sent(t, "Bearer "+p.Customer("alice"))), name)
		require.Error(t, s.Check(sent(t)), name)
	}
}

func TestWithoutAConfigurationEverybodyMaySend(t *testing.T) {
	var none *Sources
	for _, s := range []*Sources{none, {}, newSources(t, nil), newSources(t, map[string]string{"SINK_SUBJECTS": mine})} {
		assert.False(t, s.Enabled())
		require.NoError(t, s.Check(sent(t)))
	}
}

func TestSendersWaitWhileTheIssuerIsAway(t *testing.T) {
	p := identitytest.Start(t)
	p.Down()
	s := newSources(t, sinkConfig(p, "SINK_TOKEN", shared))
	err := s.Check(sent(t, "Bearer "+account(p, mine, nil)))
	assert.Equal(t, http.StatusServiceUnavailable, status(t, err))
	require.ErrorContains(t, err, "does not answer")
	require.NoError(t, s.Check(sent(t, "Bearer "+shared)), "it takes no issuer")

	p.Break(nil)
	later := time.Now().Add(failureInterval)
	s.verifier.now = func() time.Time { return later }
	require.NoError(t, s.Check(sent(t, "Bearer "+account(p, mine, nil))))
}

// TestKeysAreReadFromTheirOwnAddress has an issuer whose discovery document cannot be read, as within a cluster, and keys behind
// a certificate that only SINK_CA_FILE knows.
func TestKeysAreReadFromTheirOwnAddress(t *testing.T) {
	p := identitytest.Start(t)
	published := httptest.NewTLSServer(p.Keys())
	t.Cleanup(published.Close)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: published.Certificate().Raw}), 0o600))
	config := sinkConfig(p, "SINK_JWKS_URL", published.URL+"/openid/v1/jwks", "SINK_CA_FILE", ca)
	token := "Bearer " + account(p, mine, nil)
	p.Down()

	require.NoError(t, newSources(t, config).Check(sent(t, token)))

	delete(config, "SINK_CA_FILE")
	require.ErrorContains(t, newSources(t, config).Check(sent(t, token)), "does not answer", "its certificate is not trusted")
}

func TestAReplacedTokenIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(shared+"\n"), 0o600))
	token, err := NewToken(map[string]string{"SINK_TOKEN_FILE": file}, "OUTBOX_POKE_TOKEN", "SINK_TOKEN")
	require.NoError(t, err)
	now := time.Now()
	token.now = func() time.Time { return now }
	sends := func() string {
		r := sent(t)
		token.Authorize(r)
		return r.Header.Get("Authorization")
	}
	require.Equal(t, "Bearer "+shared, sends())

	const replaced = "the-token-that-replaces-it"
	require.NoError(t, os.WriteFile(file, []byte(replaced), 0o600))
	assert.Equal(t, "Bearer "+shared, sends())
	now = now.Add(rereadAfter)
	assert.Equal(t, "Bearer "+replaced, sends())

	require.NoError(t, os.Remove(file))
	now = now.Add(rereadAfter)
	assert.Equal(t, "Bearer "+replaced, sends(), "the last one, while the file is being replaced")
}

func TestTheFirstTokenThatIsSetIsSent(t *testing.T) {
	r := sent(t)
	none, err := NewToken(nil, "OUTBOX_POKE_TOKEN", "SINK_TOKEN")
	require.NoError(t, err)
	none.Authorize(r)
	assert.Empty(t, r.Header)

	token, err := NewToken(map[string]string{"SINK_TOKEN": shared, "OUTBOX_POKE_TOKEN": "the-token-of-the-relay"}, "OUTBOX_POKE_TOKEN", "SINK_TOKEN")
	require.NoError(t, err)
	token.Authorize(r)
	assert.Equal(t, "Bearer the-token-of-the-relay", r.Header.Get("Authorization"))
}

func TestSourcesThatCannotBeCheckedAreRefused(t *testing.T) {
	valid := map[string]string{"SINK_ISSUER": "https://issuer.example.com", "SINK_AUDIENCE": "orders", "SINK_SUBJECTS": mine}
	for name, c := range map[string]struct {
		change map[string]string
		says   string
	}{
		"no audience":               {map[string]string{"SINK_AUDIENCE": ""}, "set SINK_AUDIENCE and SINK_SUBJECTS too"},
		"no subjects":               {map[string]string{"SINK_SUBJECTS": " , "}, "set SINK_AUDIENCE and SINK_SUBJECTS too"},
		"an audience of no issuer":  {map[string]string{"SINK_ISSUER": ""}, "SINK_AUDIENCE is set without SINK_ISSUER"},
		"keys of no issuer":         {map[string]string{"SINK_ISSUER": "", "SINK_AUDIENCE": "", "SINK_JWKS_URL": "https://keys.example.com"}, "SINK_JWKS_URL is set without SINK_ISSUER"},
		"an issuer in the clear":    {map[string]string{"SINK_ISSUER": "http://issuer.example.com"}, "SINK_ISSUER is"},
		"keys in the clear":         {map[string]string{"SINK_JWKS_URL": "http://issuer.example.com/keys"}, "SINK_JWKS_URL is"},
		"certificates of no file":   {map[string]string{"SINK_CA_FILE": "missing"}, "SINK_CA_FILE: open missing"},
		"a short token":             {map[string]string{"SINK_TOKEN": "guess"}, "SINK_TOKEN is no token"},
		"a token with a blank":      {map[string]string{"SINK_TOKEN": "some words and more words"}, "SINK_TOKEN is no token"},
		"a token and its file":      {map[string]string{"SINK_TOKEN": shared, "SINK_TOKEN_FILE": "token"}, "both set"},
		"a file that is not there":  {map[string]string{"SINK_TOKEN_FILE": "missing"}, "SINK_TOKEN_FILE: open missing"},
		"a token of another length": {map[string]string{"SINK_TOKEN": "fifteen-letters"}, "16 or more"},
	} {
		t.Run(name, func(t *testing.T) {
			config := map[string]string{}
			for _, from := range []map[string]string{valid, c.change} {
				for name, value := range from {
					config[name] = value
				}
			}
			_, err := NewSources(config)
			require.ErrorContains(t, err, c.says)
			if token := c.change["SINK_TOKEN"]; token != "" {
				assert.NotContains(t, err.Error(), token)
			}
		})
	}
}
