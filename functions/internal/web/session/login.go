package session

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"example.com/orders/functions/internal/web/rest"
)

// Paths of the log-in and the log-out.
const (
	loginPath     = "/login"
	callbackPath  = "/login/callback"
	logOutPath    = "/logout"
	loggedOutPath = "/logged-out"
)

// Names of the cookies. Browsers take a name with the prefix __Host- only from the host itself, as Secure and with Path=/: no
// other host of the same domain can plant or read it. Chromium takes it over http, too, from a loopback address.
const (
	cookieName = "__Host-orders"
	// loginCookie begins the name of the cookie of a log-in that has begun; its state follows, so that several tabs can log in.
	loginCookie = "__Host-orders-login-"
)

// loginWithin is how long a log-in may take at the provider.
const loginWithin = 10 * time.Minute

// attempt is a log-in that has begun, in a cookie of the browser that it began in. Only that browser can end it.
type attempt struct {
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE (RFC 7636)
	To       string `json:"to"`
}

// Register serves the log-in and the log-out on mux. On nil, it serves nothing.
func (s *Sessions) Register(mux rest.Mux) {
	if s == nil {
		return
	}
	mux.HandleFunc("GET "+loginPath, s.login)
	mux.HandleFunc("GET "+callbackPath, s.callback)
	mux.HandleFunc("POST "+logOutPath, rest.Handler(func() *slog.Logger { return s.log }, s.logOut))
	mux.HandleFunc("GET "+loggedOutPath, func(w http.ResponseWriter, r *http.Request) {
		s.show(w, r, Notice{Status: http.StatusOK, Title: "You are logged out", Text: "This session has ended, here and at the identity provider.", Again: loginURL("/")})
	})
}

// loginURL returns the path of the log-in that leads to another path.
func loginURL(to string) string {
	if to == "" || to == "/" {
		return loginPath
	}
	return loginPath + "?to=" + url.QueryEscape(to)
}

// target returns the path of a request with its query, to come back to.
func target(r *http.Request) string { return local(r.URL.RequestURI()) }

// local returns a path within this server, or / for anything that a browser may take for another server.
func local(to string) string {
	const most = 1000
	u, err := url.Parse(to)
	if err != nil || len(to) > most || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") ||
		strings.ContainsFunc(to, func(c rune) bool { return c <= ' ' || c > '~' || c == '\\' }) ||
		u.Path == loginPath || u.Path == callbackPath || u.Path == logOutPath || u.Path == loggedOutPath {
		return "/"
	}
	return to
}

// Ask leads a browser to the log-in, from which it comes back to the page that it asked for. It answers false on nil.
func (s *Sessions) Ask(w http.ResponseWriter, r *http.Request) bool {
	if s == nil {
		return false
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, loginURL(target(r)), http.StatusSeeOther) //nolint:gosec // target is within this server
	return true
}

// WantsPage returns whether a request is that of a browser for a page.
func WantsPage(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// login sends the browser to the provider.
func (s *Sessions) login(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	to := local(r.URL.Query().Get("to"))
	if r.Host != s.host && !r.URL.Query().Has("here") {
		// The provider leads back to the public host, which gets only its own cookies. Once is enough: a proxy may rewrite Host.
		http.Redirect(w, r, s.base+loginPath+"?"+url.Values{"to": {to}, "here": {"1"}}.Encode(), http.StatusSeeOther)
		return
	}
	known, err := s.provider.discover(r.Context())
	if err != nil {
		s.fail(w, r, to, err)
		return
	}
	state, begun := newSecret(), attempt{Nonce: newSecret(), Verifier: oauth2.GenerateVerifier(), To: to}
	text, _ := json.Marshal(begun) // encoding strings cannot fail
	setCookie(w, loginCookie+state, base64.RawURLEncoding.EncodeToString(text), int(loginWithin.Seconds()))
	http.Redirect(w, r, known.oauth.AuthCodeURL(state, oidc.Nonce(begun.Nonce), oauth2.S256ChallengeOption(begun.Verifier)), http.StatusSeeOther)
}

// stateText is the form of a state, which becomes a part of a cookie's name.
var stateText = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// codeText is the form of an error code of OAuth.
var codeText = regexp.MustCompile(`^[a-z_]{1,64}$`)

// callback ends a log-in: the provider has sent the browser here, with a code or an error.
func (s *Sessions) callback(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	q := r.URL.Query()
	begun, ok := takeAttempt(w, r, q.Get("state"))
	if !ok {
		if of(r.Context()) != nil {
			http.Redirect(w, r, "/", http.StatusSeeOther) // the page was loaded again
			return
		}
		s.show(w, r, Notice{
			Status: http.StatusBadRequest, Title: "This log-in is not valid any more", Again: loginURL("/"),
			Text: "It began more than ten minutes ago or in another browser, or this browser keeps no cookies of this site.",
		})
		return
	}
	if code := q.Get("error"); code != "" {
		if !codeText.MatchString(code) {
			code = "an error"
		}
		s.log.WarnContext(r.Context(), "log-in refused by the provider", "code", code)
		s.show(w, r, Notice{
			Status: http.StatusForbidden, Title: "You are not logged in", Again: loginURL(begun.To),
			Text: "The identity provider answered " + code + ".",
		})
		return
	}
	// RFC 9207: an answer of another provider does not get the code.
	if iss := q.Get("iss"); iss != "" && iss != s.provider.issuer {
		s.fail(w, r, begun.To, errors.New("the callback names another issuer"))
		return
	}
	granted, err := s.provider.exchange(r.Context(), q.Get("code"), begun)
	if err != nil {
		s.fail(w, r, begun.To, err)
		return
	}
	if before, err := r.Cookie(cookieName); err == nil {
		if one := s.store.find(before.Value, false); one != nil {
			s.store.end(one) // a new log-in is a new session
		}
	}
	secret, one := s.store.start(granted)
	setCookie(w, cookieName, secret, 0)
	s.log.InfoContext(r.Context(), "logged in", "subject", one.principal.Subject, "operator", one.principal.Operator)
	http.Redirect(w, r, begun.To, http.StatusSeeOther)
}

// takeAttempt returns the log-in of a state, which this browser has begun, and forgets it.
func takeAttempt(w http.ResponseWriter, r *http.Request, state string) (begun attempt, ok bool) {
	if !stateText.MatchString(state) {
		return begun, false
	}
	cookie, err := r.Cookie(loginCookie + state)
	if err != nil {
		return begun, false
	}
	setCookie(w, loginCookie+state, "", -1)
	text, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil || json.Unmarshal(text, &begun) != nil || begun.Nonce == "" || begun.Verifier == "" {
		return begun, false
	}
	begun.To = local(begun.To)
	return begun, true
}

// fail says why a log-in failed; the log has the details.
func (s *Sessions) fail(w http.ResponseWriter, r *http.Request, to string, err error) {
	s.log.WarnContext(r.Context(), "log-in failed", "error", err)
	switch {
	case errors.Is(err, errAway):
		w.Header().Set("Retry-After", "1")
		s.show(w, r, Notice{
			Status: http.StatusServiceUnavailable, Title: "The log-in is not available", Again: loginURL(to),
			Text: "The identity provider does not answer, so that nobody can be let in. Try again later.",
		})
	case errors.Is(err, errRefused):
		s.show(w, r, Notice{
			Status: http.StatusBadRequest, Title: "This log-in is not valid any more", Again: loginURL(to),
			Text: "The identity provider takes its code no more. Log in again.",
		})
	default:
		s.show(w, r, Notice{
			Status: http.StatusBadGateway, Title: "The log-in failed", Again: loginURL(to),
			Text: "The identity provider and this server do not agree. The log of this server has the reason.",
		})
	}
}

// logOut answers POST /logout: it ends the session, and answers with the URL that ends that at the provider.
func (s *Sessions) logOut(w http.ResponseWriter, r *http.Request) error {
	if !rest.IsJSON(r.Header.Get("Content-Type")) { // a form of another site cannot send that
		return rest.NewProblem(http.StatusUnsupportedMediaType, "send Content-Type: application/json")
	}
	answer := struct {
		To string `json:"to"`
	}{loggedOutPath}
	if one := of(r.Context()); one != nil {
		s.store.end(one)
		s.log.InfoContext(r.Context(), "logged out", "subject", one.who().Subject)
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		answer.To = s.provider.logOut(ctx, one.idToken, s.base+loggedOutPath)
	}
	setCookie(w, cookieName, "", -1)
	return rest.JSON(w, http.StatusOK, answer)
}

// setCookie sets a cookie for maxAge seconds, until the browser ends if that is 0, and removes it if that is negative.
func setCookie(w http.ResponseWriter, name, value string, maxAge int) {
	// Lax, not Strict: a link to a page of an order works from a chat, and so does the way back from the provider.
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}
