package session

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/secret"
)

// Lives of a session: after its last request, and after its log-in.
const (
	DefaultIdle = time.Hour
	DefaultLife = 12 * time.Hour
)

const secretName = "OIDC_CLIENT_SECRET" //nolint:gosec // the name of the variable

// Options configures the sessions.
type Options struct {
	// Config has the variables:
	//
	//	OIDC_CLIENT_ID           this server as a client of the provider; without it nobody can log in
	//	OIDC_CLIENT_SECRET       its secret; without it a public client, which PKCE protects
	//	OIDC_CLIENT_SECRET_FILE  file that has the secret
	//	PUBLIC_URL               https://HOST of this server as browsers see it; by default URL, on a loopback address only
	//	SESSION_IDLE             how long a session lasts without a request; default 1h
	//	SESSION_LIFE             how long a session lasts; default 12h
	Config   map[string]string
	Verifier *identity.Verifier
	// URL is that at which this server listens, without a path.
	URL string
	// Show writes a notice.
	Show func(http.ResponseWriter, *http.Request, Notice)
	Log  *slog.Logger
}

// New returns the sessions that a configuration asks for, nil without OIDC_CLIENT_ID. It does not contact the provider.
func New(o Options) (*Sessions, error) {
	id := o.Config["OIDC_CLIENT_ID"]
	if id == "" {
		if secret.Given(o.Config, secretName) {
			return nil, fmt.Errorf("%s is set without OIDC_CLIENT_ID: set that too, or unset it", secretName)
		}
		return nil, nil //nolint:nilnil // nil is nobody's session
	}
	if !o.Verifier.Enabled() {
		return nil, errors.New("OIDC_CLIENT_ID is set without OIDC_ISSUER and OIDC_AUDIENCE: set them too")
	}
	if id == o.Config["OIDC_AUDIENCE"] {
		return nil, fmt.Errorf("OIDC_CLIENT_ID and OIDC_AUDIENCE are both %q: the audience of an ID token is the client, so it would pass for an access token; "+
			"have the provider put another audience, such as orders, into access tokens, and set OIDC_AUDIENCE to that", id)
	}
	clientSecret, err := secret.Read(o.Config, secretName)
	if err != nil {
		return nil, err
	}
	base, err := publicURL(o.Config["PUBLIC_URL"], o.URL)
	if err != nil {
		return nil, err
	}
	s := &Sessions{base: base.String(), host: base.Host, verifier: o.Verifier, show: o.Show, log: o.Log}
	s.store.all = map[[32]byte]*held{}
	if s.store.idle, err = readDuration(o.Config, "SESSION_IDLE", DefaultIdle); err != nil {
		return nil, err
	}
	if s.store.life, err = readDuration(o.Config, "SESSION_LIFE", DefaultLife); err != nil {
		return nil, err
	}
	client, err := identity.Client(o.Config)
	if err != nil {
		return nil, err
	}
	s.provider = provider{
		issuer: o.Verifier.Issuer(), clientID: id, clientSecret: clientSecret, redirect: s.base + callbackPath,
		algorithms: o.Verifier.Algorithms(), client: client, verifier: o.Verifier,
	}
	return s, nil
}

// Host returns the host of PUBLIC_URL, without its port; empty without log-in.
func (s *Sessions) Host() string {
	if s == nil {
		return ""
	}
	u, _ := url.Parse(s.base) // New has
	return u.Hostname()
}

// publicURL returns the URL of this server as browsers see it: the given one, or else that at which it listens.
func publicURL(given, listens string) (*url.URL, error) {
	if given == "" {
		u, err := url.Parse(listens)
		if err != nil {
			return nil, err
		}
		if !onLoopback(u.Hostname()) {
			return nil, fmt.Errorf("set PUBLIC_URL to the https URL at which browsers reach this server: it is not on a loopback address, but %s", listens)
		}
		return u, nil
	}
	u, err := url.Parse(strings.TrimSuffix(given, "/"))
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("PUBLIC_URL is %q: give a URL without a path, like https://orders.example.com", given)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !onLoopback(u.Hostname())) {
		return nil, fmt.Errorf("PUBLIC_URL is %q: give an https URL, since browsers keep the session's cookie only over TLS (or on this machine)", given)
	}
	return u, nil
}

func onLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// readDuration returns the duration in a variable, which is positive and at most a week.
func readDuration(config map[string]string, name string, fallback time.Duration) (time.Duration, error) {
	text := config[name]
	if text == "" {
		return fallback, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > 7*24*time.Hour {
		return 0, fmt.Errorf("%s is %q: give a duration of at most a week, like 1h or 90m", name, text)
	}
	return d, nil
}
