package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/settle"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/operations"
)

// Payments on a page of their list: all unknown ones, up to a bound, are on the first page, before the others.
const (
	maxUnknown  = 100
	maxPayments = 50
)

// paymentLine is a payment in a list.
type paymentLine struct {
	OrderID     string `json:"orderId"`
	State       string `json:"state"`
	Operation   string `json:"operation,omitempty"` // of an unknown outcome: authorize or refund
	Amount      int64  `json:"amount"`
	Currency    string `json:"currency"`
	Reference   string `json:"reference,omitempty"`
	Reason      string `json:"reason,omitempty"`
	RequestedAt string `json:"requestedAt"`
	UpdatedAt   string `json:"updatedAt"`
	Attempts    int    `json:"attempts"`
	NextAttempt string `json:"nextAttemptAt,omitempty"`
	LastError   string `json:"lastError,omitempty"`
}

func newPaymentLine(p settle.Payment) paymentLine {
	return paymentLine{
		p.OrderID, string(p.State), p.Operation, p.Amount, p.Currency, p.Reference, p.Reason,
		moment(p.RequestedAt), moment(p.UpdatedAt), p.Attempts, momentOf(p.NextAttempt), p.LastError,
	}
}

// paymentQuery is the part of the payments that a page shows, as the parameters of its address.
type paymentQuery struct {
	state settle.State  // empty for all, the unknown ones first
	after *settle.Place // where the page before has ended; nil for the first one
}

// parsePaymentQuery reads the parameters of an address.
func parsePaymentQuery(text string) (q paymentQuery, ok bool) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return q, false
	}
	for name, all := range values {
		value := all[0]
		switch {
		case len(all) != 1:
			return q, false
		case name == "state" && (value == "" || slices.Contains(settle.States, settle.State(value))):
			q.state = settle.State(value)
		case name == "after":
			at, orderID, _ := strings.Cut(value, ",")
			requested, err := time.Parse(momentLayout, at)
			if err != nil || !events.ValidOrderID(orderID) {
				return q, false
			}
			q.after = &settle.Place{RequestedAt: requested, OrderID: orderID}
		default:
			return q, false
		}
	}
	return q, true
}

// readPayments reads a page of payments, and the last actions of operators.
func (c *Console) readPayments(ctx context.Context, q paymentQuery) (any, error) {
	answer := struct {
		Payments []paymentLine `json:"payments"`
		// Next is where the next page goes on; empty if there is none.
		Next string `json:"next,omitempty"`
		// MoreUnknown is whether the page of all payments has only the oldest of the unknown ones.
		MoreUnknown bool     `json:"moreUnknown,omitempty"`
		Actions     []action `json:"actions"`
	}{Payments: []paymentLine{}, Actions: []action{}}
	add := func(found []settle.Payment, limit int) (more bool) {
		for _, p := range found[:min(limit, len(found))] {
			answer.Payments = append(answer.Payments, newPaymentLine(p))
		}
		return len(found) > limit
	}
	if q.state == settle.Unknown || q.state == "" && q.after == nil {
		limit, after := maxUnknown, settle.Begin
		if q.after != nil {
			after = *q.after
		}
		found, err := settle.ListUnknown(ctx, c.payments, after, limit+1)
		if err != nil {
			return nil, err
		}
		answer.MoreUnknown = add(found, limit)
	}
	more := answer.MoreUnknown
	if q.state != settle.Unknown {
		states, before := []settle.State{q.state}, settle.End
		if q.state == "" {
			states = slices.DeleteFunc(slices.Clone(settle.States), func(s settle.State) bool { return s == settle.Unknown })
		}
		if q.after != nil {
			before = *q.after
		}
		found, err := settle.ListNewest(ctx, c.payments, states, before, maxPayments+1)
		if err != nil {
			return nil, err
		}
		more = add(found, maxPayments)
	}
	if last := len(answer.Payments) - 1; more {
		answer.Next = answer.Payments[last].RequestedAt + "," + answer.Payments[last].OrderID
	}
	done, err := operations.New(c.operations).ListLastPaymentActions(ctx, maxActions)
	if err != nil {
		return nil, fmt.Errorf("list the actions on payments: %w", err)
	}
	for _, a := range done {
		answer.Actions = append(answer.Actions, newPaymentAction(a))
	}
	return answer, nil
}

func newPaymentAction(a operations.PaymentAction) action {
	what := "all payments"
	if a.OrderID != nil {
		what = *a.OrderID
	}
	result := settle.Outcome(a)
	if a.Answer != "" {
		result = a.Answer + ", " + result
	}
	return action{moment(a.At), a.Actor, string(a.Action), what, a.Detail, result}
}

// readPaymentCounts counts the payments of each state. It scans an index; the hub limits how often.
func (c *Console) readPaymentCounts(ctx context.Context) (any, error) {
	return settle.Tally(ctx, c.payments)
}

// orderPayment is the payment of an order on its page.
type orderPayment struct {
	paymentLine

	Held    int64          `json:"held"` // by the log, in minor units
	Log     []paymentEntry `json:"log"`
	Actions []action       `json:"actions"`

	updated time.Time
}

// paymentEntry is a change of the money that is held for an order.
type paymentEntry struct {
	ID        int64  `json:"id"`
	Entry     string `json:"entry"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
	Reference string `json:"reference,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Actor     string `json:"actor"`
	At        string `json:"at"`
}

// readPayment reads the payment of an order; nil without one.
func (c *Console) readPayment(ctx context.Context, id string) (*orderPayment, error) {
	if c.payments == nil {
		return nil, nil //nolint:nilnil // orders are not paid
	}
	full, err := settle.Show(ctx, c.payments, c.operations, id)
	if errors.Is(err, settle.ErrUnchanged) {
		return nil, nil //nolint:nilnil // authorize-payment has not handled the order yet
	}
	if err != nil {
		return nil, err
	}
	found := &orderPayment{paymentLine: newPaymentLine(full.Payment), Log: []paymentEntry{}, Actions: []action{}, updated: full.UpdatedAt}
	for _, e := range full.Log {
		entry := paymentEntry{ID: e.ID, Entry: string(e.Entry), Amount: e.Amount, Currency: e.Currency, Actor: e.Actor, At: moment(e.CreatedAt)}
		if e.Reference != nil {
			entry.Reference = *e.Reference
		}
		if e.Reason != nil {
			entry.Reason = *e.Reason
		}
		found.Log, found.Held = append(found.Log, entry), found.Held+e.Amount
	}
	for _, a := range full.Actions {
		found.Actions = append(found.Actions, newPaymentAction(a))
	}
	return found, nil
}

// paymentsRequest is an action on payments: settle one as Known, or retry some, or all with an unknown outcome.
type paymentsRequest struct {
	command

	Orders []string `json:"orders"`
	All    bool     `json:"all"`
	Known  struct {
		Status    gateway.Status `json:"status"`
		Reference string         `json:"reference"`
		Reason    string         `json:"reason"`
	} `json:"known"`
}

// changePayments answers POST /console/payments: it settles or retries payments, or says what would happen to them.
func (c *Console) changePayments(w http.ResponseWriter, r *http.Request) error {
	if c.payments == nil {
		return rest.NewProblem(http.StatusNotFound, "orders are not paid here: start the harness with --overlay payment")
	}
	var asked paymentsRequest
	if err := decode(w, r, &asked); err != nil {
		return err
	}
	things := len(asked.Orders)
	if asked.All {
		things = 1
	}
	if err := asked.check(things, "settle", "retry"); err != nil {
		return err
	}
	for _, id := range asked.Orders {
		if !events.ValidOrderID(id) {
			return rest.NewProblem(http.StatusBadRequest, "orders takes the ids of orders")
		}
	}
	known := settle.Known(asked.Known)
	if asked.Action == "settle" {
		if asked.All || things != 1 {
			return rest.NewProblem(http.StatusBadRequest, "settle one payment at a time")
		}
		if err := known.Check(); err != nil {
			return rest.NewProblem(http.StatusBadRequest, err.Error())
		}
	} else if asked.All == (len(asked.Orders) > 0) {
		return rest.NewProblem(http.StatusBadRequest, "retry either some orders or all")
	}
	results, err := c.change(r.Context(), asked, settle.Operator{DB: c.payments, Operations: c.operations, Actor: actor(r, asked.Actor)}, known)
	if err != nil {
		return err
	}
	for _, kind := range []string{"payments", "paymentcounts", "order"} {
		c.hub.refresh(kind)
	}
	return rest.JSON(w, http.StatusOK, results)
}

func (c *Console) change(ctx context.Context, asked paymentsRequest, operator settle.Operator, known settle.Known) (results []result, err error) {
	if asked.All {
		return c.retryAll(ctx, asked, operator)
	}
	for _, id := range asked.Orders {
		done := asked.done()
		switch {
		case asked.Action == "settle" && asked.DryRun:
			done, err = "would be "+known.Does(), operator.Plan(ctx, id, known)
		case asked.Action == "settle":
			done, err = known.Does(), operator.Settle(ctx, id, known, asked.Reason)
		case asked.DryRun:
			err = operator.PlanRetry(ctx, id)
		default:
			err = operator.Retry(ctx, id, asked.Reason)
		}
		switch {
		case err == nil:
			results = append(results, result{What: id, OK: true, Detail: done})
		case errors.Is(err, settle.ErrUnchanged):
			results = append(results, result{What: id, Detail: err.Error()})
		default:
			return nil, err
		}
	}
	return results, nil
}

func (c *Console) retryAll(ctx context.Context, asked paymentsRequest, operator settle.Operator) ([]result, error) {
	var n int64
	if asked.DryRun {
		waiting, err := settle.Count(ctx, c.payments, maxCounted)
		if err != nil {
			return nil, err
		}
		for _, w := range waiting {
			n += w.Requests
		}
	} else {
		var err error
		if n, err = operator.RetryAll(ctx, asked.Reason); err != nil {
			return nil, err
		}
	}
	return []result{{What: fmt.Sprintf("%d payments", n), OK: true, Detail: asked.done()}}, nil
}
