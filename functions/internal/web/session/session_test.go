package session_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/identitytest"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/session"
)

// site is a server with a log-in, over TLS as its cookies need it.
type site struct {
	t        *testing.T
	provider *identitytest.Provider
	sessions *session.Sessions
	url      string
	server   *httptest.Server
}

func newSite(t *testing.T, more map[string]string) *site {
	t.Helper()
	s := &site{t: t, provider: identitytest.Start(t)}
	mux := http.NewServeMux()
	s.server = httptest.NewUnstartedServer(nil)
	s.server.StartTLS()
	s.url = s.server.URL
	config := s.provider.Config()
	config["OIDC_CLIENT_ID"], config["OIDC_CLIENT_SECRET"], config["PUBLIC_URL"] = identitytest.Client, identitytest.ClientSecret, s.url
	for name, value := range more {
		config[name] = value
	}
	verifier, err := identity.New(config)
	require.NoError(t, err)
	s.sessions, err = session.New(session.Options{
		Config: config, Verifier: verifier, Log: slog.New(slog.DiscardHandler),
		Show: func(w http.ResponseWriter, _ *http.Request, n session.Notice) {
			w.WriteHeader(n.Status)
			_, _ = io.WriteString(w, n.Title+"\n"+n.Again) // it fails only if the client is gone
		},
	})
	require.NoError(t, err)
	s.sessions.Register(mux)
	guarded := http.NewServeMux()
	guarded.HandleFunc("GET /who", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(identity.From(r.Context())) // it fails only if the client is gone
	})
	guarded.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := s.sessions.Follow(r.Context())
		defer cancel()
		_, _ = io.WriteString(w, "opened\n")
		_ = http.NewResponseController(w).Flush()
		<-ctx.Done()
	})
	mux.Handle("/", verifier.Handler(guarded))
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		if identity.From(r.Context()).Subject == "" {
			s.sessions.Ask(w, r)
			return
		}
		_, _ = io.WriteString(w, "the page "+r.URL.RawQuery) // it fails only if the client is gone
	})
	s.server.Config.Handler = s.sessions.Handler(mux)
	t.Cleanup(s.server.Close)
	return s
}

// browser is a client with cookies of its own, which follows redirects.
type browser struct {
	*site
	client *http.Client
}

func (s *site) browser() browser {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(s.t, err)
	return browser{s, &http.Client{Jar: jar, Transport: s.server.Client().Transport}}
}

// get returns the status and the text of a page.
func (b browser) get(path string, header ...string) (int, string) {
	b.t.Helper()
	response := b.send(b.t.Context(), http.MethodGet, path, header...)
	defer func() { assert.NoError(b.t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(b.t, err)
	return response.StatusCode, string(text)
}

func (b browser) send(ctx context.Context, method, path string, header ...string) *http.Response {
	b.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = b.url + path
	}
	request, err := http.NewRequestWithContext(ctx, method, path, nil)
	require.NoError(b.t, err)
	request.Header.Set("Accept", "text/html")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := b.client.Do(request)
	require.NoError(b.t, err)
	return response
}

// who returns the status and the principal of a request for data.
func (b browser) who() (int, identity.Principal) {
	b.t.Helper()
	status, text := b.get("/who", "Accept", "application/json")
	var p identity.Principal
	if status == http.StatusOK {
		require.NoError(b.t, json.Unmarshal([]byte(text), &p))
	}
	return status, p
}

// stream opens a stream and returns a channel that is closed at its end.
func (b browser) stream() <-chan struct{} {
	b.t.Helper()
	response := b.send(b.t.Context(), http.MethodGet, "/stream", "Accept", "text/event-stream") //nolint:bodyclose // at its end, below
	require.Equal(b.t, http.StatusOK, response.StatusCode)
	lines := bufio.NewReader(response.Body)
	line, err := lines.ReadString('\n')
	require.NoError(b.t, err)
	require.Equal(b.t, "opened\n", line)
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		_ = response.Body.Close()
		close(ended)
	}()
	return ended
}

func (b browser) cookies() map[string]string {
	u, err := url.Parse(b.url)
	require.NoError(b.t, err)
	all := map[string]string{}
	for _, c := range b.client.Jar.Cookies(u) {
		all[c.Name] = c.Value
	}
	return all
}

// stepwise makes a browser follow no redirect.
func (b browser) stepwise() browser {
	client := *b.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return browser{b.site, &client}
}

// location requests a path and returns where it leads.
func (b browser) location(path string) string {
	b.t.Helper()
	response := b.stepwise().send(b.t.Context(), http.MethodGet, path)
	require.NoError(b.t, response.Body.Close())
	require.Contains(b.t, []int{http.StatusFound, http.StatusSeeOther}, response.StatusCode)
	return response.Header.Get("Location")
}

const patience = time.Minute

func awaitEnd(t *testing.T, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(patience):
		require.FailNow(t, "the stream goes on")
	}
}

func TestALogInLeadsBackToThePage(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	b := s.browser()
	status, text := b.get("/page?tab=2&q=a%26b")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "the page tab=2&q=a%26b", text)
	status, p := b.who()
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, identity.Principal{Issuer: s.provider.Issuer, Subject: "olga", Email: "olga@example.com", EmailVerified: true, Operator: true}, p)

	cookies := b.cookies()
	assert.Len(t, cookies, 1, "that of the log-in is gone")
	assert.Len(t, cookies["__Host-orders"], 43, "a random secret, and nothing else")
	status, _ = s.browser().who()
	assert.Equal(t, http.StatusUnauthorized, status, "another browser")
}

func TestTheCookieIsForThisHostAlone(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	b := s.browser().stepwise()
	response := b.send(t.Context(), http.MethodGet, b.location(b.location("/login")))
	require.NoError(t, response.Body.Close())
	cookies := response.Header.Values("Set-Cookie")
	require.Len(t, cookies, 2)
	assert.Regexp(t, `^__Host-orders-login-[\w-]{43}=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax$`, cookies[0])
	assert.Regexp(t, `^__Host-orders=[\w-]{43}; Path=/; HttpOnly; Secure; SameSite=Lax$`, cookies[1])
}

func TestACustomerLogsInWithoutTheRole(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("alice")
	b := s.browser()
	b.get("/page")
	status, p := b.who()
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "alice", p.Subject)
	assert.False(t, p.Operator)
}

func TestAClientWithoutASecretLogsIn(t *testing.T) {
	s := newSite(t, map[string]string{"OIDC_CLIENT_SECRET": ""})
	s.provider.PublicClient()
	s.provider.LogInAs("olga", "operator")
	b := s.browser()
	_, text := b.get("/page")
	assert.Equal(t, "the page ", text)
}

func TestAnotherLogInIsAnotherSession(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	b := s.browser()
	b.get("/page")
	first := b.cookies()["__Host-orders"]
	stream := b.stream()
	b.get("/login")
	assert.NotEqual(t, first, b.cookies()["__Host-orders"])
	awaitEnd(t, stream)
	thief := s.browser()
	status, _ := thief.get("/who", "Cookie", "__Host-orders="+first, "Accept", "application/json")
	assert.Equal(t, http.StatusUnauthorized, status)
}

func TestSeveralTabsLogInAtOnce(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	b := s.browser()
	first, second := b.location("/login?to=%2Fpage%3F1"), b.location("/login?to=%2Fpage%3F2")
	_, text := b.get(first)
	assert.Equal(t, "the page 1", text)
	_, text = b.get(second)
	assert.Equal(t, "the page 2", text)
}

func TestACallbackIsForTheBrowserThatBegan(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("mallory", "operator")
	mallory, victim := s.browser(), s.browser()
	callback := mallory.location(mallory.location("/login"))
	status, text := victim.get(callback)
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, text, "not valid any more")
	assert.Empty(t, victim.cookies())

	// The code of one log-in does not end another one, which has its own verifier and nonce.
	s.provider.LogInAs("olga", "operator")
	own, err := url.Parse(victim.location(victim.location("/login")))
	require.NoError(t, err)
	foreign, err := url.Parse(callback)
	require.NoError(t, err)
	q := own.Query()
	q.Set("code", foreign.Query().Get("code"))
	own.RawQuery = q.Encode()
	status, _ = victim.get(own.String())
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Empty(t, victim.cookies())
}

func TestACallbackCountsOnce(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	b := s.browser()
	callback := b.location(b.location("/login?to=/page"))
	_, text := b.get(callback)
	assert.Equal(t, "the page ", text)
	assert.Equal(t, "/", b.location(callback), "a reload leads into the session")
}

func TestWhatTheProviderSendsIsChecked(t *testing.T) {
	for name, edit := range map[string]func(kind string, claims map[string]any){
		"another nonce":                   func(kind string, c map[string]any) { change(kind == "id", c, "nonce", "other") },
		"another client's ID token":       func(kind string, c map[string]any) { change(kind == "id", c, "aud", "other") },
		"an old ID token":                 func(kind string, c map[string]any) { change(kind == "id", c, "exp", time.Now().Add(-time.Hour).Unix()) },
		"another issuer's ID token":       func(kind string, c map[string]any) { change(kind == "id", c, "iss", "https://other.example") },
		"the ID token of another user":    func(kind string, c map[string]any) { change(kind == "id", c, "sub", "bob") },
		"the hash of another token":       func(kind string, c map[string]any) { change(kind == "id", c, "at_hash", "AAAAAAAAAAAAAAAAAAAAAA") },
		"an access token for another API": func(kind string, c map[string]any) { change(kind == "access", c, "aud", "other") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil)
			s.provider.LogInAs("olga", "operator")
			s.provider.Edit(edit)
			b := s.browser()
			status, text := b.get("/page")
			assert.Equal(t, http.StatusBadGateway, status)
			assert.Contains(t, text, "The log-in failed")
			assert.Empty(t, b.cookies())
		})
	}
}

func change(is bool, claims map[string]any, name string, value any) {
	if is {
		claims[name] = value
	}
}

func TestAnotherIssuersAnswerIsRefused(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	b := s.browser()
	u, err := url.Parse(b.location(b.location("/login")))
	require.NoError(t, err)
	q := u.Query()
	require.Equal(t, s.provider.Issuer, q.Get("iss"))
	q.Set("iss", "https://other.example")
	u.RawQuery = q.Encode()
	status, _ := b.get(u.String())
	assert.Equal(t, http.StatusBadGateway, status)
	assert.Empty(t, b.cookies())
}

func TestARefusalOfTheProviderIsShown(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	status, text := b.get("/page?x=1")
	assert.Equal(t, http.StatusForbidden, status)
	assert.Equal(t, "You are not logged in\n/login?to=%2Fpage%3Fx%3D1", text)
}

func TestALogOutEndsTheSessionAndItsStreams(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	b := s.browser()
	b.get("/page")
	secret := b.cookies()["__Host-orders"]
	streams := []<-chan struct{}{b.stream(), b.stream()}

	response := b.send(t.Context(), http.MethodPost, "/logout", "Content-Type", "application/x-www-form-urlencoded")
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusUnsupportedMediaType, response.StatusCode, "a form that another page may send")
	status, _ := b.who()
	require.Equal(t, http.StatusOK, status)

	response = b.send(t.Context(), http.MethodPost, "/logout", "Content-Type", "application/json")
	var answer struct{ To string }
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	require.NoError(t, response.Body.Close())
	for _, stream := range streams {
		awaitEnd(t, stream)
	}
	assert.Empty(t, b.cookies())
	status, _ = b.get("/who", "Cookie", "__Host-orders="+secret, "Accept", "application/json")
	assert.Equal(t, http.StatusUnauthorized, status, "the secret is worth nothing any more")
	status, text := b.get(answer.To)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, text, "You are logged out")
	ended := s.provider.LoggedOut()
	require.Len(t, ended, 1)
	assert.Equal(t, s.url+"/logged-out", ended[0].Get("post_logout_redirect_uri"))
	assert.Len(t, strings.Split(ended[0].Get("id_token_hint"), "."), 3)
}

func TestALogOutWorksWithoutTheProvider(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	s.provider.TokenLife(time.Second)
	b := s.browser()
	b.get("/page")
	s.provider.Down()
	require.Eventually(t, func() bool { status, _ := b.who(); return status == http.StatusServiceUnavailable }, patience, 20*time.Millisecond)
	response := b.send(t.Context(), http.MethodPost, "/logout", "Content-Type", "application/json")
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusOK, response.StatusCode)
	status, _ := b.who()
	assert.Equal(t, http.StatusUnauthorized, status)
}

func TestARevokedRoleEndsTheStreams(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	s.provider.TokenLife(time.Second)
	b := s.browser()
	b.get("/page")
	stream := b.stream()
	s.provider.LogInAs("olga")
	awaitEnd(t, stream)
	status, p := b.who()
	assert.Equal(t, http.StatusOK, status)
	assert.False(t, p.Operator)
}

func TestAStreamGoesOnWithNewTokens(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	s.provider.TokenLife(time.Second)
	b := s.browser()
	b.get("/page")
	stream := b.stream()
	require.Eventually(t, func() bool { return s.provider.Refreshes() >= 2 }, patience, 20*time.Millisecond)
	select {
	case <-stream:
		assert.Fail(t, "the stream has ended")
	default:
	}
}

func TestALockedUserIsOut(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	s.provider.TokenLife(time.Second)
	b := s.browser()
	b.get("/page")
	stream := b.stream()
	s.provider.Lock()
	awaitEnd(t, stream)
	status, _ := b.who()
	assert.Equal(t, http.StatusUnauthorized, status)
}

func TestWithoutTheProviderNobodyIsLetIn(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	s.provider.Down()
	b := s.browser()
	status, text := b.get("/page")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, text, "not available")

	s.provider.Break(nil)
	s.provider.TokenLife(time.Second)
	require.Eventually(t, func() bool { status, _ := b.get("/page"); return status == http.StatusOK }, patience, 50*time.Millisecond)
	stream := b.stream()
	s.provider.Down()
	awaitEnd(t, stream)
	require.Eventually(t, func() bool { status, _ := b.who(); return status == http.StatusServiceUnavailable }, patience, 20*time.Millisecond)
	s.provider.Break(nil)
	require.Eventually(t, func() bool { status, p := b.who(); return status == http.StatusOK && p.Operator }, patience, 50*time.Millisecond, "the session lives on")
}

func TestOneRequestAsksForNewTokensForAll(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	s.provider.TokenLife(time.Second)
	b := s.browser()
	b.get("/page")
	s.provider.TokenLife(time.Hour)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for s.provider.Refreshes() == 0 {
				status, _ := b.who()
				assert.Equal(t, http.StatusOK, status)
			}
		})
	}
	all.Wait()
	status, _ := b.who()
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, 1, s.provider.Refreshes(), "the provider takes each refresh token once")
}

func TestATokenCountsBeforeASession(t *testing.T) {
	s := newSite(t, nil)
	s.provider.LogInAs("olga", "operator")
	b := s.browser()
	b.get("/page")
	_, text := b.get("/who", "Authorization", "Bearer "+s.provider.Customer("alice"))
	var p identity.Principal
	require.NoError(t, json.Unmarshal([]byte(text), &p))
	assert.Equal(t, "alice", p.Subject)
}

func TestAnotherNameOfTheHostLeadsToThePublicOne(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/login?to=/page", nil)
	require.NoError(t, err)
	request.Host = "localhost:1"
	response, err := b.stepwise().client.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, s.url+"/login?here=1&to=%2Fpage", response.Header.Get("Location"))
}
