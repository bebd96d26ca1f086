package console_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/porttest"
)

// keycloak is a real one, with the realm of functions/harness/auth/realm.json, which .ci/services/keycloak starts.
type keycloak struct {
	t      *testing.T
	issuer string
}

// startedKeycloak is that of KEYCLOAK_ISSUER. Without one the test is skipped.
func startedKeycloak(t *testing.T) keycloak {
	t.Helper()
	issuer := os.Getenv("KEYCLOAK_ISSUER")
	if issuer == "" {
		t.Skip("KEYCLOAK_ISSUER names no Keycloak: .ci/run auth starts one")
	}
	return keycloak{t, issuer}
}

// origin returns the URL of the server.
func (k keycloak) origin() string {
	base, _, _ := strings.Cut(k.issuer, "/realms/")
	return base
}

// environ returns the variables with which a harness lets people log in.
func (k keycloak) environ() []string {
	return []string{"OIDC_ISSUER=" + k.issuer, "OIDC_AUDIENCE=orders", "OIDC_CLIENT_ID=orders-console", "OIDC_CLIENT_SECRET=console-of-a-laptop"}
}

// token posts a form to an endpoint and returns the access token of the answer.
func (k keycloak) token(endpoint string, form url.Values) string {
	k.t.Helper()
	request, err := http.NewRequestWithContext(k.t.Context(), http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	require.NoError(k.t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	k.ask(request, http.StatusOK, &answer)
	return answer.AccessToken
}

// of returns an access token of a user, whose password is the name.
func (k keycloak) of(user string) string {
	k.t.Helper()
	return k.token(k.issuer+"/protocol/openid-connect/token", url.Values{
		"grant_type": {"password"}, "client_id": {"orders-cli"}, "username": {user}, "password": {user}, "scope": {"openid"},
	})
}

// ask sends a request; cleanups send some, too, when the context of the test has ended.
func (k keycloak) ask(request *http.Request, status int, answer any) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(request.Context()), patience)
	defer cancel()
	request = request.WithContext(ctx)
	response, err := http.DefaultClient.Do(request)
	require.NoError(k.t, err)
	defer func() { assert.NoError(k.t, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(k.t, err)
	require.Equal(k.t, status, response.StatusCode, "%s %s: %s", request.Method, request.URL, text)
	if answer != nil {
		require.NoError(k.t, json.Unmarshal(text, answer))
	}
}

// administer sends a request to the administration of the realm.
func (k keycloak) administer(method, path, body string, status int, answer any) {
	k.t.Helper()
	base, realm, _ := strings.Cut(k.issuer, "/realms/")
	request, err := http.NewRequestWithContext(k.t.Context(), method, base+"/admin/realms/"+realm+path, strings.NewReader(body))
	require.NoError(k.t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+k.token(base+"/realms/master/protocol/openid-connect/token", url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {"admin"},
	}))
	k.ask(request, status, answer)
}

// service runs .ci/services/keycloak.
func (k keycloak) service(what string) {
	k.t.Helper()
	out, err := exec.CommandContext(context.Background(), filepath.Join("..", "..", "..", "..", ".ci", "services", "keycloak"), what).CombinedOutput()
	require.NoError(k.t, err, string(out))
}

// shortTokens makes access tokens last seconds, until the end of the test.
func (k keycloak) shortTokens() {
	k.t.Helper()
	k.administer(http.MethodPut, "", `{"accessTokenLifespan":5}`, http.StatusNoContent, nil)
	k.t.Cleanup(func() {
		k.administer(http.MethodPut, "", `{"accessTokenLifespan":300}`, http.StatusNoContent, nil)
	})
}

// logIn fills in Keycloak's page.
func (b *browser) logIn(user string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(chromedp.CSS("#username")))
	b.fill("#username", user)
	b.fill("#password", user)
	eval[any](b, "void document.getElementById('kc-login').click()")
}

func (b *browser) live() {
	b.t.Helper()
	b.await("document.getElementById('connection')?.dataset.state === 'live'")
}

// status returns the status of a request for data, with a token.
func (k keycloak) status(base, path, token string) int {
	k.t.Helper()
	request, err := http.NewRequestWithContext(k.t.Context(), http.MethodGet, base+path, nil)
	require.NoError(k.t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	require.NoError(k.t, err)
	require.NoError(k.t, response.Body.Close())
	return response.StatusCode
}

func TestKeycloakLogsPeopleInInABrowser(t *testing.T) {
	chromium(t)
	k := startedKeycloak(t)
	b := open(t, startHarness(t, porttest.Address(t), k.environ()).url)
	b.expected = []string{"401 (Unauthorized)", "403 (Forbidden)", k.origin()}

	b.do(chromedp.Navigate(b.url + "/stock"))
	b.logIn("olga")
	b.awaitText("h1", "Stock")
	b.awaitText("#user", "olga")
	b.live()
	b.click("Orders")
	b.awaitText("h1", "Orders")
	b.live()

	b.click("Log out")
	b.awaitText("h1", "You are logged out")
	assert.Equal(t, b.url+"/logged-out", eval[string](b, "location.origin + location.pathname"), "Keycloak leads back at once")

	b.do(chromedp.Navigate(b.url + "/stock")) // Keycloak's session has ended, too
	b.logIn("alice")
	b.awaitText("h1", "This is not for you")
	b.awaitText("main p", "alice")
	assert.Equal(t, http.StatusForbidden, eval[int](b, "fetch('/console/settings').then((r) => r.status)"))
	b.click("Log out")
	b.awaitText("h1", "You are logged out")

	for user, status := range map[string]int{"olga": http.StatusOK, "bob": http.StatusForbidden} {
		assert.Equal(t, status, k.status(b.url, "/console/settings", k.of(user)), user)
	}
	assert.Contains(t, k.readme(b.url), "201 Created")
}

// readme runs the commands of the README that place an order with a token, and returns what they print.
func (k keycloak) readme(url string) string {
	k.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "README.md"))
	require.NoError(k.t, err)
	_, rest, found := strings.Cut(string(text), "```sh\nTOKEN=")
	require.True(k.t, found)
	commands, _, _ := strings.Cut(rest, "```")
	command := exec.CommandContext(k.t.Context(), "sh", "-c", "TOKEN="+strings.ReplaceAll(commands, "http://127.0.0.1:8080", url))
	command.Env = append(os.Environ(), "OIDC_ISSUER="+k.issuer)
	out, err := command.Output()
	require.NoError(k.t, err)
	return string(out)
}

func TestKeycloakRotatesItsKeysInABrowser(t *testing.T) {
	chromium(t)
	k := startedKeycloak(t)
	b := open(t, startHarness(t, porttest.Address(t), k.environ()).url)
	b.expected = []string{k.origin()}
	b.do(chromedp.Navigate(b.url + "/stock"))
	b.logIn("olga")
	b.awaitText("h1", "Stock")
	before := k.of("olga")
	require.Equal(t, http.StatusOK, k.status(b.url, "/console/settings", before))

	var realm struct{ ID string }
	k.administer(http.MethodGet, "", "", http.StatusOK, &realm)
	k.administer(http.MethodPost, "/components", `{"name":"next","providerId":"rsa-generated","providerType":"org.keycloak.keys.KeyProvider",
		"parentId":"`+realm.ID+`","config":{"priority":["200"],"enabled":["true"],"active":["true"],"algorithm":["RS256"],"keySize":["2048"]}}`, http.StatusCreated, nil)
	t.Cleanup(func() {
		var added []struct{ ID, Name string }
		k.administer(http.MethodGet, "/components?name=next&type=org.keycloak.keys.KeyProvider", "", http.StatusOK, &added)
		for _, one := range added {
			k.administer(http.MethodDelete, "/components/"+one.ID, "", http.StatusNoContent, nil)
		}
	})
	after := k.of("olga")
	header := func(token string) string { return strings.SplitN(token, ".", 2)[0] }
	require.NotEqual(t, header(before), header(after), "it names another key")
	// Keys that are not known are fetched every few seconds at most, and the log-in has just fetched some.
	require.Eventually(t, func() bool { return k.status(b.url, "/console/settings", after) == http.StatusOK }, patience, 100*time.Millisecond)
	assert.Equal(t, http.StatusOK, k.status(b.url, "/console/settings", before), "Keycloak has its key, too")
	b.click("Log out")
	b.awaitText("h1", "You are logged out")
	b.click("Log in")
	b.logIn("olga")
	b.awaitText("#user", "olga")
	b.live()
}

func TestKeycloakTakesARoleAwayInABrowser(t *testing.T) {
	chromium(t)
	k := startedKeycloak(t)
	k.shortTokens()
	b := open(t, startHarness(t, porttest.Address(t), k.environ()).url)
	b.expected = []string{"401 (Unauthorized)", "403 (Forbidden)", k.origin()}
	b.do(chromedp.Navigate(b.url + "/stock"))
	b.logIn("olga")
	b.awaitText("h1", "Stock")
	b.live()

	var users []struct{ ID string }
	k.administer(http.MethodGet, "/users?exact=true&username=olga", "", http.StatusOK, &users)
	var role json.RawMessage
	k.administer(http.MethodGet, "/roles/operator", "", http.StatusOK, &role)
	roles := "/users/" + users[0].ID + "/role-mappings/realm"
	k.administer(http.MethodDelete, roles, "["+string(role)+"]", http.StatusNoContent, nil)
	t.Cleanup(func() { k.administer(http.MethodPost, roles, "["+string(role)+"]", http.StatusNoContent, nil) })
	b.awaitText("h1", "This is not for you")

	k.administer(http.MethodPost, roles, "["+string(role)+"]", http.StatusNoContent, nil)
	b.pathUntil("/stock", "Stock") // once the token has expired
	b.live()
	k.administer(http.MethodPost, "/users/"+users[0].ID+"/logout", "", http.StatusNoContent, nil)
	b.awaitText("h1", "You are logged out") // by the page itself, within the life of a token
}

// TestKeycloakIsAwayInABrowser has a harness that starts without Keycloak, and one whose operators are at work when it ends.
func TestKeycloakIsAwayInABrowser(t *testing.T) {
	chromium(t)
	k := startedKeycloak(t)
	k.shortTokens()
	b := open(t, startHarness(t, porttest.Address(t), k.environ()).url)
	b.expected = []string{"401 (Unauthorized)", "403 (Forbidden)", "503 (Service Unavailable)", k.origin()}
	b.do(chromedp.Navigate(b.url + "/stock"))
	b.logIn("olga")
	b.awaitText("h1", "Stock")
	b.live()
	token := k.of("olga")

	k.service("pause")
	t.Cleanup(func() { k.service("start") })
	b.awaitText("#outage", "The identity provider does not answer")
	late := startHarness(t, porttest.Address(t), k.environ())
	assert.Equal(t, http.StatusServiceUnavailable, k.status(late.url, "/console/settings", token), "there are no keys to check it with")
	b.do(chromedp.Navigate(late.url+"/stock"), chromedp.WaitVisible(chromedp.CSS("h1")))
	b.awaitText("h1", "The log-in is not available")

	k.service("start")
	b.pathUntil("/stock", "Stock")
	b.awaitText("#user", "olga") // in the same session: Keycloak keeps its own in its database
	b.live()
	assert.Equal(t, http.StatusOK, k.status(late.url, "/console/settings", k.of("olga")))
}
