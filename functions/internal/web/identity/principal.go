// Package identity says on whose behalf a request is made. A Verifier reads the principal from an access token of an OpenID
// Connect provider, and a handler asks for it with From, RequireOperator and Owns.
package identity

import (
	"cmp"
	"context"
	"net/http"

	"example.com/orders/functions/internal/web/rest"
)

// Principal is who makes a request.
type Principal struct {
	// Issuer and Subject name a user for good: a provider never gives a subject to another user (OpenID Connect Core 1.0, 5.7).
	Issuer, Subject string
	// Email is the address of the token's claim, if any. It may change hands: it names nobody.
	Email string
	// EmailVerified is whether the provider says that the address is the user's own.
	EmailVerified bool
	// Operator is whether the user has the role that OIDC_OPERATOR_ROLE names.
	Operator bool
	// Open means that no provider is configured: everybody who reaches the server may do everything, and owns nothing.
	Open bool
}

// Owner returns what is stored as the owner of the principal's orders: the issuer, a space and the subject, at most MaxOwner
// bytes. It is empty for the open principal and for nobody.
func (p Principal) Owner() string {
	if p.Open || p.Subject == "" {
		return ""
	}
	return p.Issuer + " " + p.Subject
}

// Account is the principal as a part of the hash of an idempotency key, and in the log: the owner, or rest.Anonymous.
func (p Principal) Account() string { return cmp.Or(p.Owner(), rest.Anonymous) }

// Bounds of an owner, in bytes.
const (
	MaxOwner   = maxIssuer + 1 + maxSubject
	maxIssuer  = 511
	maxSubject = 255 // OpenID Connect Core 1.0, 2: "It MUST NOT exceed 255 ASCII characters in length."
)

type contextKey struct{}

// From returns the principal of a request's context. Without one it returns nobody, who may do nothing.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(contextKey{}).(Principal)
	return p
}

// With returns a context with a principal.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// present returns whether the context has a principal.
func present(ctx context.Context) bool {
	_, ok := ctx.Value(contextKey{}).(Principal)
	return ok
}

// RequireOperator returns nil if the principal is an operator or open, and otherwise a *rest.Problem with status 403.
func RequireOperator(ctx context.Context) error {
	if p := From(ctx); p.Operator || p.Open {
		return nil
	}
	return rest.NewProblem(http.StatusForbidden, "this is for operators: log in as a user with the operator's role")
}

// Owns returns whether the principal may see and change what belongs to owner. Operators and the open principal may for every
// owner; what belongs to nobody, with an empty owner, is theirs alone.
func Owns(ctx context.Context, owner string) bool {
	p := From(ctx)
	return p.Operator || p.Open || (owner != "" && owner == p.Owner())
}
