package bank

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"example.com/orders/events"
	"example.com/orders/events/strictjson"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/web/rest"
)

// authorize answers PUT /authorizations/{key}.
func (b *Bank) authorize(w http.ResponseWriter, r *http.Request) error {
	a := gateway.Authorization{}
	err := read(w, r, &a.Key, &a.Amount, &a.Currency, func(o *strictjson.Object) { a.OrderID = key(o, "orderId") })
	if err != nil {
		return err
	}
	result, err := b.gateway.Authorize(r.Context(), a)
	return b.reply(w, result, err)
}

// refund answers PUT /refunds/{key}.
func (b *Bank) refund(w http.ResponseWriter, r *http.Request) error {
	refund := gateway.Refund{}
	err := read(w, r, &refund.Key, &refund.Amount, &refund.Currency, func(o *strictjson.Object) {
		refund.AuthorizationKey = key(o, "authorization")
	})
	if err != nil {
		return err
	}
	result, err := b.gateway.Refund(r.Context(), refund)
	return b.reply(w, result, err)
}

// find answers GET with what became of a key.
func (b *Bank) find(lookup func(context.Context, string) (gateway.Answer, error)) answer {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := keyOf(r)
		if err != nil {
			return err
		}
		result, err := lookup(r.Context(), id)
		if errors.Is(err, gateway.ErrUnknownKey) {
			return rest.NewProblem(http.StatusNotFound, "no request with this key has come")
		}
		return b.reply(w, result, err)
	}
}

// defaultPage is the size of a page of the ledger whose request names none.
const defaultPage = 100

// page answers GET /ledger.
func (b *Bank) page(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	after, limit := query.Get("after"), defaultPage
	if after != "" && !gateway.ValidKey(after) {
		return rest.NewProblem(http.StatusBadRequest, "after: send the id of an order, or leave it out")
	}
	if text := query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > gateway.MaxPage {
			return rest.NewProblem(http.StatusBadRequest, fmt.Sprintf("limit: send a number from 1 to %d", gateway.MaxPage))
		}
	}
	orders, next, err := b.gateway.Ledger(r.Context(), after, limit)
	if err != nil {
		return b.reply(w, gateway.Answer{}, err)
	}
	if orders == nil {
		orders = []gateway.Holding{}
	}
	return rest.JSON(w, http.StatusOK, struct {
		Orders []gateway.Holding `json:"orders"`
		Next   string            `json:"next,omitempty"`
	}{orders, next})
}

// reply answers with a result, or as the error says. It never answers 503 to a request that may have had an effect: by the
// contract, a 503 means that there is none.
func (b *Bank) reply(w http.ResponseWriter, result gateway.Answer, err error) error {
	refusal, refused := errors.AsType[*gateway.Refusal](err)
	switch {
	case err == nil:
		return rest.JSON(w, http.StatusOK, result)
	case refused:
		return rest.NewProblem(refusal.Status, refusal.Detail)
	case errors.Is(err, gateway.ErrFailed):
		return rest.NewProblem(http.StatusInternalServerError, "the scenario of this bank has it fail now: look the key up, or send the request again")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		panic(http.ErrAbortHandler) // the answer is lost: the connection ends without one
	}
	b.options.Log.Error("a request failed", "error", err)
	return rest.NewProblem(http.StatusInternalServerError, "the bank failed, and its log says why: look the key up when it is back")
}

// read reads the key and the body of a request.
func read(w http.ResponseWriter, r *http.Request, id *string, amount *int64, currency *string, others func(*strictjson.Object)) (err error) {
	if *id, err = keyOf(r); err != nil {
		return err
	}
	body, err := rest.Body(w, r)
	if err != nil {
		return err
	}
	o, err := strictjson.Parse(body)
	if err != nil {
		return rest.Invalid(err)
	}
	others(o)
	if *amount = o.Int("amount"); !gateway.ValidAmount(*amount) {
		o.Fail("amount", fmt.Sprintf("must be 0 to %d minor units", int64(events.MaxTotal)))
	}
	if *currency = o.String("currency"); !gateway.ValidCurrency(*currency) {
		o.Fail("currency", "must be a code of ISO 4217, such as EUR")
	}
	if err := o.Done(); err != nil {
		return rest.Invalid(err)
	}
	return nil
}

// key reads a field that has a key or an order id.
func key(o *strictjson.Object, name string) string {
	text := o.String(name)
	if !gateway.ValidKey(text) {
		o.Fail(name, keyRule)
	}
	return text
}

const keyRule = "must be 1 to 128 of A-Z, a-z, 0-9, '.', '_', ':' and '-'"

// keyOf returns the key in the path of a request.
func keyOf(r *http.Request) (string, error) {
	id := r.PathValue("key")
	if !gateway.ValidKey(id) {
		return "", rest.NewProblem(http.StatusBadRequest, "the key "+keyRule)
	}
	return id, nil
}
