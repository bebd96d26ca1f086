package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/knative"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/schema"
)

// ended starts a system with one confirmed, one failed and one canceled order, and nothing in flight.
func ended(s *system) (confirmed, failed, canceled string) {
	s.Helper()
	confirmed, failed, canceled = s.order(3), s.order(30), s.order(2)
	s.settle()
	s.takeBack(canceled)
	s.settle()
	return confirmed, failed, canceled
}

// find returns an invariant of a report.
func find(t *testing.T, r *audit.Report, name string) *audit.Invariant {
	t.Helper()
	for _, i := range r.Invariants {
		if i.Name == name {
			return i
		}
	}
	require.Fail(t, "there is no invariant "+name)
	return nil
}

// assertOnly asserts that one invariant has one breach with a text, and all others have none.
func assertOnly(t *testing.T, r *audit.Report, name, says string) {
	t.Helper()
	for _, i := range r.Invariants {
		if i.Name != name {
			assert.Empty(t, i.Breaches, i.Name)
			continue
		}
		if assert.Len(t, i.Breaches, 1, i.Name) {
			assert.Contains(t, i.Breaches[0], says)
		}
	}
	assert.Equal(t, 1, r.Breaches())
}

func assertClean(t *testing.T, r *audit.Report) {
	t.Helper()
	var text bytes.Buffer
	r.Write(&text)
	assert.Zero(t, r.Breaches(), text.String())
}

func TestAuditOfAGoodFlowIsClean(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	assertClean(t, s.audit())
	ended(s)

	r := s.audit()

	assertClean(t, r)
	assert.Empty(t, r.Exceptions)
	assert.Equal(t, map[string]int{"SKUs": 2, "log rows": 2}, find(t, r, audit.Stock).Numbers)
	assert.Equal(t, map[string]int{"SKUs": 2, "log rows": 8}, find(t, r, audit.Reserved).Numbers)
	assert.Equal(t, map[string]int{"CONFIRMED": 1, "FAILED": 1, "CANCELED": 1}, find(t, r, audit.Holdings).Numbers)
	assert.Equal(t, map[string]int{"orders": 3}, find(t, r, audit.Totals).Numbers)
	assert.Equal(t, map[string]int{"orders": 3, "rows": 11}, find(t, r, audit.Facts).Numbers)
	assert.Equal(t, map[string]int{"ended": 3}, find(t, r, audit.Ends).Numbers)
	assert.Equal(t, map[string]int{"sent": 11}, find(t, r, audit.Sent).Numbers)
	assert.Equal(t, map[string]int{"records": 11, "foreign records": 0, "replayed dead letters": 0, "reservations": 4, "releases": 2, "notifications": 4}, find(t, r, audit.Once).Numbers)
	assert.Positive(t, r.Took)
}

// inventoryLog is a handwritten row of reservation_log.
const inventoryLog = "INSERT INTO reservation_log (source, event_id, sku, order_id, delta_reserved, status, created_at) VALUES ('/hand', ?, ?, ?, ?, ?, NOW(6))"

func TestAuditSeesEachBreach(t *testing.T) {
	t.Parallel()
	c := newTopics(t)
	tests := map[string]struct {
		breaks    func(s *system, confirmed, failed, canceled string)
		invariant string
		says      string
	}{
		"units from nowhere": {func(s *system, _, _, _ string) {
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty + 1 WHERE sku = 'SKU-1'")
		}, audit.Stock, "SKU-1 has 8 available and 3 reserved, and stock_log has 10"},
		"a line of stock_log is lost": {func(s *system, _, _, _ string) {
			s.exec(schema.Inventory, "DELETE FROM stock_log WHERE sku = 'SKU-2'")
		}, audit.Stock, "stock_log has 0"},
		"a level is lost": {func(s *system, _, _, _ string) {
			s.exec(schema.Inventory, "INSERT INTO stock_log (sku, delta, reason, available_after, reserved_after, version_after, created, correlation_id, created_at) VALUES ('SKU-3', 0, 'set', 0, 0, 1, TRUE, '', NOW(6))")
		}, audit.Stock, "SKU-3 is in stock_log with 0 units and has no level"},
		"below zero": {func(s *system, _, _, _ string) {
			s.exec(schema.Inventory, "ALTER TABLE inventory DROP CONSTRAINT inventory_available")
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = -1 WHERE sku = 'SKU-1'")
			s.exec(schema.Inventory, "UPDATE stock_log SET delta = 2 WHERE sku = 'SKU-1'")
		}, audit.Stock, "SKU-1 has -1 available and 3 reserved: below zero"},
		"reserved without the log": {func(s *system, _, _, _ string) {
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty - 1, reserved_qty = reserved_qty + 1 WHERE sku = 'SKU-1'")
		}, audit.Reserved, "SKU-1 has 4 reserved, and reservation_log has 3"},
		"a confirmed order holds less": {func(s *system, confirmed, _, _ string) {
			s.exec(schema.Inventory, "UPDATE reservation_log SET delta_reserved = 2 WHERE order_id = ? AND sku = 'SKU-1' AND status = 'RESERVED'", confirmed)
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty + 1, reserved_qty = reserved_qty - 1 WHERE sku = 'SKU-1'")
		}, audit.Holdings, "is CONFIRMED, wants 3 of SKU-1 and holds 2"},
		"units of a SKU without a level": {func(s *system, confirmed, _, _ string) {
			s.exec(schema.Orders, "UPDATE order_items SET sku = 'SKU-9', unit_price = 7 WHERE order_id = ? AND sku = 'SKU-2'", confirmed)
			s.exec(schema.Inventory, "UPDATE reservation_log SET sku = 'SKU-9' WHERE order_id = ? AND sku = 'SKU-2'", confirmed)
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = 10, reserved_qty = 0 WHERE sku = 'SKU-2'")
		}, audit.Reserved, "SKU-9 is in reservation_log with 1 units and has no level"},
		"a failed order holds": {func(s *system, confirmed, _, _ string) {
			s.exec(schema.Orders, "DELETE FROM order_items WHERE order_id = ? AND sku = 'SKU-2'", confirmed)
			s.exec(schema.Orders, "UPDATE orders SET status = 'FAILED', total_amount = 290 WHERE id = ?", confirmed)
			s.exec(schema.Inventory, "UPDATE reservation_log SET delta_reserved = 0 WHERE order_id = ? AND sku = 'SKU-2'", confirmed)
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = 10, reserved_qty = 0 WHERE sku = 'SKU-2'")
		}, audit.Holdings, "is FAILED and holds 3 of SKU-1"},
		"a canceled order holds": {func(s *system, _, _, canceled string) {
			s.exec(schema.Inventory, "UPDATE reservation_log SET delta_reserved = -1 WHERE order_id = ? AND sku = 'SKU-1' AND status = 'RELEASED'", canceled)
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty - 1, reserved_qty = reserved_qty + 1 WHERE sku = 'SKU-1'")
		}, audit.Holdings, "is CANCELED and holds 1 of SKU-1"},
		"a pending order holds a part": {func(s *system, confirmed, _, _ string) {
			s.exec(schema.Orders, "UPDATE orders SET status = 'PENDING' WHERE id = ?", confirmed)
			s.exec(schema.Inventory, "UPDATE reservation_log SET delta_reserved = 2 WHERE order_id = ? AND sku = 'SKU-1'", confirmed)
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty + 1, reserved_qty = reserved_qty - 1 WHERE sku = 'SKU-1'")
		}, audit.Holdings, "is PENDING, wants 3 of SKU-1 and holds 2"},
		"an order that was never accepted holds": {func(s *system, _, _, _ string) {
			s.exec(schema.Inventory, inventoryLog, "x", "SKU-1", unknownOrder, 1, "RESERVED")
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty - 1, reserved_qty = reserved_qty + 1 WHERE sku = 'SKU-1'")
		}, audit.Holdings, "was never accepted and holds 1 of SKU-1"},
		"another total": {func(s *system, confirmed, _, _ string) {
			s.exec(schema.Orders, "UPDATE orders SET total_amount = total_amount + 1 WHERE id = ?", confirmed)
		}, audit.Totals, "its total is 298 and its 3 lines are 297"},
		"a line of another price": {func(s *system, _, failed, _ string) {
			s.exec(schema.Orders, "UPDATE order_items SET unit_price = 8 WHERE order_id = ? AND sku = 'SKU-2'", failed)
		}, audit.Totals, "its total is 2997 and its 3 lines are 2998"},
		"an order whose order.created is lost": {func(s *system, _, _, _ string) {
			id := s.order(2)
			s.exec(schema.Orders, "DELETE FROM outbox WHERE aggregate_id = ?", id)
		}, audit.Facts, "is at version 1 of /orders and its fact 1 is neither in the outbox nor in a topic"},
		"a gap in the facts of an order": {func(s *system, confirmed, _, _ string) {
			s.exec(schema.Orders, "UPDATE orders SET version = 3 WHERE id = ?", confirmed)
		}, audit.Facts, "is at version 3 of /orders and its fact 3 is neither"},
		"a gap in the facts of a reservation": {func(s *system, confirmed, _, _ string) {
			s.exec(schema.Inventory, "UPDATE reservations SET version = 2 WHERE order_id = ?", confirmed)
		}, audit.Facts, "is at version 2 of /inventory and its fact 2 is neither"},
		"an order that counts beyond all facts": {func(s *system, confirmed, _, _ string) {
			s.exec(schema.Orders, "UPDATE orders SET version = 2000000000 WHERE id = ?", confirmed)
		}, audit.Facts, "is at version 2000000000 of /orders"},
		"a fact that did not happen": {func(s *system, confirmed, _, _ string) {
			s.exec(schema.Orders, "UPDATE orders SET version = 1 WHERE id = ?", confirmed)
		}, audit.Facts, "is at version 1 of /orders and has later facts"},
		"a fact about no order": {func(s *system, _, _, _ string) {
			s.store(schema.Orders, unknownOrder, unknownOrder+"#1", events.OrdersSource)
		}, audit.Facts, "in the outbox of orders is about an order that the schema does not have"},
		"a fact under another order's id": {func(s *system, confirmed, failed, _ string) {
			s.store(schema.Orders, confirmed, failed+"#3", events.OrdersSource)
		}, audit.Facts, "is not a fact about order"},
		"a fact of another source": {func(s *system, confirmed, _, _ string) {
			s.store(schema.Inventory, confirmed, confirmed+"#1", events.OrdersSource)
		}, audit.Facts, "in the outbox of inventory is not a fact about order"},
		"a fact of a source that is not that of its type": {func(s *system, confirmed, _, _ string) {
			s.store(schema.Orders, confirmed, confirmed+"#1", "/elsewhere")
		}, audit.Facts, "in the outbox of orders is not a fact about order"},
		"a fact of an uncounted source about no order": {func(s *system, _, _, _ string) {
			s.emit(schema.Orders, "points.awarded", unknownOrder, unknownOrder+"#1", "/points")
		}, audit.Facts, "in the outbox of orders is about an order that the schema does not have"},
		"a row without attributes": {func(s *system, _, _, canceled string) {
			s.exec(schema.Orders, "UPDATE orders SET version = 2 WHERE id = ?", canceled)
			s.exec(schema.Orders, "UPDATE outbox SET headers = '{', status = 'NEW' WHERE aggregate_id = ? AND type = 'order.canceled'", canceled)
		}, audit.Facts, "is not a fact about order"},
		"an order that does not end": {func(s *system, confirmed, _, _ string) {
			s.exec(schema.Orders, "UPDATE orders SET status = 'PENDING', created_at = TIMESTAMPADD(MINUTE, -16, created_at) WHERE id = ?", confirmed)
		}, audit.Ends, "is PENDING since"},
		"a sent event at another offset": {func(s *system, _, _, _ string) {
			s.exec(schema.Orders, "UPDATE outbox SET kafka_offset = kafka_offset + 1000000 WHERE type = 'order.confirmed' ORDER BY id LIMIT 1")
		}, audit.Sent, "the partition ends at"},
		"a sent event where another one is": {func(s *system, confirmed, failed, _ string) {
			s.exec(schema.Orders, `UPDATE outbox o JOIN (SELECT kafka_partition, kafka_offset FROM outbox WHERE aggregate_id = ? AND type = 'order.created') x
				SET o.kafka_partition = x.kafka_partition, o.kafka_offset = x.kafka_offset WHERE o.aggregate_id = ? AND o.type = 'order.created'`, failed, confirmed)
		}, audit.Sent, "of /orders is not there"},
		"a sent event in no partition": {func(s *system, _, _, _ string) {
			s.exec(schema.Inventory, "UPDATE outbox SET kafka_partition = 99 ORDER BY id LIMIT 1")
		}, audit.Sent, "no such partition"},
		"a sent event that is nowhere": {func(s *system, _, _, _ string) {
			s.exec(schema.Orders, "UPDATE outbox SET kafka_offset = NULL ORDER BY id LIMIT 1")
		}, audit.Sent, "is SENT without a position"},
		"an event sent from nowhere": {func(s *system, _, _, _ string) {
			id := s.order(2)
			s.exec(schema.Orders, "UPDATE outbox SET status = 'SENT', kafka_partition = 0, kafka_offset = 0 WHERE aggregate_id = ?", id)
		}, audit.Sent, "is SENT to"},
		"an event stored twice": {func(s *system, confirmed, _, _ string) {
			s.store(schema.Orders, confirmed, confirmed+"#2", events.OrdersSource)
		}, audit.Once, "is in the outbox twice"},
		"reserved twice": {func(s *system, confirmed, _, _ string) {
			s.exec(schema.Inventory, inventoryLog, "x", "SKU-1", confirmed, 0, "RESERVED")
		}, audit.Once, "was reserved SKU-1 2 times"},
		"released twice": {func(s *system, _, _, canceled string) {
			s.exec(schema.Inventory, inventoryLog, "x", "SKU-2", canceled, 0, "RELEASED")
		}, audit.Once, "released SKU-2 2 times"},
		"notified twice": {func(s *system, confirmed, _, _ string) {
			s.exec(schema.Notifications, `INSERT INTO notifications (source, event_id, order_id, order_version, type, customer_email, status, attempts, created_at)
				SELECT '/hand', event_id, order_id, order_version, type, customer_email, 'SENT', 1, created_at FROM notifications WHERE order_id = ?`, confirmed)
		}, audit.Once, "was notified of its fact 2 more than once"},
		"one key for two orders": {func(s *system, _, _, _ string) {
			s.exec(schema.Orders, "ALTER TABLE orders DROP INDEX orders_idempotency_key")
			s.exec(schema.Orders, "UPDATE orders SET idempotency_key_hash = REPEAT('k', 32) ORDER BY id LIMIT 2")
		}, audit.Once, "created 2 orders"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, c)
			confirmed, failed, canceled := ended(s)
			test.breaks(s, confirmed, failed, canceled)
			assertOnly(t, s.audit(), test.invariant, test.says)
		})
	}
}

// unknownOrder is the id of no order.
const unknownOrder = "00000000-0000-7000-8000-00000000000f"

// store adds an unsent order.created to an outbox directly.
func (s *system) store(name, aggregate, id, source string) {
	s.Helper()
	s.emit(name, events.OrderCreatedType, aggregate, id, source)
}

// emit adds an unsent event of a type to an outbox directly.
func (s *system) emit(name, eventType, aggregate, id, source string) {
	s.Helper()
	headers, err := json.Marshal(map[string]string{"id": id, "source": source})
	require.NoError(s, err)
	s.exec(name, "INSERT INTO outbox (shard, aggregate_type, aggregate_id, type, payload, headers, created_at) VALUES (0, 'ORDER', ?, ?, '{}', ?, NOW(6))", aggregate, eventType, string(headers))
}

// A function may tell facts of a source of its own from the outbox of the service that it is of.
func TestAuditTakesFactsOfASourceThatNobodyCounts(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	confirmed, failed, _ := ended(s)
	s.emit(schema.Orders, "points.awarded", confirmed, confirmed+"#1", "/points")
	s.emit(schema.Orders, "points.awarded", failed, failed+"#1", "/points")

	r := s.audit()

	assertClean(t, r)
	assert.Equal(t, map[string]int{"orders": 3, "rows": 13, "rows to be sent": 2}, find(t, r, audit.Facts).Numbers)

	s.emit(schema.Inventory, "points.awarded", confirmed, confirmed+"#1", "/points")
	assertOnly(t, s.audit(), audit.Once, "of /points is in the outbox twice")
}

func TestAuditSeesOneIDWithTwoContents(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	confirmed, _, _ := ended(s)
	again := s.record(events.OrderConfirmedType, confirmed)
	s.write(again)
	s.commit()
	r := s.audit()
	assertClean(t, r)
	assert.Equal(t, 1, find(t, r, audit.Once).Numbers["duplicate records"])

	other := s.record(events.OrderConfirmedType, confirmed)
	other.Value = sarama.StringEncoder("{}")
	s.write(other)
	s.commit()

	assertOnly(t, s.audit(), audit.Once, "have one source and id, and differ")
}

func TestADeadLetterThatIsCutDoesNotContradictItsRecord(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	id := s.order(2)
	s.settle()
	letter := s.record(events.OrderCreatedType, id)
	letter.Topic += ".dlq"
	letter.Value = sarama.StringEncoder(`{"eventType":"ord`)
	letter.Headers = append(letter.Headers,
		sarama.RecordHeader{Key: []byte(kafka.HeaderConsumer), Value: []byte("reserve-stock")}, sarama.RecordHeader{Key: []byte(kafka.HeaderCut), Value: []byte("17 bytes are left")})
	s.write(letter)

	r := s.audit()

	assertClean(t, r)
	require.Len(t, r.Exceptions, 1)
	assert.Equal(t, audit.DeadLetters, r.Exceptions[0].Kind)
}

func TestAuditCountsNonCloudEvents(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	ended(s)
	s.write(&sarama.ProducerMessage{Topic: s.options.TopicPrefix + events.OrderCreatedType, Value: sarama.StringEncoder("hello")})
	r := s.audit()
	assertClean(t, r)
	assert.Equal(t, 1, find(t, r, audit.Once).Numbers["foreign records"])
}

func TestAuditLeavesOutWhatIsInFlight(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	id := s.order(2)
	assertClean(t, s.audit())
	s.settle()
	s.takeBack(id)
	assert.Equal(t, 1, find(t, s.audit(), audit.Holdings).Numbers["in flight"], "not sent yet")
	s.relay()

	r := s.audit()
	assertClean(t, r)
	assert.Equal(t, 1, find(t, r, audit.Holdings).Numbers["in flight"], "sent, and not handled by every group yet")

	s.commit() // as if it had been handled
	within := s.options
	within.Grace = time.Hour
	r, err := audit.Run(t.Context(), within)
	require.NoError(t, err)
	assertClean(t, r)
	assert.Equal(t, 1, find(t, r, audit.Holdings).Numbers["in flight"], "changed within the grace period")

	r = s.audit()
	assert.Equal(t, 2, r.Breaches(), "one an SKU")
	assert.Equal(t, []string{
		fmt.Sprintf("order %s is CANCELED and holds 2 of SKU-1", id), fmt.Sprintf("order %s is CANCELED and holds 1 of SKU-2", id),
	}, find(t, r, audit.Holdings).Breaches)
}

// deadLetter returns the dead letter that a source writes when its consumer has failed for good.
func (s *system) deadLetter(eventType, order, consumer string) *sarama.ProducerMessage {
	s.Helper()
	letter := s.record(eventType, order)
	letter.Topic += ".dlq"
	letter.Headers = append(letter.Headers, sarama.RecordHeader{Key: []byte(kafka.HeaderConsumer), Value: []byte(consumer)})
	s.write(letter)
	return letter
}

func TestDeadLettersAndParkedRowsExplainADifference(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	lettered, parked, discarded := s.order(2), s.order(2), s.order(2)
	s.settle()
	s.takeBack(lettered)
	s.relay()
	s.commit()
	s.deadLetter(events.OrderCanceledType, lettered, "release-stock")
	for id, status := range map[string]string{parked: "ERROR", discarded: "DISCARDED"} {
		s.takeBack(id)
		s.exec(schema.Orders, "UPDATE outbox SET status = ?, last_error = 'too large' WHERE aggregate_id = ? AND type = 'order.canceled'", status, id)
	}

	r := s.audit()

	assertClean(t, r)
	holdings := find(t, r, audit.Holdings)
	assert.Equal(t, 6, holdings.Numbers["explained"])
	assert.Contains(t, holdings.Explained, fmt.Sprintf("order %s is CANCELED and holds 2 of SKU-1", lettered))
	require.Len(t, r.Exceptions, 3)
	letters := r.Exceptions[0]
	assert.Equal(t, audit.DeadLetters, letters.Kind)
	assert.Equal(t, s.options.TopicPrefix+"order.canceled.dlq", letters.Where)
	assert.Equal(t, "release-stock", letters.Consumer)
	assert.Equal(t, 1, letters.Count)
	assert.Contains(t, letters.Examples[0], lettered)
	for i, kind := range []string{audit.Parked, audit.Discarded} {
		e := r.Exceptions[1+i]
		assert.Equal(t, kind, e.Kind)
		assert.Equal(t, schema.Orders, e.Where)
		assert.Equal(t, 1, e.Count)
		assert.Contains(t, e.Examples[0], "too large")
	}
	assert.Zero(t, find(t, r, audit.Once).Numbers["duplicate records"], "a dead letter is no duplicate")
}

func TestEveryOutboxOfTheWiringIsAudited(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	billing := outboxtest.Another(t, s.options.Server, "billing")
	outboxtest.Store(t, billing, time.Now(), functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "SKU-1", Quantity: 1, UnitPrice: 1}), 1))
	_, err := billing.ExecContext(t.Context(), "UPDATE outbox SET status = 'ERROR', last_error = 'too large'")
	require.NoError(t, err)
	assert.Empty(t, s.audit().Exceptions)

	s.options.Wiring.Services = append(s.options.Wiring.Services, knative.Service{Name: "publish-outbox-billing", Env: map[string]string{"OUTBOX_SCHEMA": "billing"}})

	r := s.audit()
	require.Len(t, r.Exceptions, 1)
	assert.Equal(t, "billing", r.Exceptions[0].Where)
}

func TestReplayedDeadLettersExplainNothing(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	id := s.order(2)
	s.settle()
	s.takeBack(id)
	s.relay()
	s.commit()
	at := s.deadLetter(events.OrderCanceledType, id, "release-stock")
	act := func(action operations.DeadLetterActionsAction, event string) {
		require.NoError(t, operations.New(s.db[schema.Operations]).InsertLetterAction(t.Context(), operations.InsertLetterActionParams{
			Topic: at.Topic, KafkaPartition: int(at.Partition), KafkaOffset: at.Offset,
			Consumer: "release-stock", EventSource: events.OrdersSource, EventID: event, Action: action,
		}))
	}
	open := func() int {
		r := s.audit()
		assert.Equal(t, 2*(1-len(r.Exceptions)), r.Breaches(), "one an SKU, unless it is explained")
		assert.Equal(t, 1-len(r.Exceptions), find(t, r, audit.Once).Numbers["replayed dead letters"])
		return len(r.Exceptions)
	}
	assert.Equal(t, 1, open())
	act(operations.DeadLetterActionsActionREPLAYED, "another event, before the topic was made anew")
	assert.Equal(t, 1, open())
	act(operations.DeadLetterActionsActionREPLAYED, id+"#3")
	assert.Equal(t, 0, open())
	act(operations.DeadLetterActionsActionREOPENED, id+"#3")
	assert.Equal(t, 1, open())
}

func TestRowsThatWaitForARetryAreNotParked(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	id := s.order(2)
	s.settle()
	s.takeBack(id)
	s.exec(schema.Orders, "UPDATE outbox SET status = 'ERROR', next_attempt_at = NOW(6) WHERE aggregate_id = ? AND type = 'order.canceled'", id)
	r := s.audit()
	assertClean(t, r)
	assert.Empty(t, r.Exceptions)
	assert.Equal(t, 1, find(t, r, audit.Holdings).Numbers["in flight"])
	assert.Equal(t, 1, find(t, r, audit.Facts).Numbers["rows to be sent"])
}

func TestPurgedRowsAreCounted(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	ended(s)
	s.exec(schema.Inventory, "DELETE FROM outbox")
	r := s.audit()
	assertClean(t, r)
	assert.Equal(t, 4, find(t, r, audit.Facts).Numbers["purged, still in a topic"])

	// On this day neither the rows nor the records exist any more.
	s.options.Brokers = nil
	s.options.Now = func() time.Time { return time.Now().Add(s.options.SentRetention + time.Minute) }
	s.exec(schema.Orders, "DELETE FROM outbox")
	r = s.audit()
	assertClean(t, r)
	assert.Equal(t, 11, find(t, r, audit.Facts).Numbers["purged"])
	assert.NotEmpty(t, find(t, r, audit.Sent).Skipped)

	s.options.Now = func() time.Time { return time.Now().Add(s.options.SentRetention - time.Hour) }
	assert.Equal(t, 11, find(t, s.audit(), audit.Facts).Breached)
}

func TestRecordsPastTheRetentionAreLeftOutAndCounted(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	ended(s)
	s.removeAll(events.OrderCreatedType)
	r := s.audit()
	assertClean(t, r)
	assert.Equal(t, 3, find(t, r, audit.Sent).Numbers["past the topic's retention"])
}

func TestRecordsOfAKafkaSinkAreCountedApart(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	ended(s)
	s.exec(schema.Inventory, "UPDATE outbox SET kafka_partition = -1, kafka_offset = -1 ORDER BY id LIMIT 2")
	r := s.audit()
	assertClean(t, r)
	assert.Equal(t, 2, find(t, r, audit.Sent).Numbers["sent through a KafkaSink, place unknown"])
}

func TestAnAuditSeesOneMoment(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil { // the snapshot sees both statements or neither, so nothing is broken at any time
			tx, err := s.db[schema.Inventory].Begin()
			if !assert.NoError(t, err) {
				return
			}
			_, first := tx.Exec("UPDATE inventory SET available_qty = available_qty + 1 WHERE sku = 'SKU-1'")
			_, second := tx.Exec("INSERT INTO stock_log (sku, delta, reason, available_after, reserved_after, version_after, created, correlation_id, created_at) VALUES ('SKU-1', 1, 'set', 0, 0, 1, FALSE, '', NOW(6))")
			assert.NoError(t, first)
			assert.NoError(t, second)
			assert.NoError(t, tx.Commit())
		}
	}()
	before := find(t, s.audit(), audit.Stock).Numbers["log rows"]
	for range 20 {
		assertClean(t, s.audit())
	}
	assert.Greater(t, find(t, s.audit(), audit.Stock).Numbers["log rows"], before)
	stop()
	<-done
}

func TestAuditNamesTheServerItCannotReach(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	away := s.options
	away.Brokers = []string{"127.0.0.1:1"}
	_, err := audit.Run(t.Context(), away)
	assert.ErrorContains(t, err, "127.0.0.1:1")
	away = s.options
	away.Server.Prefix += "missing_"
	_, err = audit.Run(t.Context(), away)
	assert.ErrorContains(t, err, "missing_")
}

func TestReportListsBreachesAndExceptions(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	confirmed, _, _ := ended(s)
	s.exec(schema.Orders, "UPDATE orders SET total_amount = 1 WHERE id = ?", confirmed)
	s.deadLetter(events.OrderConfirmedType, confirmed, "notify")
	var text bytes.Buffer
	s.audit().Write(&text)
	assert.Contains(t, text.String(), "BREACH  totals    the total of an order = the sum of its lines\n                  3 orders\n                  breach: order "+confirmed)
	assert.Contains(t, text.String(), "ok      sent ")
	assert.Contains(t, text.String(), "exception         1 dead letters in "+s.options.TopicPrefix+"order.confirmed.dlq of notify\n                  such as: ")
	assert.Contains(t, text.String(), "1 breach; audited in ")
	assert.NotRegexp(t, `(?m)^ +$`, text.String(), "an invariant without numbers has no line for them")
}

func TestConfigureTakesTheSettingsOfTheFunctions(t *testing.T) {
	t.Parallel()
	config := map[string]string{"MYSQL_DSN": "root@tcp(127.0.0.1:3306)/", "KAFKA_BROKERS": "a:1,b:2", "KAFKA_TOPIC_PREFIX": "x."}
	o, err := audit.Configure(config, time.Second)
	require.NoError(t, err)
	assert.Equal(t, 15*time.Minute, o.SagaTimeout)
	assert.Equal(t, 192*time.Hour, o.SentRetention)
	assert.Equal(t, []string{"a:1", "b:2"}, o.Brokers)
	assert.Equal(t, "x.order.created", o.Wiring.Topics[0].Name)
	config["SAGA_TIMEOUT"] = "20m"
	o, err = audit.Configure(config, 0)
	require.NoError(t, err)
	assert.Equal(t, 20*time.Minute, o.SagaTimeout)

	for name, broken := range map[string]map[string]string{
		"no server":    {"MYSQL_DSN": ""},
		"a bad prefix": {"KAFKA_TOPIC_PREFIX": "/"},
		"no duration":  {"SAGA_TIMEOUT": "soon"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := map[string]string{"MYSQL_DSN": config["MYSQL_DSN"]}
			for k, v := range broken {
				c[k] = v
			}
			_, err := audit.Configure(c, 0)
			assert.Error(t, err)
		})
	}
	_, err = audit.Configure(config, -time.Second)
	assert.Error(t, err)
}
