package host_test

import (
	"context"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/host"
)

// counting is a function that handles several events at once, and counts how it is called.
type counting struct{ alone, together int }

func (f *counting) Handle(context.Context, event.Event) error {
	f.alone++
	return nil
}

func (f *counting) HandleBatch(_ context.Context, es []event.Event) []error {
	f.together += len(es)
	return make([]error, len(es))
}

func TestAnEventThatHasFailedIsHandledAlone(t *testing.T) {
	f := &counting{}
	deliver := host.DeliverGrouped(f, time.Minute)
	for attempt := range 4 {
		require.NoError(t, deliver(delivery.WithAttempt(t.Context(), attempt), event.New()))
	}
	assert.Equal(t, counting{alone: 2, together: 2}, *f)
}
