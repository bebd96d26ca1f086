package base_test

import (
	"context"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// calling returns a started function that calls then after the commit of each fact.
func calling(t *testing.T, then func(ctx context.Context, db *base.Base, order events.OrderCreated) string) (*base.Base, *journal) {
	t.Helper()
	j := &journal{}
	b := &base.Base{Name: "reserve-stock", Schema: schema.Inventory, DB: mysqltest.Open(t, schema.Inventory), Log: j.logger()}
	base.ReactThen(b, func(_ context.Context, _ *transaction.Tx, facts []base.Fact[events.OrderCreated]) ([]base.Effect, error) {
		effects := make([]base.Effect, len(facts))
		for n, f := range facts {
			effects[n].Then = func(ctx context.Context) string { return then(ctx, b, f.Data) }
		}
		return effects, nil
	})
	require.NoError(t, b.Start(t.Context(), nil))
	t.Cleanup(func() { assert.NoError(t, b.Stop(context.Background())) })
	return b, j
}

func TestThenRunsAfterTheCommitAndBeforeTheAnswer(t *testing.T) {
	ran := 0
	b, j := calling(t, func(_ context.Context, b *base.Base, _ events.OrderCreated) string {
		ran++
		assert.Equal(t, 1, mysqltest.Count(t, b.DB, "SELECT COUNT(*) FROM inbox"), "it sees what the transaction has stored")
		return "called"
	})
	e := functiontest.Event(t, created(t), 1)
	require.NoError(t, b.Handle(t.Context(), e))
	assert.Equal(t, 1, ran)
	lines := j.take(t)
	require.Len(t, lines, 1)
	assert.Equal(t, "called", lines[0]["outcome"])

	require.NoError(t, b.Handle(t.Context(), e))
	assert.Equal(t, 1, ran, "not for a duplicate")
	lines = j.take(t)
	assert.Equal(t, "duplicate", lines[len(lines)-1]["outcome"])
}

// All facts of a batch wait for one another in Then, and the caller that gives up does not end it.
func TestThenRunsForManyFactsAtOnce(t *testing.T) {
	const count = 40
	arrived, all := make(chan bool, count), make(chan struct{})
	b, _ := calling(t, func(ctx context.Context, _ *base.Base, _ events.OrderCreated) string {
		arrived <- true
		<-all
		assert.NoError(t, ctx.Err())
		return "called"
	})
	es := make([]event.Event, count)
	for n := range es {
		es[n] = functiontest.Event(t, created(t), 1)
	}
	calls, giveUp := context.WithCancel(t.Context())
	done := make(chan error, count)
	b.Submit(calls, func(_ int, err error) { done <- err }, es...)
	for range count {
		<-arrived
	}
	giveUp()
	close(all)
	for range count {
		assert.NoError(t, <-done)
	}
}

func TestAPanicInThenLeavesTheEventHandled(t *testing.T) {
	b, j := calling(t, func(context.Context, *base.Base, events.OrderCreated) string { panic("no gateway") })
	require.NoError(t, b.Handle(t.Context(), functiontest.Event(t, created(t), 1)))
	lines := j.take(t)
	require.Len(t, lines, 2)
	assert.Equal(t, "no gateway", lines[0]["panic"])
	assert.Contains(t, lines[0]["stack"], "then_test.go")
	assert.Equal(t, "panic after the commit: no gateway", lines[1]["outcome"])
}
