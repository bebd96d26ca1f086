package console_test

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/identitytest"
	"example.com/orders/functions/internal/testkit/porttest"
)

// loginEnviron returns the variables with which a harness lets people of a provider log in.
func loginEnviron(p *identitytest.Provider) []string {
	return []string{
		"OIDC_ISSUER=" + p.Issuer, "OIDC_AUDIENCE=" + identitytest.Audience,
		"OIDC_CLIENT_ID=" + identitytest.Client, "OIDC_CLIENT_SECRET=" + identitytest.ClientSecret,
	}
}

// path navigates to a path; unlike visit it takes any page for an answer.
func (b *browser) path(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.url+path), chromedp.WaitVisible(chromedp.CSS("h1")))
}

// pathUntil navigates to a path, again and again, until it is the page with a heading.
func (b *browser) pathUntil(path, heading string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for b.path(path); eval[string](b, "document.querySelector('h1').textContent") != heading; b.path(path) {
		require.True(b.t, time.Now().Before(deadline), "it is not %s", heading)
	}
}

// TestAnOperatorLogsInAndOutInABrowser is over http on a loopback address, where Chromium takes the cookie, too.
func TestAnOperatorLogsInAndOutInABrowser(t *testing.T) {
	chromium(t)
	provider := identitytest.Start(t)
	provider.LogInAs("olga", "operator")
	b := open(t, startHarness(t, porttest.Address(t), loginEnviron(provider)).url)
	b.expected = []string{"401 (Unauthorized)", "403 (Forbidden)", "503 (Service Unavailable)"}

	b.visit("/orders?status=PENDING")
	b.awaitText("h1", "Orders")
	assert.Equal(t, "?status=PENDING", eval[string](b, "location.search"))
	b.awaitText("#user", "olga")
	b.await("document.getElementById('connection').dataset.state === 'live'")
	assert.Empty(t, eval[string](b, "document.cookie"), "no script reads the session")
	b.look("login-operator")

	// The public name of the host counts, whichever one was typed.
	b.do(chromedp.Navigate("http://localhost" + b.url[len("http://127.0.0.1"):] + "/stock"))
	b.awaitText("h1", "Stock")
	assert.Equal(t, b.url, eval[string](b, "location.origin"))

	b.click("Log out")
	b.awaitText("h1", "You are logged out")
	assert.Len(t, provider.LoggedOut(), 1)
	b.look("login-logged-out")

	provider.LogInAs("") // the provider refuses
	b.path("/stock")
	b.awaitText("h1", "You are not logged in")
	assert.Equal(t, "/login/callback", eval[string](b, "location.pathname"))
	b.look("login-refused")

	provider.LogInAs("alice")
	b.click("Log in")
	b.awaitText("h1", "This is not for you")
	b.awaitText("main p", "alice")
	assert.Equal(t, "/stock", eval[string](b, "location.pathname"))
	b.look("login-no-role")
	for path, status := range map[string]int{"/console/settings": 403, "/console/topology": 403, "/asyncapi.json": 403, "/openapi.json": 200, "/docs": 200} {
		assert.Equal(t, status, eval[int](b, "fetch('"+path+"').then((r) => r.status)"), path)
	}
	b.click("Log out")
	b.awaitText("h1", "You are logged out")
}

// TestAPageFollowsItsSessionInABrowser ends the session under an open page.
func TestAPageFollowsItsSessionInABrowser(t *testing.T) {
	chromium(t)
	provider := identitytest.Start(t)
	provider.LogInAs("olga", "operator")
	b := open(t, startHarness(t, porttest.Address(t), loginEnviron(provider)).url)
	b.expected = []string{"401 (Unauthorized)", "403 (Forbidden)", "503 (Service Unavailable)"}
	live := func() { b.await("document.getElementById('connection').dataset.state === 'live'") }

	b.visit("/stock")
	b.awaitText("h1", "Stock")
	live()
	eval[any](b, "fetch('/logout', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' }).then(() => 0)") // as another tab does
	b.awaitText("h1", "You are logged out")
	assert.Zero(t, eval[int](b, "document.querySelectorAll('table').length"), "nothing stays on the screen")
	b.look("login-session-ended")
	provider.TokenLife(2 * time.Second)
	b.click("Log in")
	b.awaitText("h1", "Stock")
	live()

	provider.Down()
	b.awaitText("#outage", "The identity provider does not answer")
	b.look("login-provider-away")
	b.path("/orders")
	b.awaitText("h1", "The log-in is not available")
	b.look("login-unavailable")
	provider.Break(nil)
	b.pathUntil("/orders", "Orders")
	live()

	provider.LogInAs("olga") // the role is gone
	b.awaitText("h1", "This is not for you")
}
