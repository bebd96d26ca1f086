package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/operate/backlog"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/operations"
)

// Bounds of what operators see and change at once.
const (
	maxRows    = 100
	maxActions = 20
)

// outboxRow is a row of an outbox.
type outboxRow struct {
	Schema      string `json:"schema"`
	ID          int64  `json:"id"`
	State       string `json:"state"`
	AggregateID string `json:"aggregateId"`
	Type        string `json:"type"`
	CreatedAt   string `json:"createdAt"`
	SentAt      string `json:"sentAt,omitempty"`
	Attempts    int    `json:"attempts"`
	NextAttempt string `json:"nextAttemptAt,omitempty"`
	LastError   string `json:"lastError,omitempty"`
}

// action is an action of an operator.
type action struct {
	At     string `json:"at"`
	Actor  string `json:"actor"`
	Action string `json:"action"`
	What   string `json:"what"`
	Detail string `json:"detail,omitempty"`
	Result string `json:"result,omitempty"`
}

func newOutboxRow(name string, r backlog.Row) outboxRow {
	return outboxRow{
		Schema: name, ID: r.ID, State: string(r.State), AggregateID: r.AggregateID, Type: r.Type, CreatedAt: moment(r.CreatedAt),
		SentAt: momentOf(r.SentAt), Attempts: r.Attempts, NextAttempt: momentOf(r.NextAttempt), LastError: r.LastError,
	}
}

func (c *Console) operator(name, actor string) backlog.Operator {
	return backlog.Operator{Schema: name, DB: c.outboxPools[name], Operations: c.operations, Actor: actor}
}

// readOutbox reads the oldest rows of a state in all outboxes, the counts of unsent rows, and the last actions.
func (c *Console) readOutbox(ctx context.Context, state backlog.State) (any, error) {
	answer := struct {
		Rows     []outboxRow        `json:"rows"`
		More     bool               `json:"more"`
		Outboxes map[string]waiting `json:"outboxes"`
		Actions  []action           `json:"actions"`
	}{Rows: []outboxRow{}, Actions: []action{}}
	for _, name := range c.o.Wiring.Outboxes() {
		rows, err := c.operator(name, "").List(ctx, state, 0, maxRows)
		if err != nil {
			return nil, err
		}
		answer.More = answer.More || len(rows) == maxRows
		for _, row := range rows {
			answer.Rows = append(answer.Rows, newOutboxRow(name, row))
		}
	}
	var err error
	if answer.Outboxes, err = c.outboxes(ctx); err != nil {
		return nil, err
	}
	done, err := operations.New(c.operations).ListLastOutboxActions(ctx, maxActions)
	if err != nil {
		return nil, fmt.Errorf("list the actions on outbox rows: %w", err)
	}
	for _, a := range done {
		what := a.SchemaName
		if a.RowID != nil {
			what += " " + strconv.FormatInt(*a.RowID, 10)
		}
		answer.Actions = append(answer.Actions, action{moment(a.At), a.Actor, string(a.Action), what, a.Detail, backlog.Outcome(a)})
	}
	return answer, nil
}

// serveRow answers GET /console/outbox/{schema}/{id} with a row and its event, or its text if it cannot be decoded.
func (c *Console) serveRow(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("schema")
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || c.outboxPools[name] == nil {
		return rest.NotFound(w, r)
	}
	full, err := c.operator(name, "").Show(r.Context(), id)
	if errors.Is(err, backlog.ErrUnchanged) {
		return rest.NewProblem(http.StatusNotFound, err.Error())
	}
	if err != nil {
		return err
	}
	answer := struct {
		outboxRow
		Event   *event.Event `json:"event,omitempty"`
		Headers string       `json:"headers,omitempty"`
		Payload string       `json:"payload,omitempty"`
	}{outboxRow: newOutboxRow(name, full.Row)}
	if e, err := outbox.Decode(full.Type, full.Payload, full.Headers); err == nil {
		answer.Event = &e
	} else {
		answer.Headers, answer.Payload = full.Headers, full.Payload
	}
	return rest.JSON(w, http.StatusOK, answer)
}

// rowsRequest is an action on rows.
type rowsRequest struct {
	command
	Rows []struct {
		Schema string `json:"schema"`
		ID     int64  `json:"id"`
	} `json:"rows"`
}

// changeRows answers POST /console/outbox: it requeues or discards rows, or says what would happen to them.
func (c *Console) changeRows(w http.ResponseWriter, r *http.Request) error {
	var asked rowsRequest
	if err := decode(w, r, &asked); err != nil {
		return err
	}
	if err := asked.check(len(asked.Rows), "requeue", "discard"); err != nil {
		return err
	}
	allowed := map[string][]backlog.State{"requeue": {backlog.Parked, backlog.Discarded}, "discard": {backlog.Parked}}[asked.Action]
	results := []result{}
	for _, row := range asked.Rows {
		if c.outboxPools[row.Schema] == nil {
			return rest.NewProblem(http.StatusBadRequest, "the outboxes are "+strings.Join(c.o.Wiring.Outboxes(), ", "))
		}
		operator := c.operator(row.Schema, actor(r, asked.Actor))
		what := row.Schema + " " + strconv.FormatInt(row.ID, 10)
		var err error
		switch {
		case asked.DryRun:
			err = wouldChange(r.Context(), operator, row.ID, allowed)
		case asked.Action == "requeue":
			err = operator.Requeue(r.Context(), row.ID, asked.Reason)
		default:
			err = operator.Discard(r.Context(), row.ID, asked.Reason)
		}
		switch {
		case err == nil:
			results = append(results, result{What: what, OK: true, Detail: asked.done()})
		case errors.Is(err, backlog.ErrUnchanged):
			results = append(results, result{What: what, Detail: err.Error()})
		default:
			return err
		}
	}
	c.hub.refresh("outbox")
	return rest.JSON(w, http.StatusOK, results)
}

// wouldChange returns nil if a row is in one of the states.
func wouldChange(ctx context.Context, operator backlog.Operator, id int64, allowed []backlog.State) error {
	row, err := operator.Get(ctx, id)
	if err != nil {
		return err
	}
	for _, state := range allowed {
		if row.State == state {
			return nil
		}
	}
	return fmt.Errorf("%w: row %d of %s is %s", backlog.ErrUnchanged, id, operator.Schema, row.State)
}
