package outbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/schema"
)

// slow is a broker that takes its first batch only when the test lets it.
type slow struct {
	outboxtest.Publisher
	begun, proceed chan struct{}
}

func (s *slow) Publish(ctx context.Context, batch []event.Event) []outbox.Outcome {
	if len(s.Events()) == 0 {
		close(s.begun)
		<-s.proceed
	}
	return s.Publisher.Publish(ctx, batch)
}

// A relay that finds its shard claimed gives up: the owner of the claim sends the new rows.
func TestRowsStoredDuringAClaimAreSentByItsRelay(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	store(t, db, fact("order-1", 1))
	broker := &slow{begun: make(chan struct{}), proceed: make(chan struct{})}
	first := make(chan int, 1)
	go func() {
		sent, err := outbox.Relay{DB: db, Publisher: broker, Now: time.Now}.Sweep(t.Context(), outbox.Shard("order-1"))
		assert.NoError(t, err)
		first <- sent
	}()
	<-broker.begun
	store(t, db, fact("order-1", 2))

	sent, err := outbox.Relay{DB: db, Publisher: &broker.Publisher, Now: time.Now}.Sweep(t.Context(), outbox.Shard("order-1"))
	require.NoError(t, err)
	assert.Zero(t, sent)
	close(broker.proceed)

	assert.Equal(t, 2, <-first)
	assert.Zero(t, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status <> 'SENT'"))
}
