package personal

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// topics is a Reader of records in memory, all in partition 0.
type topics struct {
	records   map[string][]*sarama.ConsumerMessage
	committed map[string]int64 // by group
}

func (k topics) Spans(topic string) ([]kafka.Span, error) {
	if k.records[topic] == nil {
		return nil, sarama.ErrUnknownTopicOrPartition
	}
	return []kafka.Span{{Topic: topic, To: int64(len(k.records[topic]))}}, nil
}

func (k topics) Read(_ context.Context, span kafka.Span, visit func(*sarama.ConsumerMessage) error) error {
	for _, m := range k.records[span.Topic][span.From:span.To] {
		if err := visit(m); err != nil {
			return err
		}
	}
	return nil
}

func (k topics) Committed(group, _ string) (map[int32]int64, error) {
	return map[int32]int64{0: k.committed[group]}, nil
}

func (k topics) add(topic, key, value string) {
	k.records[topic] = append(k.records[topic], &sarama.ConsumerMessage{
		Topic: topic, Key: []byte(key), Value: []byte(value), Offset: int64(len(k.records[topic])), Timestamp: noon,
	})
}

// newDesk returns a desk with new schemas and without records.
func newDesk(t *testing.T) (Desk, topics, schema.Server) {
	t.Helper()
	server := mysqltest.Server(t)
	wiring, err := knative.Configured(map[string]string{knative.OverlayVariable: "payment"})
	require.NoError(t, err)
	records := topics{map[string][]*sarama.ConsumerMessage{}, map[string]int64{}}
	desk := Desk{DB: map[string]*sql.DB{}, Reader: records, Wiring: wiring, Actor: "an operator"}
	for _, name := range schema.All {
		desk.DB[name] = mysqltest.Pool(t, server, name)
	}
	return desk, records, server
}

// personalTables counts the tables that may tell about a customer.
func personalTables() (n int) {
	for _, name := range schema.All {
		for _, table := range tables[name] {
			if len(table.personal()) > 0 || table.hash() != "" {
				n++
			}
		}
	}
	return n
}

func TestNothingIsLeftOfACustomerInAnyColumn(t *testing.T) {
	for name, person := range map[string]Person{
		"by the address": {Email: marker}, "by the address in capital letters": {Email: strings.ToUpper(marker)}, "by the owner": {Owner: subject},
	} {
		t.Run(name, func(t *testing.T) {
			desk, _, server := newDesk(t)
			fill(t, server, desk.DB)
			before := dump(t, desk.DB)
			require.GreaterOrEqual(t, len(marked(before)), personalTables(), "each of these tables has the marker: %v", marked(before))

			found, err := desk.Find(t.Context(), person)
			require.NoError(t, err)
			assert.Equal(t, []string{orderID}, found.Orders)
			assert.Empty(t, found.UnderWay)
			assert.Len(t, found.Rows, personalTables())
			assert.Equal(t, before, dump(t, desk.DB), "looking changes nothing")

			changed, err := desk.Forget(t.Context(), person, found, "asked for by "+marker+", "+subject)
			require.NoError(t, err)
			assert.Equal(t, found.Rows, changed, "what was announced is what was done")
			assert.Empty(t, marked(dump(t, desk.DB)))
			assert.Equal(t, []string{events.Forgotten + " | NULL | CONFIRMED | 1"},
				mysqltest.Rows(t, desk.DB[schema.Orders], "SELECT customer_email, owner, status, total_amount FROM orders"), "the order stays")

			again, err := desk.Find(t.Context(), person)
			require.NoError(t, err)
			assert.Empty(t, again.Orders)
			assert.Empty(t, again.Rows)
		})
	}
}

func TestForgettingIsRecordedWithoutTheAddress(t *testing.T) {
	desk, _, server := newDesk(t)
	fill(t, server, desk.DB)
	person := Person{Email: marker}
	found, err := desk.Find(t.Context(), person)
	require.NoError(t, err)
	changed, err := desk.Forget(t.Context(), person, found, "a letter of "+marker)
	require.NoError(t, err)
	total := 0
	for _, n := range changed {
		total += n
	}
	assert.Equal(t, []string{fmt.Sprintf("EMAIL | 1 | a letter of … | an operator | %d rows changed", total)},
		mysqltest.Rows(t, desk.DB[schema.Operations], "SELECT known, orders, detail, actor, outcome FROM forget_actions ORDER BY id DESC LIMIT 1"))
}

func TestNothingOfOtherCustomersIsTouched(t *testing.T) {
	desk, records, server := newDesk(t)
	fill(t, server, desk.DB)
	records.add("order.created", "another order", "alice@example.com")
	before := dump(t, desk.DB)
	// The collation of the column takes the last one for equal to the marker.
	for _, email := range []string{"alice@example.com", "x" + marker, marker + ".org", strings.Replace(marker, "ë", "e", 1)} {
		found, err := desk.Find(t.Context(), Person{Email: email})
		require.NoError(t, err)
		assert.Empty(t, found.Orders, email)
		if email == "x"+marker || email == marker+".org" {
			assert.Empty(t, found.Rows, email)
			assert.Empty(t, found.Topics, email)
		}
	}
	assert.Equal(t, before, dump(t, desk.DB))
}

func TestAnInterruptedRunIsFinishedByTheNext(t *testing.T) {
	desk, _, server := newDesk(t)
	fill(t, server, desk.DB)
	person := Person{Email: marker}
	found, err := desk.Find(t.Context(), person)
	require.NoError(t, err)
	_, err = desk.DB[schema.Notifications].ExecContext(t.Context(), "RENAME TABLE notifications TO hidden")
	require.NoError(t, err)
	_, err = desk.Forget(t.Context(), person, found, "")
	require.ErrorContains(t, err, "notifications")
	assert.Equal(t, 1, mysqltest.Count(t, desk.DB[schema.Operations], "SELECT COUNT(*) FROM forget_actions WHERE outcome LIKE '%then it failed'"))
	_, err = desk.DB[schema.Notifications].ExecContext(t.Context(), "RENAME TABLE hidden TO notifications")
	require.NoError(t, err)

	found, err = desk.Find(t.Context(), person)
	require.NoError(t, err)
	assert.Equal(t, []string{orderID}, found.Orders, "orders are changed last, so they are found again")
	_, err = desk.Forget(t.Context(), person, found, "")
	require.NoError(t, err)
	assert.Empty(t, marked(dump(t, desk.DB)))
}

func TestOrdersUnderWayAreNotForgotten(t *testing.T) {
	for name, c := range map[string]struct {
		schema, statement string
		records           func(topics)
		says              string
	}{
		"a pending order":         {schema: schema.Orders, statement: "UPDATE orders SET status = 'PENDING'", says: "it is PENDING"},
		"an unsent event":         {schema: schema.Orders, statement: "UPDATE outbox SET status = 'NEW'", says: "is not sent"},
		"a parked event":          {schema: schema.Inventory, statement: "UPDATE outbox SET status = 'ERROR'", says: "harness outbox list"},
		"a payment":               {schema: schema.Payments, statement: "UPDATE payments SET status = 'REQUESTED'", says: "its payment is REQUESTED"},
		"a refund":                {schema: schema.Payments, statement: "UPDATE payments SET status = 'REFUND_REQUESTED'", says: "its payment is REFUND_REQUESTED"},
		"an event in its topic":   {records: func(k topics) { k.add("order.confirmed", orderID, "{}") }, says: "notify has not handled order.confirmed/0/0"},
		"a letter to be replayed": {records: func(k topics) { k.add("order.confirmed.dlq", orderID, "{}") }, says: "harness deadletters discard --order " + orderID},
	} {
		t.Run(name, func(t *testing.T) {
			desk, records, server := newDesk(t)
			fill(t, server, desk.DB)
			if c.schema != "" {
				_, err := desk.DB[c.schema].ExecContext(t.Context(), c.statement)
				require.NoError(t, err)
			}
			if c.records != nil {
				c.records(records)
			}
			person, before := Person{Email: marker}, dump(t, desk.DB)

			found, err := desk.Find(t.Context(), person)
			require.NoError(t, err)
			require.Len(t, found.UnderWay, 1)
			assert.Contains(t, found.UnderWay[0], "order "+orderID)
			assert.Contains(t, found.UnderWay[0], c.says)
			_, err = desk.Forget(t.Context(), person, found, "")
			require.ErrorIs(t, err, ErrUnderWay)
			assert.Equal(t, before, dump(t, desk.DB))
		})
	}
}

func TestTopicsSayUntilWhenTheyKeepACustomer(t *testing.T) {
	desk, records, server := newDesk(t)
	fill(t, server, desk.DB)
	const day = 24 * time.Hour
	records.add("order.created", "another order", `{"customerEmail":"alice@example.com"}`)
	records.add("order.created", orderID, `{"customerEmail":"`+marker+`"}`)
	records.add("order.canceled", "an order that is forgotten already", `{"customerEmail":"`+marker+`"}`)
	records.add("inventory.reserved", orderID, "{}")
	for _, source := range desk.Wiring.Sources {
		records.committed[source.Group] = 10
	}
	want := []Topic{{"inventory.reserved", 1, noon, noon.Add(14*day + 5*time.Minute)},
		{"order.canceled", 1, noon, noon.Add(14*day + 5*time.Minute)}, {"order.created", 1, noon, noon.Add(14*day + 5*time.Minute)}}

	found, err := desk.Find(t.Context(), Person{Email: marker})
	require.NoError(t, err)
	assert.Empty(t, found.UnderWay)
	assert.ElementsMatch(t, want, found.Topics)
}

func TestRowsAreReadInSlices(t *testing.T) {
	desk, _, _ := newDesk(t)
	db := desk.DB[schema.Operations]
	const rows = 2*slice + 1
	for from := 0; from < rows; from += 1000 {
		values := strings.Repeat(", ('EMAIL', 1, '', '', NOW(6))", min(1000, rows-from))[2:]
		_, err := db.ExecContext(t.Context(), "INSERT INTO forget_actions (known, orders, detail, actor, at) VALUES "+values)
		require.NoError(t, err)
	}
	seen := map[string]bool{}
	n := slices.IndexFunc(tables[schema.Operations], func(t table) bool { return t.name == "forget_actions" })
	require.NoError(t, tables[schema.Operations][n].walk(t.Context(), db, search{}, func(r row) error {
		seen[*r.key[0].(*string)] = true
		return nil
	}))
	assert.Len(t, slices.Collect(maps.Keys(seen)), rows)
}
