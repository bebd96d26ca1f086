package host_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/functiontest"
	"example.com/orders/functions/internal/host"
)

// crowd is a function of groups made of what a test says.
type crowd struct {
	reacting
	batch    func(es []event.Event) []error
	oneByOne bool
}

func (c *crowd) HandleBatch(_ context.Context, es []event.Event) []error { return c.batch(es) }
func (c *crowd) OneByOne() bool                                          { return c.oneByOne }

func TestACallIsAboutOneTypeAndAnswersEachEvent(t *testing.T) {
	var calls [][]string
	deliver := host.DeliverAll(&crowd{batch: func(es []event.Event) []error {
		answers := make([]error, len(es))
		var call []string
		for i, e := range es {
			assert.Equal(t, es[0].Type(), e.Type())
			if call = append(call, e.ID()); e.ID() == "iii" {
				answers[i] = delivery.Result(errors.New("the third fails"))
			}
		}
		calls = append(calls, call)
		return answers
	}})
	require.NotNil(t, deliver)
	var es []event.Event
	for n, eventType := range []string{"order.created", "order.failed", "order.created", "order.failed"} {
		es = append(es, numbered(eventType, n+1))
	}

	answers := deliver(t.Context(), es)

	assert.Equal(t, []int{200, 200, 503, 200}, functiontest.Statuses(answers))
	assert.Equal(t, [][]string{{"i", "iii"}, {"ii", "iiii"}}, calls)
}

func TestEventsWithoutAnAnswerOfTheirOwnAreToBeHandledAlone(t *testing.T) {
	for _, more := range []int{-1, 1} {
		deliver := host.DeliverAll(&crowd{batch: func(es []event.Event) []error { return make([]error, len(es)+more) }})
		for _, err := range deliver(t.Context(), []event.Event{numbered("order.created", 1), numbered("order.created", 2)}) {
			assert.ErrorIs(t, err, delivery.ErrAlone)
		}
	}
}

func TestAFunctionOfSingleEventsIsNotGrouped(t *testing.T) {
	assert.Nil(t, host.DeliverAll(&reacting{}))
	assert.Nil(t, host.DeliverAll(&crowd{oneByOne: true}))
	assert.NotNil(t, host.DeliverAll(&crowd{}))
}
