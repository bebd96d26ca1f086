package session

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
)

var (
	// errAway means that the provider does not answer, or not as it should: the same may succeed later.
	errAway = errors.New("the identity provider does not answer")
	// errRefused means that the provider grants nothing for a code or a refresh token any more.
	errRefused = errors.New("the identity provider refuses")
)

// provider is the identity provider as a client with a secret sees it. It is asked for its endpoints at the first use.
type provider struct {
	issuer       string
	clientID     string
	clientSecret string // empty for a public client
	redirect     string // URI of the callback
	algorithms   []string
	client       *http.Client
	verifier     *identity.Verifier

	mu    sync.Mutex
	known *endpoints
	retry time.Time // not before, after a failure
	why   error     // of that failure
}

// endpoints are what the provider says of itself.
type endpoints struct {
	oauth      oauth2.Config
	idTokens   *oidc.IDTokenVerifier
	endSession string // empty if it has no log-out
}

// retryAfter is the pause after a failure, so that requests do not queue up for a provider that is away.
const retryAfter = time.Second

// discover returns the endpoints, from the provider at the first time. Its error is errAway.
func (p *provider) discover(ctx context.Context) (*endpoints, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		return p.known, nil
	}
	if time.Now().Before(p.retry) {
		return nil, p.why
	}
	// The client bounds it; the request that comes first must not end it for those that wait.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.client), p.issuer)
	if err != nil {
		p.retry, p.why = time.Now().Add(retryAfter), fmt.Errorf("%w: %w", errAway, err)
		return nil, p.why
	}
	var more struct {
		EndSession string `json:"end_session_endpoint"`
	}
	if err := found.Claims(&more); err != nil {
		return nil, fmt.Errorf("%w as it should: %w", errAway, err)
	}
	endpoint := found.Endpoint()
	// A client with a secret sends it as every provider must accept it (RFC 6749, 2.3.1), and one without sends its name only.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if p.clientSecret == "" {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	p.known = &endpoints{
		oauth: oauth2.Config{
			ClientID: p.clientID, ClientSecret: p.clientSecret, Endpoint: endpoint, RedirectURL: p.redirect,
			Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
		},
		idTokens:   found.Verifier(&oidc.Config{ClientID: p.clientID, SupportedSigningAlgs: p.algorithms}),
		endSession: more.EndSession,
	}
	return p.known, nil
}

// exchange returns the tokens for the code of a login. Its error is errAway, errRefused, or about what the provider sent.
func (p *provider) exchange(ctx context.Context, code string, begun attempt) (tokens, error) {
	known, err := p.discover(ctx)
	if err != nil {
		return tokens{}, err
	}
	ctx = oidc.ClientContext(ctx, p.client)
	granted, err := known.oauth.Exchange(ctx, code, oauth2.VerifierOption(begun.Verifier))
	if err != nil {
		return tokens{}, classify(err)
	}
	raw, _ := granted.Extra("id_token").(string)
	id, err := known.idTokens.Verify(ctx, raw)
	if err != nil {
		return tokens{}, fmt.Errorf("check the ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(begun.Nonce)) != 1 {
		return tokens{}, errors.New("the nonce of the ID token is not that of the login")
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(granted.AccessToken); err != nil {
			return tokens{}, fmt.Errorf("check the hash of the access token: %w", err)
		}
	}
	t, err := p.read(ctx, granted)
	if err != nil {
		return tokens{}, err
	}
	if t.principal.Issuer != id.Issuer || t.principal.Subject != id.Subject {
		return tokens{}, errors.New("the access token and the ID token are about different users")
	}
	var names struct {
		Username string `json:"preferred_username"`
		Email    string `json:"email"`
	}
	_ = id.Claims(&names) // without names the subject is shown
	t.name = oneline.Of(cmp.Or(names.Username, names.Email, id.Subject), 64)
	t.id = raw
	return t, nil
}

// again returns the tokens for a refresh token.
func (p *provider) again(ctx context.Context, refresh string) (tokens, error) {
	known, err := p.discover(ctx)
	if err != nil {
		return tokens{}, err
	}
	ctx = oidc.ClientContext(ctx, p.client)
	granted, err := known.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh}).Token()
	if err != nil {
		return tokens{}, classify(err)
	}
	return p.read(ctx, granted)
}

// unboundedFor is how long an access token counts of which the provider does not say when it expires (RFC 6749, 5.1 recommends
// that it does).
const unboundedFor = 5 * time.Minute

// read checks the access token as that of a request without a session is.
func (p *provider) read(ctx context.Context, granted *oauth2.Token) (tokens, error) {
	who, err := p.verifier.Verify(ctx, granted.AccessToken)
	if problem, ok := errors.AsType[*rest.Problem](err); ok && problem.Status == http.StatusServiceUnavailable {
		return tokens{}, fmt.Errorf("%w: %w", errAway, err)
	}
	if err != nil {
		return tokens{}, fmt.Errorf("check the access token: %w", err)
	}
	expires := granted.Expiry
	if expires.IsZero() {
		expires = time.Now().Add(unboundedFor)
	}
	return tokens{principal: who, refresh: granted.RefreshToken, expires: expires}, nil
}

// classify tells the failures of a token request apart.
func classify(err error) error {
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case ok && answer.ErrorCode == "invalid_grant":
		return fmt.Errorf("%w: %s", errRefused, oneline.Of(answer.ErrorDescription, 200))
	case ok && answer.Response != nil && answer.Response.StatusCode < 500 && answer.ErrorCode != "":
		// Such as invalid_client: it concerns the configuration, and its text has no token.
		return fmt.Errorf("the identity provider answered %s: %s", oneline.Of(answer.ErrorCode, 64), oneline.Of(answer.ErrorDescription, 200))
	case ok:
		return fmt.Errorf("%w as it should: its status is %d", errAway, answer.Response.StatusCode)
	default:
		return fmt.Errorf("%w: %w", errAway, err)
	}
}

// logOut returns the URL that ends the user's session at the provider and leads back to after (OpenID Connect RP-Initiated
// Logout 1.0). It is after if the provider has no such URL or does not answer.
func (p *provider) logOut(ctx context.Context, idToken, after string) string {
	known, err := p.discover(ctx)
	if err != nil || known.endSession == "" {
		return after
	}
	u, err := url.Parse(known.endSession)
	if err != nil {
		return after
	}
	q := u.Query()
	q.Set("client_id", p.clientID)
	q.Set("id_token_hint", idToken)
	q.Set("post_logout_redirect_uri", after)
	u.RawQuery = q.Encode()
	return u.String()
}
