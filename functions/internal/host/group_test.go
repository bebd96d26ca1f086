package host_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/functiontest"
	"example.com/orders/functions/internal/host"
)

// crowd is a function of groups made of what a test says.
type crowd struct {
	batch    func(ctx context.Context, es []event.Event) []error
	alone    func(ctx context.Context, e event.Event) error
	oneByOne bool
}

func (c *crowd) HandleBatch(ctx context.Context, es []event.Event) []error { return c.batch(ctx, es) }
func (c *crowd) Handle(ctx context.Context, e event.Event) error           { return c.alone(ctx, e) }
func (c *crowd) OneByOne() bool                                            { return c.oneByOne }

func TestAnEventThatItsGroupDidNotHandleIsHandledAlone(t *testing.T) {
	poison := delivery.Result(delivery.Poison(errors.New("never")))
	for name, batch := range map[string]func(context.Context, []event.Event) []error{
		"since the function left it": func(_ context.Context, es []event.Event) []error {
			answers := make([]error, len(es))
			for i := range answers {
				answers[i] = delivery.ErrAlone
			}
			return answers
		},
		"since the function panicked":    func(context.Context, []event.Event) []error { panic("broken") },
		"since there is no answer to it": func(context.Context, []event.Event) []error { return nil },
		"since there are too many":       func(_ context.Context, es []event.Event) []error { return make([]error, len(es)+1) },
	} {
		t.Run(name, func(t *testing.T) {
			var alone atomic.Int32
			deliver := host.DeliverGrouped(&crowd{batch: batch, alone: func(_ context.Context, e event.Event) error {
				alone.Add(1)
				if e.ID() == "ii" {
					return poison
				}
				return nil
			}}, time.Minute)
			answers := make([]error, 4)
			functiontest.Concurrently(len(answers), func(i int) { answers[i] = deliver(t.Context(), numbered("order.created", i+1)) })
			assert.Equal(t, []int{200, 422, 200, 200}, functiontest.Statuses(answers))
			assert.EqualValues(t, 4, alone.Load())
		})
	}
}

// Whoever is handled alone holds up nobody: neither those of the same group nor the next group.
func TestNobodyWaitsForAnEventThatIsHandledAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		deliver := host.DeliverGrouped(&crowd{
			batch: func(_ context.Context, es []event.Event) []error {
				answers := make([]error, len(es))
				for i, e := range es {
					if e.ID() == "i" {
						answers[i] = delivery.ErrAlone
					}
				}
				return answers
			},
			alone: func(context.Context, event.Event) error {
				<-stuck
				return nil
			},
		}, time.Minute)
		var all sync.WaitGroup
		all.Go(func() { assert.NoError(t, deliver(t.Context(), numbered("order.created", 1))) })
		synctest.Wait()
		for n := 2; n < 5; n++ {
			require.NoError(t, deliver(t.Context(), numbered("order.created", n)))
		}
		close(stuck)
		all.Wait()
	})
}

func TestADeliveryEndsWithItsTimeWhateverItsGroupDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		deliver := host.DeliverGrouped(&crowd{
			batch: func(ctx context.Context, es []event.Event) []error {
				<-ctx.Done()
				ended <- ctx.Err()
				return make([]error, len(es))
			},
			alone: func(context.Context, event.Event) error {
				assert.Fail(t, "its time is over")
				return nil
			},
		}, time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()

		err := deliver(ctx, numbered("order.created", 1))

		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, http.StatusInternalServerError, delivery.Status(err), "it is delivered again")
		assert.ErrorIs(t, <-ended, context.DeadlineExceeded, "a group has a time of its own")
	})
}

func TestAFunctionThatWantsItsEventsOneByOneIsNotGrouped(t *testing.T) {
	assert.Nil(t, host.DeliverGrouped(&crowd{oneByOne: true}, time.Second))
	assert.NotNil(t, host.DeliverGrouped(&crowd{}, time.Second))
}
