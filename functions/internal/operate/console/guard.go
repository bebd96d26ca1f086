package console

import (
	_ "embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"

	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/functions/internal/web/session"
)

// operators lets only operators to next; others get the problem 401 or 403.
func (c *Console) operators(next http.Handler) http.Handler {
	return c.o.Verifier.Operators(c.log, next)
}

// page lets only operators to a page: others are led to the log-in, or get a page that says what is wrong.
func (c *Console) page(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, err := c.o.Verifier.Authenticate(r)
		if err == nil {
			if err = identity.RequireOperator(ctx); err == nil {
				next(w, r.WithContext(ctx))
				return
			}
		}
		problem, ok := errors.AsType[*rest.Problem](err)
		switch {
		case ok && problem.Status == http.StatusUnauthorized && r.Header.Get("Authorization") == "":
			if !c.o.Sessions.Ask(w, r) {
				ShowNotice(w, r, session.Notice{
					Status: http.StatusUnauthorized, Title: "There is no log-in",
					Text: "The console is for operators, and this server lets nobody log in: it needs OIDC_CLIENT_ID. The API takes the tokens of the identity provider.",
				})
			}
		case ok && problem.Status == http.StatusForbidden:
			who := session.Name(ctx)
			text := "The console is for operators. The identity provider does not say that you are one."
			if who != "" {
				text = "The console is for operators. You are logged in as " + who + ", and the identity provider does not say that you are one: ask for the role, then log out and in again, or log in as somebody else."
			}
			ShowNotice(w, r, session.Notice{Status: http.StatusForbidden, Title: "This is not for you", Text: text, LogOut: who != ""})
		default:
			rest.Handler(c.log, func(http.ResponseWriter, *http.Request) error { return err })(w, r)
		}
	}
}

//go:embed notice.html
var noticeText string

var noticePage = template.Must(template.New("notice").Parse(noticeText))

// ShowNotice writes a page about a log-in or a log-out.
func ShowNotice(w http.ResponseWriter, r *http.Request, n session.Notice) {
	secured(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(n.Status)
		if err := noticePage.Execute(w, n); err != nil {
			slog.DebugContext(r.Context(), "a notice was not written: the client is gone", "error", err)
		}
	})(w, r)
}
