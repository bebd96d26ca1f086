package main

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/operate/settle"
)

// paymentView is a payment in JSON. Amounts are in minor units.
type paymentView struct {
	OrderID     string     `json:"orderId"`
	State       string     `json:"state"`
	Operation   string     `json:"operation,omitempty"`
	Amount      int64      `json:"amount"`
	Currency    string     `json:"currency,omitempty"`
	Reference   string     `json:"reference,omitempty"`
	Reason      string     `json:"reason,omitempty"`
	RequestedAt time.Time  `json:"requestedAt"`
	AgeSeconds  int64      `json:"ageSeconds"`
	Attempts    int        `json:"attempts"`
	NextAttempt *time.Time `json:"nextAttemptAt,omitempty"`
	LastError   string     `json:"lastError,omitempty"`
}

func newPaymentView(p settle.Payment, now time.Time) paymentView {
	return paymentView{
		p.OrderID, string(p.State), p.Operation, p.Amount, p.Currency, p.Reference, p.Reason,
		p.RequestedAt, max(0, int64(now.Sub(p.RequestedAt).Seconds())), p.Attempts, p.NextAttempt, p.LastError,
	}
}

// writePayments writes payments for people.
func writePayments(out io.Writer, found []paymentView) error {
	row, flush := table(out, "ORDER", "STATE", "MINOR UNITS", "SINCE", "ATTEMPTS", "NEXT ATTEMPT", "REFERENCE", "REASON", "LAST ERROR")
	for _, p := range found {
		next := "-"
		if p.NextAttempt != nil {
			next = p.NextAttempt.Format(time.RFC3339)
		}
		row(p.OrderID, p.state(), p.amount(), ago(time.Duration(p.AgeSeconds)*time.Second), p.Attempts, next, cmp.Or(p.Reference, "-"), cmp.Or(p.Reason, "-"), oneline.Of(p.LastError, 100))
	}
	if err := flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, counted(len(found), "payment", "payments"))
	return nil
}

// state names the operation of an unknown outcome too.
func (p paymentView) state() string {
	if p.Operation == "" {
		return p.State
	}
	return p.State + " (" + p.Operation + ")"
}

func (p paymentView) amount() string { return fmt.Sprintf("%d %s", p.Amount, p.Currency) }

// fullPaymentView is a payment with its log and its history in JSON.
type fullPaymentView struct {
	paymentView

	Held    int64               `json:"held"` // minor units: the sum of the log
	Log     []paymentEntryView  `json:"log"`
	Actions []paymentActionView `json:"actions"`
}

type paymentEntryView struct {
	Entry     string    `json:"entry"`
	Amount    int64     `json:"amount"`
	Currency  string    `json:"currency"`
	Reference string    `json:"reference,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Actor     string    `json:"actor"`
	At        time.Time `json:"at"`
}

type paymentActionView struct {
	Action  string    `json:"action"`
	Answer  string    `json:"answer,omitempty"`
	Actor   string    `json:"actor"`
	At      time.Time `json:"at"`
	Detail  string    `json:"detail"`
	Outcome string    `json:"outcome"`
}

func newFullPaymentView(f settle.Full, now time.Time) fullPaymentView {
	v := fullPaymentView{paymentView: newPaymentView(f.Payment, now), Log: []paymentEntryView{}, Actions: []paymentActionView{}}
	for _, e := range f.Log {
		entry := paymentEntryView{Entry: string(e.Entry), Amount: e.Amount, Currency: e.Currency, Actor: e.Actor, At: e.CreatedAt}
		if e.Reference != nil {
			entry.Reference = *e.Reference
		}
		if e.Reason != nil {
			entry.Reason = *e.Reason
		}
		v.Log, v.Held = append(v.Log, entry), v.Held+e.Amount
	}
	for _, a := range f.Actions {
		v.Actions = append(v.Actions, paymentActionView{string(a.Action), a.Answer, a.Actor, a.At, a.Detail, settle.Outcome(a)})
	}
	return v
}

// write writes the payment for people.
func (v fullPaymentView) write(out io.Writer) {
	line := func(name string, value any) { fmt.Fprintf(out, "%-10s %v\n", name, value) }
	line("order", v.OrderID)
	line("state", v.state())
	line("amount", v.amount()+" (minor units)")
	line("held", fmt.Sprintf("%d %s", v.Held, v.Currency))
	if v.Reference != "" {
		line("reference", v.Reference)
	}
	if v.Reason != "" {
		line("reason", v.Reason)
	}
	line("requested", v.RequestedAt.UTC().Format(time.RFC3339Nano))
	line("attempts", v.Attempts)
	if v.LastError != "" {
		line("error", oneline.Of(v.LastError, 1000))
	}
	if v.NextAttempt != nil {
		line("next", v.NextAttempt.UTC().Format(time.RFC3339Nano))
	}
	for _, e := range v.Log {
		line("log", fmt.Sprintf("%s %s %+d %s by %s %s %s", e.At.Format(time.RFC3339), e.Entry, e.Amount, e.Currency, plainText(e.Actor), e.Reference, e.Reason))
	}
	for _, a := range v.Actions {
		line("action", fmt.Sprintf("%s %s %s by %s: %s, %s", a.At.Format(time.RFC3339), a.Action, a.Answer, plainText(a.Actor), a.Outcome, oneline.Of(a.Detail, 500)))
	}
}
