package audit_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"example.com/orders/events"
	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// since audits what has changed since a checkpoint.
func (s *system) since(from *audit.Checkpoint) (*audit.Report, *audit.Checkpoint) {
	s.Helper()
	report, next, err := audit.RunSince(s.Context(), s.options, from)
	require.NoError(s, err)
	return report, next
}

// checkpoint audits everything, without a margin: the tests have no transactions under way.
func (s *system) checkpoint() *audit.Checkpoint {
	s.Helper()
	s.options.Margin = 0
	report, next := s.since(nil)
	require.Zero(s, report.Breaches())
	require.NotNil(s, next)
	require.Nil(s, report.Since)
	return next
}

// incremental audits what has changed since a checkpoint, and requires that this was enough.
func (s *system) incremental(from *audit.Checkpoint) (*audit.Report, *audit.Checkpoint) {
	s.Helper()
	report, next := s.since(from)
	require.Empty(s, report.Full)
	require.NotNil(s, report.Since)
	require.Zero(s, report.Breaches())
	require.NotNil(s, next)
	return report, next
}

// entries are what a checkpoint knows of each order: the masks of its facts, and its state.
func entries(t *testing.T, c *audit.Checkpoint) map[uint64][4]uint16 {
	t.Helper()
	all := map[uint64][4]uint16{}
	text, err := c.Known.MarshalBinary()
	require.NoError(t, err)
	for one := range slices.Chunk(text, 16) {
		var entry [4]uint16
		for i := range entry {
			entry[i] = binary.LittleEndian.Uint16(one[8+2*i:])
		}
		all[binary.LittleEndian.Uint64(one)] = entry
	}
	return all
}

// assertSame asserts that a checkpoint knows what that of a full audit does.
func assertSame(t *testing.T, full, incremental *audit.Checkpoint) {
	t.Helper()
	without := func(held map[string]int64) map[string]int64 {
		held = maps.Clone(held)
		maps.DeleteFunc(held, func(_ string, units int64) bool { return units == 0 })
		return held
	}
	assert.Equal(t, without(full.Held), without(incremental.Held))
	assert.ElementsMatch(t, full.Orders, incremental.Orders)
	assert.ElementsMatch(t, full.Rows, incremental.Rows)
	assert.Equal(t, full.Newest, incremental.Newest)
	assert.Equal(t, full.Outboxes, incremental.Outboxes)
	known := entries(t, incremental)
	assert.Len(t, known, len(entries(t, full)))
	for order, entry := range entries(t, full) {
		assert.Equal(t, entry[3], known[order][3], "the state")
		for i := range 3 {
			assert.Equal(t, entry[i], entry[i]&known[order][i], "it may know facts that were purged since")
		}
	}
}

func TestAnIncrementalAuditKnowsAfterEachChangeWhatAFullOneDoes(t *testing.T) {
	t.Parallel()
	p := startPaying(t, newTopicsOf(t, paymentOverlay))
	o := p.all()
	last := p.checkpoint()
	next := func(says string, change func()) *audit.Report {
		t.Helper()
		change()
		var r *audit.Report
		r, last = p.incremental(last)
		assertSame(t, p.checkpoint(), last)
		if t.Failed() {
			t.Fatal("after " + says)
		}
		return r
	}
	next("nothing", func() {})
	var pending, parked string
	next("an order under way", func() { pending = p.order(2) })
	assert.Contains(t, last.Orders, pending)
	next("its end", p.settle)
	assert.NotContains(t, last.Orders, pending)
	next("the cancellation of an old order", func() { p.takeBack(o.confirmed) })
	assert.Contains(t, last.Orders, o.confirmed, "its units are to be released")
	next("the release", p.settle)
	next("the purge of sent rows", func() {
		p.exec(schema.Orders, "DELETE FROM outbox WHERE status = 'SENT' ORDER BY id LIMIT 5")
		p.exec(schema.Inventory, "DELETE FROM reservation_log WHERE order_id = ?", o.confirmed)
	})
	next("an order that is parked", func() {
		parked = p.order(2)
		p.exec(schema.Orders, "UPDATE outbox SET status = 'ERROR', last_error = 'too large' WHERE aggregate_id = ?", parked)
	})
	r := next("others after it", func() { p.order(2); p.settle() })
	require.Len(t, r.Exceptions, 1)
	assert.Contains(t, r.Exceptions[0].Examples[0], parked)
	r = next("its publication", func() {
		p.exec(schema.Orders, "UPDATE outbox SET next_attempt_at = NOW(6) WHERE aggregate_id = ?", parked)
		p.exec(schema.Orders, "INSERT INTO outbox_waiting (id, aggregate_id) SELECT id, aggregate_id FROM outbox WHERE aggregate_id = ?", parked)
		p.settle()
	})
	assert.Empty(t, r.Exceptions)
	assert.Empty(t, last.Rows)
}

func TestAnIncrementalAuditSeesWhatChangesAfterItsCheckpoint(t *testing.T) {
	t.Parallel()
	c := newTopics(t)
	tests := map[string]struct {
		breaks    func(s *system, fresh, canceled string)
		invariant string
		says      string
	}{
		"units from nowhere": {func(s *system, _, _ string) {
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty + 1 WHERE sku = 'SKU-1'")
		}, audit.Stock, "and stock_log has 10"},
		"reserved without the log": {func(s *system, _, _ string) {
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty - 1, reserved_qty = reserved_qty + 1 WHERE sku = 'SKU-1'")
		}, audit.Reserved, "SKU-1 has 3 reserved, and reservation_log has 2"},
		"a confirmed order holds less": {func(s *system, fresh, _ string) {
			s.exec(schema.Inventory, "UPDATE reservation_log SET delta_reserved = 1 WHERE order_id = ? AND sku = 'SKU-1' AND status = 'RESERVED'", fresh)
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty + 1, reserved_qty = reserved_qty - 1 WHERE sku = 'SKU-1'")
		}, audit.Holdings, "is CONFIRMED, wants 2 of SKU-1 and holds 1"},
		"an older order, now canceled, holds": {func(s *system, _, canceled string) {
			s.exec(schema.Inventory, "UPDATE reservation_log SET delta_reserved = -2 WHERE order_id = ? AND sku = 'SKU-1' AND status = 'RELEASED'", canceled)
			s.exec(schema.Inventory, "UPDATE inventory SET available_qty = available_qty - 1, reserved_qty = reserved_qty + 1 WHERE sku = 'SKU-1'")
		}, audit.Holdings, "is CANCELED and holds 1 of SKU-1"},
		"another total": {func(s *system, fresh, _ string) {
			s.exec(schema.Orders, "UPDATE orders SET total_amount = total_amount + 1 WHERE id = ?", fresh)
		}, audit.Totals, "and its 3 lines are 197"},
		"another total of an older order": {func(s *system, _, canceled string) {
			s.exec(schema.Orders, "UPDATE orders SET total_amount = total_amount + 1 WHERE id = ?", canceled)
		}, audit.Totals, "and its 3 lines are 297"},
		"an order whose order.created is lost": {func(s *system, _, _ string) {
			id := s.order(2)
			s.exec(schema.Orders, "DELETE FROM outbox WHERE aggregate_id = ?", id)
		}, audit.Facts, "is at version 1 of /orders and its fact 1 is neither in the outbox nor in a topic"},
		"a gap in the facts of an older order": {func(s *system, _, canceled string) {
			s.exec(schema.Orders, "UPDATE orders SET version = 4 WHERE id = ?", canceled)
		}, audit.Facts, "is at version 4 of /orders and its fact 4 is neither"},
		"a fact that did not happen": {func(s *system, _, canceled string) {
			s.exec(schema.Orders, "UPDATE orders SET version = 2 WHERE id = ?", canceled)
		}, audit.Facts, "is at version 2 of /orders and has later facts"},
		"a fact about no order": {func(s *system, _, _ string) {
			s.store(schema.Orders, unknownOrder, unknownOrder+"#1", events.OrdersSource)
		}, audit.Facts, "in the outbox of orders is about an order that the schema does not have"},
		"an order that does not end": {func(s *system, fresh, _ string) {
			s.exec(schema.Orders, "UPDATE orders SET status = 'PENDING', created_at = TIMESTAMPADD(MINUTE, -16, created_at) WHERE id = ?", fresh)
		}, audit.Ends, "is PENDING since"},
		"a sent event at another offset": {func(s *system, fresh, _ string) {
			s.exec(schema.Orders, "UPDATE outbox SET kafka_offset = kafka_offset + 1000000 WHERE type = 'order.confirmed' AND aggregate_id = ?", fresh)
		}, audit.Sent, "the partition ends at"},
		"a sent event where another one is": {func(s *system, fresh, canceled string) {
			s.exec(schema.Orders, `UPDATE outbox o JOIN (SELECT kafka_partition, kafka_offset FROM outbox WHERE aggregate_id = ? AND type = 'order.created') x
				SET o.kafka_partition = x.kafka_partition, o.kafka_offset = x.kafka_offset WHERE o.aggregate_id = ? AND o.type = 'order.created'`, canceled, fresh)
		}, audit.Sent, "of /orders is not there"},
		"lost records": {func(s *system, _, _ string) {
			s.exec(schema.Operations, "INSERT INTO lost_records (topic, kafka_partition, consumer, first_offset, next_offset, at) VALUES ('t', 1, 'reserve-stock', 5, 6, NOW(6))")
		}, audit.Lost, "1 records of t/1, offsets 5 to 5, were removed"},
		"an older event stored twice": {func(s *system, _, canceled string) {
			s.store(schema.Orders, canceled, canceled+"#2", events.OrdersSource)
		}, audit.Once, "is in the outbox twice"},
		"reserved twice": {func(s *system, fresh, _ string) {
			s.exec(schema.Inventory, inventoryLog, "x", "SKU-1", fresh, 0, "RESERVED")
		}, audit.Once, "was reserved SKU-1 2 times"},
		"released twice": {func(s *system, _, canceled string) {
			s.exec(schema.Inventory, inventoryLog, "x", "SKU-2", canceled, 0, "RELEASED")
		}, audit.Once, "released SKU-2 2 times"},
		"notified twice": {func(s *system, fresh, _ string) {
			s.exec(schema.Notifications, `INSERT INTO notifications (source, event_id, order_id, order_version, type, customer_email, status, attempts, created_at)
				SELECT '/hand', event_id, order_id, order_version, type, customer_email, 'SENT', 1, created_at FROM notifications WHERE order_id = ?`, fresh)
		}, audit.Once, "was notified of its fact 2 more than once"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, c)
			older := s.order(3)
			s.settle()
			from := s.checkpoint()
			fresh := s.order(2)
			s.settle()
			s.takeBack(older)
			s.settle()
			test.breaks(s, fresh, older)

			r, next := s.since(from)

			assertOnly(t, r, test.invariant, test.says)
			assert.Nil(t, next)
			assert.Regexp(t, "the incremental audit found|before the records that are read", r.Full, "it was the incremental one that noticed")
			assertOnly(t, s.audit(), test.invariant, test.says)
		})
	}
}

func TestAnIncrementalAuditSeesWhatChangesAboutMoney(t *testing.T) {
	t.Parallel()
	c := newTopicsOf(t, paymentOverlay)
	for name, test := range map[string]struct {
		breaks    func(p *paying, fresh string)
		invariant string
		says      string
	}{
		"a confirmed order whose payment is void": {func(p *paying, fresh string) {
			p.exec(schema.Payments, "DELETE FROM payment_log WHERE order_id = ?", fresh)
			p.exec(schema.Payments, "DELETE FROM payments WHERE order_id = ?", fresh)
			p.exec(schema.Payments, "DELETE FROM outbox WHERE aggregate_id = ?", fresh)
			p.options.Ledger = nil
		}, audit.Money, "is CONFIRMED and has no payment"},
		"a log that does not explain the payment": {func(p *paying, fresh string) {
			p.exec(schema.Payments, "DELETE FROM payment_log WHERE order_id = ?", fresh)
		}, audit.PaymentLog, "and payment_log has 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPaying(t, c)
			p.all()
			from := p.checkpoint()
			fresh := p.order(2)
			p.settle()
			test.breaks(p, fresh)

			r, _ := p.since(from)

			assertOnly(t, r, test.invariant, test.says)
			assert.Contains(t, r.Full, "the incremental audit found")
		})
	}
}

func TestTheLedgerIsLeftToAFullAudit(t *testing.T) {
	t.Parallel()
	p := startPaying(t, newTopicsOf(t, paymentOverlay))
	p.all()
	r, _ := p.incremental(p.checkpoint())
	assert.Equal(t, "only a full audit reads the gateway's ledger", find(t, r, audit.Gateway).Skipped)
}

func TestWhatAnIncrementalAuditCannotJudgeMakesItAFullOne(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		happens func(s *system, confirmed string)
		why     string
		once    bool // the next audit is an incremental one again
	}{
		"a late duplicate": {func(s *system, confirmed string) {
			s.write(s.record(events.OrderConfirmedType, confirmed))
		}, "1 records are of events from before the checkpoint", true},
		"a late duplicate that differs": {func(s *system, confirmed string) {
			record := s.record(events.OrderConfirmedType, confirmed)
			record.Value = sarama.StringEncoder("{}")
			s.write(record)
		}, "1 records are of events from before the checkpoint", false},
		"a dead letter of an older record": {func(s *system, confirmed string) {
			s.deadLetter(events.OrderConfirmedType, confirmed, "notify")
		}, "1 records are of events from before the checkpoint", true},
		"a day": {func(s *system, _ string) {
			s.options.Now = func() time.Time { return time.Now().Add(25 * time.Hour) }
		}, "the last full audit was at", true},
		"a clock that was set back": {func(s *system, _ string) {
			s.options.Now = func() time.Time { return time.Now().Add(-time.Hour) }
		}, "the checkpoint is of a later time", true},
		"a short retention": {func(s *system, _ string) {
			s.options.SentRetention = time.Nanosecond
		}, "rows may have been purged since", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, newTopics(t))
			confirmed, _, _ := ended(s)
			from := s.checkpoint()
			test.happens(s, confirmed)

			r, next := s.since(from)

			assert.Nil(t, r.Since)
			assert.Contains(t, r.Full, test.why)
			assert.Equal(t, r.Breaches() == 0, next != nil)
			assert.Equal(t, s.audit().Breaches(), r.Breaches())
			if next != nil && test.once {
				again, _ := s.since(next)
				assert.Empty(t, again.Full)
			}
		})
	}
}

func TestADeadLetterOfANewRecordIsComparedAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	ended(s)
	from := s.checkpoint()
	fresh := s.order(2)
	s.settle()
	s.deadLetter(events.OrderConfirmedType, fresh, "notify")
	r, next := s.incremental(from)
	assert.Len(t, r.Exceptions, 1)
	r, next = s.incremental(next)
	assert.Len(t, r.Exceptions, 1, "it waits still")
	_, _ = s.incremental(next)
}

func TestAnIncrementalAuditOfNothingReadsLittle(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	s.exec(schema.Inventory, "UPDATE inventory SET available_qty = 1000000")
	s.exec(schema.Inventory, "UPDATE stock_log SET delta = 1000000")
	for range 120 {
		s.order(2)
	}
	s.settle()
	from := s.checkpoint()

	little, _ := s.incremental(from)
	s.order(2)
	s.settle()
	one, _ := s.incremental(from)

	assert.Equal(t, []int{0, 0, 0, 0}, read(t, little))
	assert.Equal(t, []int{1, 3, 2, 3}, read(t, one))
	assert.Equal(t, []int{121, 363, 242, 363}, read(t, s.audit()))
}

// The harness audits twice a minute.
func TestAnIncrementalAuditOfNothingAsksKafkaLittle(t *testing.T) {
	t.Parallel()
	c := withTopics(t, kafkatest.Fake(t), knative.BaseName)
	s := start(t, c)
	s.order(2)
	s.settle()
	from := s.checkpoint()
	asked := c.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Count: -1, Observe: true})

	_, next := s.incremental(from)

	assert.Equal(t, 4, asked.Hits(), "the oldest and the newest offsets of all topics, and of those with consumers")
	assert.Equal(t, from.Topics, next.Topics)
	s.order(2)
	s.settle()
	_, next = s.incremental(next)
	assert.Greater(t, asked.Hits(), 8, "and where the records begin that are too new to be forgotten")
	assert.NotEqual(t, from.Topics, next.Topics)
}

func TestAnIncrementalAuditOfManyOrdersTakesAsManyStatementsAsOfOne(t *testing.T) {
	t.Parallel()
	p := startPaying(t, newTopicsOf(t, paymentOverlay))
	p.exec(schema.Inventory, "UPDATE inventory SET available_qty = 1000000")
	p.exec(schema.Inventory, "UPDATE stock_log SET delta = 1000000")
	var all []string
	for range 60 {
		all = append(all, p.order(2))
	}
	p.settle()
	from := p.checkpoint()
	server, traffic := mysqltest.Counted(t, p.options.Server)
	p.options.Server = server
	statements := func(from *audit.Checkpoint) (int64, *audit.Checkpoint) {
		before := traffic.Statements.Load()
		r, next := p.incremental(from)
		require.Equal(t, len(next.Orders), find(t, r, audit.Totals).Numbers["orders"], "it reads those that are under way, and no other")
		return traffic.Statements.Load() - before, next
	}

	p.takeBack(all[0])
	changed, next := statements(from)
	underWay, _ := statements(next)
	for _, id := range all[1:] {
		p.takeBack(id)
	}
	changedMany, next := statements(from)
	require.Len(t, next.Orders, len(all))
	require.Len(t, next.Rows, len(all))
	underWayMany, _ := statements(next)

	assert.Positive(t, changed)
	assert.Equal(t, changed, changedMany)
	assert.Equal(t, underWay, underWayMany)
}

// read returns how many orders, rows of outboxes and of reservation_log, and records an audit has read.
func read(t *testing.T, r *audit.Report) []int {
	t.Helper()
	return []int{
		find(t, r, audit.Totals).Numbers["orders"], find(t, r, audit.Facts).Numbers["rows"],
		find(t, r, audit.Reserved).Numbers["log rows"], find(t, r, audit.Once).Numbers["records"],
	}
}

func TestACheckpointIsAFile(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	ended(s)
	path := filepath.Join(t.TempDir(), "checkpoint")
	none, err := audit.LoadCheckpoint(path)
	require.NoError(t, err)
	assert.Nil(t, none)
	saved := s.checkpoint()
	require.NoError(t, saved.Save(path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	loaded, err := audit.LoadCheckpoint(path)

	require.NoError(t, err)
	assertSame(t, saved, loaded)
	s.incremental(loaded)

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for name, damaged := range map[string][]byte{
		"a byte differs":  slices.Concat(text[:len(text)/2], []byte{text[len(text)/2] ^ 1}, text[len(text)/2+1:]),
		"the end is lost": text[:len(text)-1],
		"nearly empty":    text[:10],
		"another format":  bytes.Replace(text, []byte("checkpoint 1"), []byte("checkpoint 0"), 1),
	} {
		require.NoError(t, os.WriteFile(path, damaged, 0o600))
		_, err := audit.LoadCheckpoint(path)
		require.ErrorIs(t, err, audit.ErrCheckpoint, name)
		assert.ErrorContains(t, err, "remove it", name)
	}
	require.NoError(t, saved.Save(path), "over the damaged one")
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, left, 1)
}

func TestACheckpointOfAnotherStackIsRefused(t *testing.T) {
	t.Parallel()
	c := newTopics(t)
	s := start(t, c)
	ended(s)
	from := s.checkpoint()
	refused := func(s *system, from *audit.Checkpoint, says string) {
		t.Helper()
		_, _, err := audit.RunSince(t.Context(), s.options, from)
		require.ErrorIs(t, err, audit.ErrCheckpoint)
		require.ErrorContains(t, err, says)
		assert.ErrorContains(t, err, "remove it")
	}
	other := start(t, c)
	ended(other)
	refused(other, from, "other names")
	disguised := *from
	disguised.Stack = other.checkpoint().Stack
	refused(other, &disguised, "does not have order "+from.Newest)

	restored := *from
	restored.Topics = slices.Clone(from.Topics)
	restored.Topics[0].Read += 1000
	refused(s, &restored, "ends at")

	overlay := startPaying(t, newTopicsOf(t, paymentOverlay))
	refused(overlay.system, from, "other names")
}

func TestTheMarginKeepsWhatATransactionMayStillAdd(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	s.order(2)
	s.settle()
	s.options.Margin = time.Hour
	r, from := s.since(nil)
	require.Zero(t, r.Breaches())
	assert.Equal(t, map[string]int64{"orders": 0, "inventory": 0}, from.Outboxes, "all rows are of the last hour")
	assert.Len(t, from.Orders, 1)

	// An insert that took its id before the others and is committed after the checkpoint.
	s.exec(schema.Orders, "UPDATE outbox SET id = id + 1000 ORDER BY id DESC")
	late := s.order(2)
	s.exec(schema.Orders, "UPDATE outbox SET id = 1 WHERE aggregate_id = ?", late)
	r, _ = s.incremental(from)
	assert.Equal(t, 1, find(t, r, audit.Facts).Numbers["rows to be sent"])
	assert.Equal(t, 2, mysqltest.Count(t, s.db[schema.Orders], "SELECT COUNT(*) FROM orders"))
}

func TestAnIncrementalAuditTakesFactsOfASourceThatNobodyCounts(t *testing.T) {
	t.Parallel()
	s := start(t, newTopics(t))
	confirmed, failed, _ := ended(s)
	s.emit(schema.Orders, "points.awarded", confirmed, confirmed+"#1", "/points")
	s.exec(schema.Orders, "UPDATE outbox SET status = 'SENT', kafka_partition = -1, kafka_offset = -1 WHERE type = 'points.awarded'")
	from := s.checkpoint()
	s.emit(schema.Orders, "points.awarded", failed, failed+"#1", "/points")
	_, next := s.incremental(from)
	s.emit(schema.Orders, "points.awarded", confirmed, confirmed+"#1", "/points")
	r, _ := s.since(next)
	assertOnly(t, r, audit.Once, "is in the outbox twice")
	assert.Contains(t, r.Full, "the incremental audit found")
}
