package instance_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/functiontest"
	"example.com/orders/functions/internal/instance"
	"example.com/orders/functions/internal/mysqltest"
	"example.com/orders/functions/internal/outboxtest"
)

// group is the reaction to several events at once; it fails with broken.
func group(broken error) instance.GroupReaction[events.OrderCreated] {
	return func(_ context.Context, _ *sql.Tx, group []instance.Delivered[events.OrderCreated]) (emitted [][]event.Event, err error) {
		for _, g := range group {
			fact, err := events.New(reserved(g.Data), 1, time.Now(), events.CauseOf(g.Event))
			if err != nil {
				return nil, err
			}
			emitted = append(emitted, []event.Event{fact})
		}
		return emitted, broken
	}
}

func statuses(answers []error) (all []int) {
	for _, err := range answers {
		all = append(all, delivery.Status(err))
	}
	return all
}

func TestAGroupIsAnsweredOneByOne(t *testing.T) {
	i, j, pokes := started(t)
	old, a, b := functiontest.Event(t, created(t), 1), functiontest.Event(t, created(t), 1), functiontest.Event(t, created(t), 1)
	require.NoError(t, react(t.Context(), i, old, nil))
	j.take(t)
	es := []event.Event{old, a, functiontest.Broken(b), b, a}

	answers := instance.ReactGroup(t.Context(), i, es, group(nil))

	assert.Equal(t, []int{200, 200, 422, 200, 200}, statuses(answers))
	var outcomes []any
	for _, line := range j.take(t) {
		outcomes = append(outcomes, line["outcome"])
	}
	assert.ElementsMatch(t, []any{"duplicate", "inventory.reserved", nil, "inventory.reserved", "duplicate"}, outcomes)
	assert.Len(t, *pokes, 3)
	assert.Len(t, outboxtest.Drain(t, i.DB), 3)
}

func TestAGroupThatFailsSaysNothingAboutItsEvents(t *testing.T) {
	i, j, pokes := started(t)
	a, b := functiontest.Event(t, created(t), 1), functiontest.Event(t, created(t), 1)

	answers := instance.ReactGroup(t.Context(), i, []event.Event{a, functiontest.Broken(b), b}, group(errors.New("one of them does not go")))

	assert.ErrorIs(t, answers[0], delivery.ErrAlone)
	assert.Equal(t, 422, delivery.Status(answers[1]), "what cannot be read is answered")
	assert.ErrorIs(t, answers[2], delivery.ErrAlone)
	var lines []any
	for _, line := range j.take(t) {
		lines = append(lines, line["msg"])
	}
	assert.Equal(t, []any{"event is poison", "events not handled together, one by one now"}, lines)
	assert.Empty(t, *pokes)
	assert.Empty(t, outboxtest.Drain(t, i.DB))
	assert.Zero(t, mysqltest.Count(t, i.DB, "SELECT COUNT(*) FROM inbox"))
}

func TestAGroupBeforeStartIsDeliveredAgain(t *testing.T) {
	i := &instance.Instance{Name: "reserve-stock"}
	es := []event.Event{functiontest.Event(t, created(t), 1), functiontest.Event(t, created(t), 1)}
	assert.Equal(t, []int{503, 503}, statuses(instance.ReactGroup(t.Context(), i, es, group(nil))))
}
