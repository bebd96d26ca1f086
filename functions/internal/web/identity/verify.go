package identity

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"example.com/orders/functions/internal/web/rest"
)

// Verifier reads principals from access tokens. New makes it. The nil Verifier is not enabled.
type Verifier struct {
	issuer, audience         string
	algorithms               []string
	rolesClaim, operatorRole string
	keys                     *keys
	verified                 verified
	now                      func() time.Time
}

const (
	// skew is how far the clocks of the provider and of this machine may differ.
	skew = 30 * time.Second
	// maxToken bounds a token, in bytes.
	maxToken = 16 << 10
)

// Enabled returns whether tokens are asked for. Otherwise every request is that of the open principal.
func (v *Verifier) Enabled() bool { return v != nil && v.issuer != "" }

// Issuer returns OIDC_ISSUER, empty if the verifier is not enabled.
func (v *Verifier) Issuer() string {
	if v == nil {
		return ""
	}
	return v.issuer
}

// Handler puts the principal of a request's bearer token into its context: the open one if the verifier is not enabled. It
// answers a request without a valid token with the problem of Verify. A principal that the context has already stays: it is
// that of a session, or of a caller in this process.
func (v *Verifier) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, err := v.Authenticate(r)
		if err != nil {
			rest.Handler(slog.Default, func(http.ResponseWriter, *http.Request) error { return err })(w, r)
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Operators lets only operators to next, like Handler; others get the problem 401 or 403.
func (v *Verifier) Operators(log func() *slog.Logger, next http.Handler) http.Handler {
	return v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := RequireOperator(r.Context()); err != nil {
			rest.Handler(log, func(http.ResponseWriter, *http.Request) error { return err })(w, r)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

// Authenticate returns the context of a request with its principal, see Handler. The error is a *rest.Problem.
func (v *Verifier) Authenticate(r *http.Request) (context.Context, error) {
	ctx := v.Admit(r.Context())
	if present(ctx) {
		return ctx, nil
	}
	token, err := bearer(r)
	if err != nil {
		return nil, err
	}
	p, err := v.Verify(ctx, token)
	if err != nil {
		return nil, err
	}
	return With(ctx, p), nil
}

// Admit returns ctx with the open principal if the verifier is not enabled and ctx has no principal yet: for calls without a
// request. Otherwise it returns ctx.
func (v *Verifier) Admit(ctx context.Context) context.Context {
	if v.Enabled() || present(ctx) {
		return ctx
	}
	return With(ctx, Principal{Open: true})
}

// bearer returns the token of a request. The error is a *rest.Problem.
func bearer(r *http.Request) (string, error) {
	switch values := r.Header.Values("Authorization"); len(values) {
	case 0:
		// No error code: RFC 6750, 3.1 wants none for a request without credentials.
		return "", rest.Unauthorized("Bearer", "log in: send an access token of the identity provider as Authorization: Bearer TOKEN")
	case 1:
		scheme, token, _ := strings.Cut(values[0], " ")
		if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
			return "", rest.Unauthorized("Bearer", "send an access token of the identity provider as Authorization: Bearer TOKEN")
		}
		return token, nil
	default:
		return "", refused("the request has more than one Authorization header")
	}
}

// refused is the problem of a token that is not accepted. The detail must be ASCII without quotes and backslashes, as it is
// also the error_description (RFC 6750, 3).
func refused(detail string) *rest.Problem {
	return rest.Unauthorized(fmt.Sprintf(`Bearer error="invalid_token", error_description="%s"`, detail), detail)
}

// claims are the claims that go-oidc does not check.
type claims struct {
	Subject       string          `json:"sub"`
	Expiry        *json.Number    `json:"exp"`
	NotBefore     *json.Number    `json:"nbf"`
	Email         string          `json:"email"`
	EmailVerified any             `json:"email_verified"` // a few providers send the text "true"
	Kind          string          `json:"typ"`            // Keycloak says here what the token is
	Nonce         json.RawMessage `json:"nonce"`
	TokenHash     json.RawMessage `json:"at_hash"`
	CodeHash      json.RawMessage `json:"c_hash"`
	Confirmation  json.RawMessage `json:"cnf"`
}

// Verify returns the principal of an access token. The error is a *rest.Problem: 401 for a token that is not accepted, and 503
// with Retry-After if the provider's keys are needed and cannot be had.
func (v *Verifier) Verify(ctx context.Context, raw string) (Principal, error) {
	if !v.Enabled() {
		return Principal{}, refused("no identity provider is configured here")
	}
	if len(raw) > maxToken {
		return Principal{}, refused(fmt.Sprintf("the token is larger than %d bytes", maxToken))
	}
	if known, found := v.verified.find(raw); found {
		keys, err := v.candidates(ctx, known.keyID, known.algorithm)
		if err != nil {
			return Principal{}, err
		}
		if equal(keys, known.keys) {
			if err := known.valid.check(v.now()); err != nil {
				return Principal{}, err
			}
			return known.principal, nil
		}
	}
	allowed := make([]jose.SignatureAlgorithm, len(v.algorithms))
	for i, name := range v.algorithms {
		allowed[i] = jose.SignatureAlgorithm(name)
	}
	parsed, err := jose.ParseSignedCompact(raw, allowed)
	if err != nil {
		return Principal{}, refused("the token is not a JWT that is signed with one of " + strings.Join(v.algorithms, ", "))
	}
	header := parsed.Signatures[0].Header
	if kind, given := header.ExtraHeaders[jose.HeaderType]; given && !isAccessToken(kind) {
		return Principal{}, refused("the token's header has a typ other than at+jwt and JWT: send an access token")
	}
	candidates, err := v.candidates(ctx, header.KeyID, header.Algorithm)
	if err != nil {
		return Principal{}, err
	}
	verifier := oidc.NewVerifier(v.issuer, &oidc.StaticKeySet{PublicKeys: candidates}, &oidc.Config{
		ClientID: v.audience, SupportedSigningAlgs: v.algorithms, SkipExpiryCheck: true, // validity has less skew
	})
	token, err := verifier.Verify(ctx, raw)
	if err != nil {
		return Principal{}, refused("the signature, issuer or audience of the token is not the expected one")
	}
	principal, valid, err := v.principal(token)
	if err != nil {
		return Principal{}, err
	}
	v.verified.keep(raw, verifiedToken{principal, valid, header.KeyID, header.Algorithm, candidates})
	return principal, nil
}

// candidates returns the keys that may have signed a token, see keys.find. The error is a *rest.Problem.
func (v *Verifier) candidates(ctx context.Context, keyID, algorithm string) ([]crypto.PublicKey, error) {
	found, err := v.keys.find(ctx, keyID, algorithm)
	if errors.Is(err, errUnreachable) {
		slog.WarnContext(ctx, "a token was not checked", "issuer", v.issuer, "error", err)
		return nil, rest.Unavailable("the token cannot be checked, since the identity provider does not answer: send the request again later")
	}
	if err != nil {
		return nil, refused(err.Error())
	}
	return found, nil
}

// isAccessToken returns whether a typ may be that of an access token: at+jwt (RFC 9068, 2.1), or JWT as many providers say.
// Other tokens that a provider signs with the same keys, such as those for a log-out, have others.
func isAccessToken(kind any) bool {
	text, _ := kind.(string)
	text = strings.ToLower(text)
	return slices.Contains([]string{"at+jwt", "application/at+jwt", "jwt", "application/jwt"}, text)
}

// principal returns the principal of a token with a valid signature, issuer and audience, and when the token is valid: now is
// in it. The error is a *rest.Problem.
func (v *Verifier) principal(token *oidc.IDToken) (Principal, validity, error) {
	var c claims
	var all map[string]any
	if token.Claims(&c) != nil || token.Claims(&all) != nil || token.Issuer != v.issuer { // go-oidc lets Google's other issuer pass
		return Principal{}, validity{}, refused("the claims of the token are not those of an access token")
	}
	valid, err := v.validity(c)
	if err != nil {
		return Principal{}, validity{}, err
	}
	if err := c.ofAccessToken(); err != nil {
		return Principal{}, validity{}, err
	}
	return Principal{
		Issuer: token.Issuer, Subject: c.Subject, Email: c.Email,
		EmailVerified: c.Email != "" && (c.EmailVerified == true || c.EmailVerified == "true"),
		Operator:      hasRole(all, v.rolesClaim, v.operatorRole),
	}, valid, nil
}

// ofAccessToken returns the problem of claims that are not those of a plain access token.
func (c claims) ofAccessToken() error {
	switch {
	case c.Nonce != nil || c.TokenHash != nil || c.CodeHash != nil || strings.EqualFold(c.Kind, "ID"):
		return refused("this is an ID token: send the access token")
	case c.Kind != "" && !strings.EqualFold(c.Kind, "Bearer"):
		return refused("the token's claim typ is not Bearer: send an access token")
	case c.Confirmation != nil:
		return refused("the token is bound to a key or a certificate (claim cnf): send a plain bearer token")
	case !validSubject(c.Subject):
		return refused(fmt.Sprintf("the token's claim sub is not 1 to %d printable ASCII characters", maxSubject))
	}
	return nil
}

func validSubject(subject string) bool {
	return subject != "" && len(subject) <= maxSubject &&
		!strings.ContainsFunc(subject, func(r rune) bool { return r < ' ' || r > '~' })
}

// validity returns when a token is valid, and a problem unless now is in it.
func (v *Verifier) validity(c claims) (validity, error) {
	expiry, err := timeOf(c.Expiry)
	if err != nil || expiry.IsZero() {
		return validity{}, refused("the token does not say when it expires")
	}
	notBefore, err := timeOf(c.NotBefore)
	if err != nil {
		return validity{}, refused("the claim nbf of the token is no time")
	}
	valid := validity{notBefore, expiry}
	return valid, valid.check(v.now())
}

// timeOf reads a NumericDate (RFC 7519, 2), whole or with a fraction. It is zero if there is none.
func timeOf(number *json.Number) (time.Time, error) {
	if number == nil {
		return time.Time{}, nil
	}
	seconds, err := number.Float64()
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, fmt.Errorf("%s is no time", number)
	}
	return time.UnixMilli(int64(seconds * 1000)), nil
}

// hasRole returns whether a role is in a claim: that of the name, or else that at the end of the path with dots between its
// names. A claim is a list of roles, or one role.
func hasRole(all map[string]any, claim, role string) bool {
	value, found := all[claim]
	if !found {
		value = any(all)
		for name := range strings.SplitSeq(claim, ".") {
			object, _ := value.(map[string]any)
			value = object[name]
		}
	}
	switch value := value.(type) {
	case string:
		return value == role
	case []any:
		return slices.Contains(value, any(role))
	default:
		return false
	}
}
