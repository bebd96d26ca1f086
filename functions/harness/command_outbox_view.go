package main

import (
	"fmt"
	"io"
	"time"

	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/operate/backlog"
)

// rowView is a row of an outbox in JSON.
type rowView struct {
	Schema      string     `json:"schema"`
	ID          int64      `json:"id"`
	State       string     `json:"state"`
	AggregateID string     `json:"aggregateId"`
	Type        string     `json:"type"`
	CreatedAt   time.Time  `json:"createdAt"`
	AgeSeconds  int64      `json:"ageSeconds"`
	SentAt      *time.Time `json:"sentAt,omitempty"`
	Attempts    int        `json:"attempts"`
	NextAttempt *time.Time `json:"nextAttemptAt,omitempty"`
	LastError   string     `json:"lastError,omitempty"`
}

func newRowView(schema string, r backlog.Row) rowView {
	return rowView{
		schema, r.ID, string(r.State), r.AggregateID, r.Type, r.CreatedAt, int64(r.Age.Seconds()),
		r.SentAt, r.Attempts, r.NextAttempt, r.LastError,
	}
}

// writeRows writes rows for people.
func writeRows(out io.Writer, found []rowView) error {
	row, flush := table(out, "SCHEMA", "ID", "STATE", "TYPE", "AGGREGATE", "AGE", "ATTEMPTS", "NEXT ATTEMPT", "LAST ERROR")
	for _, r := range found {
		next := "-"
		if r.NextAttempt != nil {
			next = r.NextAttempt.Format(time.RFC3339)
		}
		row(r.Schema, r.ID, r.State, r.Type, r.AggregateID, ago(time.Duration(r.AgeSeconds)*time.Second), r.Attempts, next, oneline.Of(r.LastError, 100))
	}
	if err := flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, counted(len(found), "row", "rows"))
	return nil
}

// fullRowView is a row with its event and its history in JSON.
type fullRowView struct {
	rowView

	Headers string          `json:"headers"`
	Payload string          `json:"payload"`
	Actions []rowActionView `json:"actions"`
}

type rowActionView struct {
	Action  string    `json:"action"`
	Actor   string    `json:"actor"`
	At      time.Time `json:"at"`
	Detail  string    `json:"detail"`
	Outcome string    `json:"outcome"`
}

func newFullRowView(schema string, r backlog.Full) fullRowView {
	v := fullRowView{rowView: newRowView(schema, r.Row), Headers: r.Headers, Payload: r.Payload, Actions: make([]rowActionView, len(r.Actions))}
	for i, a := range r.Actions {
		v.Actions[i] = rowActionView{string(a.Action), a.Actor, a.At, a.Detail, backlog.Outcome(a)}
	}
	return v
}

// write writes the row for people.
func (v fullRowView) write(out io.Writer) {
	line := func(name string, value any) { fmt.Fprintf(out, "%-10s %v\n", name, value) }
	line("row", fmt.Sprintf("%s %d", v.Schema, v.ID))
	line("state", v.State)
	line("aggregate", v.AggregateID)
	line("stored", v.CreatedAt.UTC().Format(time.RFC3339Nano))
	if v.SentAt != nil {
		line("sent", v.SentAt.UTC().Format(time.RFC3339Nano))
	}
	if v.Attempts > 0 {
		line("refused", fmt.Sprintf("%d attempts, the last error was: %s", v.Attempts, oneline.Of(v.LastError, 1000)))
	}
	if v.NextAttempt != nil {
		line("next", v.NextAttempt.UTC().Format(time.RFC3339Nano))
	}
	line("event", v.Type)
	line("attributes", oneline.Of(v.Headers, 1<<20))
	line("value", oneline.Of(v.Payload, 1<<20))
	for _, a := range v.Actions {
		line("action", fmt.Sprintf("%s %s by %s: %s, %s", a.At.Format(time.RFC3339), a.Action, plainText(a.Actor), a.Outcome, oneline.Of(a.Detail, 500)))
	}
}
