// Package session logs people in at an OpenID Connect provider and keeps their sessions. A request with the cookie of a session
// has its user's principal in its context; the tokens stay in this process.
//
// The sessions are in memory, and a cookie has only their secret. So a log-out ends a session at once, which a cookie that
// carries its own state would outlive, and a restart ends all: the provider then logs most people in again without asking. Of
// several processes behind one name each has its own sessions: send a browser always to the same one.
package session

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
)

// Sessions are the sessions of this process. The nil Sessions has none, and no log-in.
type Sessions struct {
	store    store
	provider provider
	verifier *identity.Verifier
	base     string // of the public URLs, without a slash at the end
	host     string // that of base
	show     func(http.ResponseWriter, *http.Request, Notice)
	log      *slog.Logger
}

// Notice is a page that says what came of a log-in or a log-out.
type Notice struct {
	Status      int
	Title, Text string
	// Again is where to log in; empty if that is no way on.
	Again string
	// LogOut is whether the page has the button to log out.
	LogOut bool
}

type contextKey struct{}

// of returns the session of a request, nil without one.
func of(ctx context.Context) *held {
	one, _ := ctx.Value(contextKey{}).(*held)
	return one
}

// Handler puts the principal of a request's session into its context. A request with a bearer token is its own, whatever
// cookies come with it. If the provider would have to confirm the session and does not answer, the answer is 503.
func (s *Sessions) Handler(next http.Handler) http.Handler {
	if s == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie(cookieName)
		if err != nil || r.Header.Get("Authorization") != "" {
			next.ServeHTTP(w, r)
			return
		}
		// A browser opens streams again by itself, so that they do not show that somebody is there.
		one := s.store.find(cookie.Value, r.Header.Get("Accept") != "text/event-stream")
		if one == nil {
			next.ServeHTTP(w, r)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), contextKey{}, one))
		if isPublic(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		switch who, err := s.confirm(r.Context(), one); {
		case err == nil:
			next.ServeHTTP(w, r.WithContext(identity.With(r.Context(), who)))
		case errors.Is(err, errAway):
			s.unavailable(w, r)
		default:
			// The dead cookie stays: taking it away could hit the new one of a log-in that ends at the same time.
			next.ServeHTTP(w, r)
		}
	})
}

// confirm returns the principal of a session, as the provider says it once the last access token has expired. If the provider
// refuses, the session ends. If it does not answer, the error is errAway.
func (s *Sessions) confirm(ctx context.Context, one *held) (identity.Principal, error) {
	if time.Now().Before(one.expiry()) {
		return one.who(), nil
	}
	one.refreshing.Lock()
	defer one.refreshing.Unlock()
	now := time.Now()
	if now.Before(one.expiry()) {
		return one.who(), nil // another request has asked
	}
	one.mu.Lock()
	refresh, retry := one.refresh, one.retry
	one.mu.Unlock()
	if refresh == "" {
		s.store.end(one)
		return identity.Principal{}, errRefused
	}
	if now.Before(retry) {
		return identity.Principal{}, errAway
	}
	// Some providers take a refresh token once: the answer must not be lost with the request.
	granted, err := s.provider.again(context.WithoutCancel(ctx), refresh)
	was := one.who()
	if err == nil && (granted.principal.Issuer != was.Issuer || granted.principal.Subject != was.Subject) {
		err = errors.New("the refreshed token is about another user")
	}
	switch {
	case errors.Is(err, errAway):
		s.log.WarnContext(ctx, "a session cannot be confirmed", "subject", was.Subject, "error", err)
		one.mu.Lock()
		one.retry = time.Now().Add(retryAfter)
		one.mu.Unlock()
		return identity.Principal{}, err
	case err != nil:
		s.log.InfoContext(ctx, "session ended by the provider", "subject", was.Subject, "error", err)
		s.store.end(one)
		return identity.Principal{}, err
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	one.principal, one.expires = granted.principal, granted.expires
	if granted.refresh != "" {
		one.refresh = granted.refresh
	}
	return granted.principal, nil
}

// maxStreamOfToken bounds a stream of a request with a bearer token instead of a session: to go on, the client sends a token
// that is still valid.
const maxStreamOfToken = 5 * time.Minute

// Follow returns a context for a stream. It ends with the session of ctx: by a log-out, after its idle or whole life, or once
// the provider changes the user's role, refuses the user or does not answer when it is asked.
func (s *Sessions) Follow(ctx context.Context) (context.Context, context.CancelFunc) {
	if identity.From(ctx).Open {
		return context.WithCancel(ctx)
	}
	one := of(ctx)
	if s == nil || one == nil {
		return context.WithTimeout(ctx, maxStreamOfToken)
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		began := identity.From(ctx)
		for {
			next := s.store.deadline(one)
			if expires := one.expiry(); expires.Before(next) {
				next = expires
			}
			timer := time.NewTimer(time.Until(next))
			select {
			case <-timer.C:
			case <-one.ended:
			case <-ctx.Done():
			}
			timer.Stop()
			select {
			case <-one.ended:
				return
			case <-ctx.Done():
				return
			default:
			}
			if !time.Now().Before(s.store.deadline(one)) {
				s.store.end(one)
				return
			}
			if who, err := s.confirm(ctx, one); err != nil || who.Operator != began.Operator {
				return
			}
		}
	}()
	return ctx, cancel
}

// Name returns a name of the session's user for people, empty without a session.
func Name(ctx context.Context) string {
	if one := of(ctx); one != nil {
		return one.name
	}
	return ""
}

// isPublic returns whether a path says nothing about orders, and is served whatever the provider says of a session.
func isPublic(path string) bool {
	switch path {
	case loginPath, callbackPath, logOutPath, loggedOutPath, "/health", "/health/live", "/health/ready":
		return true
	}
	return len(path) > len(staticPaths) && path[:len(staticPaths)] == staticPaths
}

// staticPaths begins the paths of files that the pages, the notices among them, are made of.
const staticPaths = "/console/static/"

func (s *Sessions) unavailable(w http.ResponseWriter, r *http.Request) {
	const text = "the identity provider does not answer, so that nobody can be let in: try again later"
	if WantsPage(r) {
		w.Header().Set("Retry-After", "1")
		s.show(w, r, Notice{
			Status: http.StatusServiceUnavailable, Title: "The log-in is not available", Again: loginURL(target(r)),
			Text: "The identity provider does not answer, so that nobody can be let in. Try again later.",
		})
		return
	}
	rest.Handler(func() *slog.Logger { return s.log }, func(http.ResponseWriter, *http.Request) error { return rest.Unavailable(text) })(w, r)
}
