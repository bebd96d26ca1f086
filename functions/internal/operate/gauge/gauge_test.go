package gauge_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/gauge"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/knative"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/schema"
)

// register returns a registry with the gauges, each of which was read once, since a scrape does not wait for a slow reading.
func register(t *testing.T, o gauge.Options) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewRegistry()
	o.Log = slog.New(slog.DiscardHandler)
	if o.Every == 0 {
		o.Every = time.Nanosecond
	}
	g, err := gauge.Register(registry, o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, g.Close()) })
	require.Eventually(t, func() bool {
		up := values(t, registry, "orders_watch_up")
		return len(up) > 0 && !slices.Contains(slices.Collect(maps.Values(up)), 0)
	}, time.Minute, time.Millisecond)
	return registry
}

// values returns the values of a gauge by its labels, joined by spaces.
func values(t *testing.T, registry *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	found := map[string]float64{}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var labels []string
			for _, label := range m.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			found[strings.Join(labels, " ")] = m.GetGauge().GetValue()
		}
	}
	return found
}

func execute(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement, args...)
	require.NoError(t, err)
}

func TestTheOutboxIsExportedByStateWithItsAges(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	o := gauge.Options{Databases: map[string]*sql.DB{"orders": db, "billing": db}, Outboxes: []string{"orders", "billing"}}

	assert.Equal(t, map[string]float64{
		"orders new": 0, "orders waiting": 0, "orders parked": 0, "billing new": 0, "billing waiting": 0, "billing parked": 0,
	}, values(t, register(t, o), "orders_outbox_rows"))
	assert.Equal(t, map[string]float64{"orders": 0, "billing": 0}, values(t, register(t, o), "orders_outbox_oldest_unsent_age_seconds"))

	add := func(shard int, status string, age time.Duration, next any) {
		execute(t, db, `INSERT INTO outbox (shard, aggregate_type, aggregate_id, type, payload, headers, status, created_at, next_attempt_at)
			VALUES (?, 'ORDER', 'order-1', 'order.created', '{}', '{}', ?, TIMESTAMPADD(SECOND, ?, NOW(6)), ?)`, shard, status, -int(age.Seconds()), next)
	}
	add(0, "NEW", 10*time.Minute, nil)
	add(7, "NEW", 20*time.Minute, nil)
	add(1, "ERROR", 30*time.Minute, time.Now())
	add(2, "ERROR", 50*time.Minute, nil)
	add(3, "SENT", time.Hour, nil)
	add(3, "DISCARDED", time.Hour, nil)

	assert.Equal(t, map[string]float64{
		"orders new": 2, "orders waiting": 1, "orders parked": 1, "billing new": 2, "billing waiting": 1, "billing parked": 1,
	}, values(t, register(t, o), "orders_outbox_rows"))
	assert.InDelta(t, 30*60, values(t, register(t, o), "orders_outbox_oldest_unsent_age_seconds")["orders"], 8*60)
	assert.InDelta(t, 50*60, values(t, register(t, o), "orders_outbox_oldest_parked_age_seconds")["orders"], 8*60)
}

func TestOrdersAreExportedByStatus(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	o := gauge.Options{Databases: map[string]*sql.DB{schema.Orders: db}}
	for n, status := range []string{"PENDING", "PENDING", "CONFIRMED"} {
		execute(t, db, `INSERT INTO orders (id, customer_email, status, total_amount, currency, version, request_hash, correlation_id, created_at, updated_at)
			VALUES (?, 'a@example.com', ?, 1, 'EUR', 1, REPEAT('x', 32), 'c', TIMESTAMPADD(MINUTE, -40, NOW(6)), NOW(6))`, fmt.Sprintf("%036d", n), status)
	}
	assert.Equal(t, map[string]float64{"PENDING": 2, "CONFIRMED": 1, "FAILED": 0, "CANCELED": 0}, values(t, register(t, o), "orders_by_status"))
	assert.InDelta(t, 40*60, values(t, register(t, o), "orders_oldest_pending_age_seconds")[""], 8*60)
}

func TestStockIsExportedByClass(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	o := gauge.Options{Databases: map[string]*sql.DB{schema.Inventory: db}}
	assert.Equal(t, map[string]float64{"in_stock": 0, "low": 0, "out": 0}, values(t, register(t, o), "orders_stock_skus"))
	for sku, available := range map[string]int{"A": 0, "B": 1, "C": 10, "D": 11} {
		execute(t, db, "INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES (?, ?, 3, 1, NOW(6))", sku, available)
	}
	assert.Equal(t, map[string]float64{"in_stock": 1, "low": 2, "out": 1}, values(t, register(t, o), "orders_stock_skus"))
	assert.Equal(t, map[string]float64{"available": 22, "reserved": 12}, values(t, register(t, o), "orders_stock_units"))
}

func TestUnknownPaymentsAreExportedByOperation(t *testing.T) {
	db := mysqltest.Open(t, schema.Payments)
	o := gauge.Options{Databases: map[string]*sql.DB{schema.Payments: db}}
	none := map[string]float64{"authorize": 0, "refund": 0}
	assert.Equal(t, none, values(t, register(t, o), "orders_payments_unknown"))
	assert.Equal(t, none, values(t, register(t, o), "orders_payments_unknown_oldest_seconds"))
	for status, ages := range map[payments.PaymentsStatus][]time.Duration{
		payments.PaymentsStatusREQUESTED:       {10 * time.Minute, 40 * time.Minute},
		payments.PaymentsStatusREFUNDREQUESTED: {20 * time.Minute},
		payments.PaymentsStatusAUTHORIZED:      {90 * time.Minute},
	} {
		for _, age := range ages {
			functiontest.Payment(t, db, functiontest.OrderID(), status, age)
		}
	}
	assert.Equal(t, map[string]float64{"authorize": 2, "refund": 1}, values(t, register(t, o), "orders_payments_unknown"))
	oldest := values(t, register(t, o), "orders_payments_unknown_oldest_seconds")
	assert.InDelta(t, 40*60, oldest["authorize"], 8*60)
	assert.InDelta(t, 20*60, oldest["refund"], 8*60)
}

func TestLagIsExportedByGroupAndPartition(t *testing.T) {
	cluster := kafkatest.Start(t)
	topic, letters := cluster.Prefix+"order.created", cluster.Prefix+"order.created.dlq"
	require.NoError(t, kafka.EnsureTopics(t.Context(), cluster.Brokers, []knative.Topic{{Name: topic, Partitions: 2, Replicas: 1}, {Name: letters, Partitions: 1, Replicas: 1}}))
	producer := kafka.NewProducer(cluster.Brokers, "", slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = producer.Close() })
	write := func(topic string, n int) {
		for range n {
			require.Eventually(t, func() bool {
				return producer.Write(t.Context(), []*sarama.ProducerMessage{{Topic: topic, Key: sarama.StringEncoder("one"), Value: sarama.StringEncoder("x")}})[0] == nil
			}, 20*time.Second, 50*time.Millisecond)
		}
	}
	write(topic, 3)
	write(letters, 2)
	source := knative.KafkaSource{Group: cluster.Prefix + "reserve-stock", Topic: topic}
	source.Delivery.DeadLetter = letters
	registry := register(t, gauge.Options{Brokers: cluster.Brokers, Sources: []knative.KafkaSource{source}})

	lags := values(t, registry, "orders_consumer_lag_events")
	sum := 0.0
	for labels, n := range lags {
		assert.Contains(t, labels, source.Group)
		sum += n
	}
	assert.Len(t, lags, 2)
	assert.InDelta(t, 3, sum, 0)
	assert.Equal(t, map[string]float64{letters: 2}, values(t, registry, "orders_dead_letter_records"))
	assert.Equal(t, map[string]float64{"consumers": 1}, values(t, registry, "orders_watch_up"))
}

func TestOpenLettersAreExportedForEachSourceOfTheWiring(t *testing.T) {
	created := knative.KafkaSource{Topic: "order.created", Sink: "reserve-stock"}
	canceled := knative.KafkaSource{Topic: "order.canceled", Sink: "notify"}
	open := map[gauge.Letters]int{}
	var mu sync.Mutex
	registry := register(t, gauge.Options{Sources: []knative.KafkaSource{created, canceled}, OpenLetters: func(context.Context) (map[gauge.Letters]int, error) {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(open), nil
	}})
	await := func(want map[string]float64) {
		t.Helper()
		require.Eventually(t, func() bool { return maps.Equal(want, values(t, registry, "orders_dead_letters_open")) }, time.Minute, time.Millisecond)
	}
	await(map[string]float64{"reserve-stock order.created": 0, "notify order.canceled": 0, "unknown unknown": 0})

	mu.Lock()
	open[gauge.Letters{Topic: "order.created", Consumer: "reserve-stock"}] = 7
	open[gauge.Letters{Topic: "order.created", Consumer: "forged-1"}] = 1
	open[gauge.Letters{Topic: "order.created", Consumer: "forged-2"}] = 2
	mu.Unlock()
	await(map[string]float64{"reserve-stock order.created": 7, "notify order.canceled": 0, "unknown unknown": 3})
}

func TestASourceThatCannotBeReadIsDown(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	registry := register(t, gauge.Options{Databases: map[string]*sql.DB{schema.Inventory: db}, Outboxes: []string{schema.Inventory}})
	assert.Equal(t, map[string]float64{"stock": 1, "outbox of inventory": 1}, values(t, registry, "orders_watch_up"))
	execute(t, db, "DROP TABLE inventory")
	require.Eventually(t, func() bool {
		return maps.Equal(map[string]float64{"stock": 0, "outbox of inventory": 1}, values(t, registry, "orders_watch_up"))
	}, 2*time.Minute, 20*time.Millisecond) // after a success comes a pause of twenty times its duration
	assert.Len(t, values(t, registry, "orders_stock_skus"), 3, "for a minute the last values stand")
}

func TestValuesOfASlowReadingStandUntilTheNextOneIsOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		failing := false
		_, err := gauge.Register(registry, gauge.Options{Log: slog.New(slog.DiscardHandler), OpenLetters: func(context.Context) (map[gauge.Letters]int, error) {
			if failing {
				return nil, errors.New("the broker is away")
			}
			time.Sleep(10 * time.Second)
			return nil, nil
		}})
		require.NoError(t, err)
		letters := func() int { return len(values(t, registry, "orders_dead_letters_open")) }

		begin := time.Now()
		at := func(after time.Duration) int {
			time.Sleep(after - time.Since(begin))
			return letters()
		}

		assert.Zero(t, at(0), "a scrape does not wait for a slow reading")
		assert.Equal(t, 1, at(15*time.Second))
		failing = true
		assert.Equal(t, 1, at(209*time.Second), "the pause is twenty times the duration")
		assert.Equal(t, 1, at(269*time.Second))
		assert.Zero(t, at(271*time.Second))
		assert.Zero(t, at(400*time.Second))
	})
}

func TestValuesAreReadOnceForScrapesThatFollowEachOther(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	registry := register(t, gauge.Options{Databases: map[string]*sql.DB{schema.Inventory: db}, Outboxes: []string{schema.Inventory}, Every: time.Hour})
	first := values(t, registry, "orders_stock_skus")
	execute(t, db, "INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES ('A', 5, 0, 1, NOW(6))")
	assert.Equal(t, first, values(t, registry, "orders_stock_skus"))
}

func TestTheGaugesKeepToTheConventions(t *testing.T) {
	registry := register(t, gauge.Options{Databases: map[string]*sql.DB{schema.Orders: mysqltest.Open(t, schema.Orders), schema.Inventory: mysqltest.Open(t, schema.Inventory)}, Outboxes: schema.WithOutbox})
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	assert.Empty(t, problems)
}
