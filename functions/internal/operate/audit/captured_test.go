package audit_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/capture"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/sql/schema"
)

// unmark makes rows as they are after a connector has published their events, and before a follower has seen the records.
func (s *system) unmark(order, eventType string) {
	s.Helper()
	s.exec(schema.Orders, "UPDATE outbox SET status = 'NEW', sent_at = NULL, kafka_partition = NULL, kafka_offset = NULL WHERE aggregate_id = ? AND type = ?", order, eventType)
}

// follower follows the outbox of the orders, and leaves rows to a relay that are older than its patience.
func (s *system) follower(patience time.Duration) *capture.Follower {
	s.Helper()
	f := &capture.Follower{DB: s.db[schema.Orders], Brokers: s.options.Brokers, TopicPrefix: s.options.TopicPrefix, Patience: patience, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	s.Cleanup(func() { require.NoError(s, f.Close()) })
	return f
}

// Whether a connector has published the event of a new row, only the topic says: the audit tells the rows that have a record from
// those that have none, takes neither for a breach while they may be on their way, and an order that stays behind for one.
func TestRowsThatAConnectorHasPublishedAreToldFromThoseWithoutARecord(t *testing.T) {
	t.Parallel()
	s := startOverlay(t, newTopicsOf(t, "cdc"), "cdc")
	published := s.order(2)
	s.settle()
	s.unmark(published, events.OrderCreatedType)
	lost := s.order(2)

	r := s.audit()

	assertClean(t, r)
	facts := find(t, r, audit.Facts).Numbers
	assert.Equal(t, 1, facts["rows to be marked as sent"])
	assert.Equal(t, 1, facts["rows to be sent"])
	missing, stored, err := s.follower(time.Hour).Missing(t.Context(), time.Now().Add(-time.Hour), 0)
	require.NoError(t, err)
	assert.Equal(t, 3, stored)
	require.Len(t, missing, 1)
	assert.Equal(t, []string{lost, events.OrderCreatedType}, []string{missing[0].AggregateID, missing[0].Type})

	passed, err := s.follower(time.Hour).Pass(t.Context())
	require.NoError(t, err)
	assert.Equal(t, capture.Passed{Sent: 1}, passed)
	r = s.audit()
	assertClean(t, r)
	assert.NotContains(t, find(t, r, audit.Facts).Numbers, "rows to be marked as sent")
	assert.Equal(t, 1, find(t, r, audit.Facts).Numbers["rows to be sent"])
	assert.Equal(t, 3, find(t, r, audit.Sent).Numbers["sent"], "where the follower has found its record")

	late := s.options
	late.Now = func() time.Time { return time.Now().Add(late.SagaTimeout + time.Minute) }
	r, err = audit.Run(t.Context(), late)
	require.NoError(t, err)
	assert.Equal(t, 1, r.Breaches())
	require.Len(t, find(t, r, audit.Ends).Breaches, 1)
	assert.Contains(t, find(t, r, audit.Ends).Breaches[0], "order "+lost+" is PENDING since ")

	passed, err = s.follower(0).Pass(t.Context())
	require.NoError(t, err)
	assert.Equal(t, capture.Passed{LeftOut: 1}, passed)
	s.settle()
	r = s.audit()
	assertClean(t, r)
	assert.NotContains(t, find(t, r, audit.Facts).Numbers, "rows to be sent")
	assert.Equal(t, map[string]int{"ended": 2}, find(t, r, audit.Ends).Numbers)
}

// A record that is there and not marked may still be handled, so what it causes may be missing.
func TestAnOrderWhoseLastRecordIsNotMarkedIsInFlight(t *testing.T) {
	t.Parallel()
	s := startOverlay(t, newTopicsOf(t, "cdc"), "cdc")
	id := s.order(2)
	s.settle()
	s.takeBack(id)
	s.relay()
	s.commit()
	s.unmark(id, events.OrderCanceledType)

	r := s.audit()

	assertClean(t, r)
	assert.Equal(t, 1, find(t, r, audit.Holdings).Numbers["in flight"])

	_, err := s.follower(time.Hour).Pass(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, find(t, s.audit(), audit.Holdings).Breached, "its consumers have passed it, and the units of two SKUs are still held")
}
