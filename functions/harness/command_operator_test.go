package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// operate runs a command on the data of s and returns its output; if failure is given, the command must fail with it.
func (s stack) operate(t *testing.T, failure, command string, args ...string) string {
	t.Helper()
	p := launch(t, s.environ, append(append(strings.Fields(command), args...), "--data", s.data)...)
	<-p.ended
	if failure == "" {
		require.NoError(t, p.err, "%s: %s", command, p.log.String())
	} else {
		require.Contains(t, p.log.String(), failure)
		code := exitUsage
		switch {
		case strings.Contains(failure, " were not "), strings.Contains(failure, " was not "), strings.Contains(failure, "would refuse"), strings.Contains(failure, "has no row"):
			code = exitFinding
		case strings.Contains(failure, "no harness is running"), strings.Contains(failure, "cannot be reached"):
			code = exitUnreachable
		}
		assert.Equal(t, code, p.exitCode(t), "%s: %s", command, p.log.String())
	}
	return p.stdout.String()
}

// lines reads the JSON lines of a command.
func lines[T any](t *testing.T, text string) (all []T) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	for {
		var one T
		err := decoder.Decode(&one)
		if err == io.EOF {
			return all
		}
		require.NoError(t, err, text)
		all = append(all, one)
	}
}

// letters lists the letters that these flags select.
func (s stack) letters(t *testing.T, args ...string) []letterView {
	t.Helper()
	return lines[letterView](t, s.operate(t, "", "deadletters list --json", args...))
}

// awaitLetters waits until n letters are open and returns them.
func (p *process) awaitLetters(t *testing.T, s stack, n int) (found []letterView) {
	t.Helper()
	p.await(t, fmt.Sprintf("%d letters are open", n), func() bool {
		found = s.letters(t, "--state", "open")
		return len(found) >= n
	})
	require.Len(t, found, n)
	return found
}

// consumers is how many functions get the events of a topic.
func consumers(t *testing.T, topic string) (n int) {
	t.Helper()
	w, err := knative.Load(knative.Base())
	require.NoError(t, err)
	for _, source := range w.Sources {
		if source.Topic == topic {
			n++
		}
	}
	return n
}

// produce writes a record like a foreign producer.
func (p *process) produce(t *testing.T, s stack, topic, key, value string) {
	t.Helper()
	producer, err := sarama.NewSyncProducer(p.brokers(t, s), p.topics(t).Config())
	require.NoError(t, err)
	defer func() { assert.NoError(t, producer.Close()) }()
	_, _, err = producer.SendMessage(&sarama.ProducerMessage{Topic: s.topicPrefix() + topic, Key: sarama.StringEncoder(key), Value: sarama.StringEncoder(value)})
	require.NoError(t, err)
}

func TestForgedLetterIsShownAndNotReplayed(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t)
	p.putLetter(t, "create-order", body("SKU-123", 1))

	assert.Contains(t, s.operate(t, "", "deadletters list"), "create-order (forged)")
	assert.Contains(t, s.operate(t, "", "deadletters show"), "create-order (forged)")
	assert.True(t, s.letters(t)[0].Forged)
	p.awaitMetric(t, `orders_dead_letters_open{consumer="unknown",topic="unknown"} 1`)
	dry := s.operate(t, "", "deadletters replay --all --dry-run")
	assert.Contains(t, dry, "would not be replayed: no source of the wiring")
	assert.Contains(t, dry, "0 letters would be replayed")
	assert.Contains(t, s.operate(t, "1 letter was not replayed", "deadletters replay --all"), "forged: no source of the wiring")

	var page struct{ Orders []order }
	require.Equal(t, http.StatusOK, p.get(t, "/api/orders", &page))
	assert.Empty(t, page.Orders)
}

func TestPoisonIsSeenReplayedInVainParkedAndDiscarded(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t)
	p.produce(t, s, "order.created", "order-1", "no event at all")

	p.awaitLetters(t, s, consumers(t, "order.created"))
	const one = "--consumer=reserve-stock"
	l := s.letters(t, one)[0]

	assert.Equal(t, []any{s.topicPrefix() + "order.created.dlq", "reserve-stock", "order-1", http.StatusUnprocessableEntity, 1},
		[]any{l.Topic, l.Consumer, l.Key, l.Status, l.Attempts})
	assert.Contains(t, s.operate(t, "", "deadletters list"), "reserve-stock")
	assert.Contains(t, s.operate(t, "", "deadletters show", "--key", "order-1"), "no event at all")
	counter := fmt.Sprintf(`orders_dead_letters_total{consumer="reserve-stock",reason="poison",topic="%sorder.created"} 1`, s.topicPrefix())
	p.awaitMetric(t, counter)
	open := fmt.Sprintf(`orders_dead_letters_open{consumer="reserve-stock",topic="%sorder.created"} `, s.topicPrefix())
	p.awaitMetric(t, open+"1")

	s.operate(t, "select letters", "deadletters replay")
	s.operate(t, "[open parked discarded replayed]", "deadletters list --state lost")
	dry := s.operate(t, "", "deadletters replay --all --dry-run")
	assert.Contains(t, dry, "would be replayed to "+p.url+"/functions/reserve-stock")
	assert.Empty(t, s.show(t, one)[0].History, "a dry run does nothing")

	assert.Contains(t, s.operate(t, "1 letter was not replayed", "deadletters replay --topic order.created --park-after 2", one), "failure 1 of 2: 422")
	assert.Contains(t, s.operate(t, "1 letter was not replayed", "deadletters replay --park-after 2", one), "failed, parked")
	assert.Equal(t, "parked", s.letters(t, one)[0].State)
	p.awaitMetric(t, open+"0")
	assert.Contains(t, s.operate(t, "", "deadletters replay", one), "0 letters replayed")

	s.operate(t, "", "deadletters discard --topic order.created.dlq --reason garbage --actor carol", "--partition", fmt.Sprint(l.Partition), "--offset", strconv.FormatInt(l.Offset, 10))
	assert.Empty(t, s.letters(t, one))
	shown := s.show(t, one)[0]
	assert.Equal(t, "discarded", shown.State)
	assert.Equal(t, "no event at all", shown.Value)
	last := shown.History[len(shown.History)-1]
	assert.Equal(t, []string{"DISCARDED", "carol", "garbage"}, []string{last.Action, last.Actor, last.Detail})
	assert.Len(t, shown.History, 6)
}

// show shows the letters with these flags.
func (s stack) show(t *testing.T, args ...string) []letterView {
	t.Helper()
	return lines[letterView](t, s.operate(t, "", "deadletters show --json", args...))
}

func TestLetterOfAFaultThatWasRepairedIsReplayedAndTheOrderEndsRight(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t, "--chaos", "poison=1", "--chaos-function", "reserve-stock")
	o := p.place(t, "SKU-123", 2)
	other := p.place(t, "SKU-123", 1)
	p.awaitLetters(t, s, 2)
	assert.Equal(t, "PENDING", p.order(t, o.OrderID).Status)
	p.stop(t)
	p = s.up(t)

	assert.Contains(t, s.operate(t, "", "deadletters replay", "--order", o.OrderID), "1 letter replayed")

	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	assert.Equal(t, "PENDING", p.order(t, other.OrderID).Status, "this one was not selected")
	s.operate(t, "", "deadletters replay --all")
	p.awaitStatus(t, other.OrderID, "CONFIRMED")
	assert.Empty(t, s.letters(t))
	s.operate(t, "", "deadletters replay --all --state replayed") // by an operator who is not sure
	assert.Equal(t, level{97, 3}, p.level(t, "SKU-123"))
}

func TestCreatedAndCanceledEndRightInWhicheverOrderTheyAreReplayed(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t, "--chaos", "poison=1")
	orders := map[string][]string{} // the order of replay of each
	for _, topics := range [][]string{{"order.created", "order.canceled"}, {"order.canceled", "order.created"}, {""}} {
		o := p.place(t, "SKU-123", 2)
		require.Equal(t, http.StatusOK, p.do(t, http.MethodPost, "/api/orders/"+o.OrderID+"/cancel", nil, "", nil))
		orders[o.OrderID] = topics
	}
	p.awaitLetters(t, s, 3*(consumers(t, "order.created")+consumers(t, "order.canceled")))
	p.stop(t)
	p = s.up(t)

	for id, topics := range orders {
		for _, topic := range topics {
			s.operate(t, "", "deadletters replay", "--order", id, "--topic", topic)
		}
	}

	assert.Empty(t, s.letters(t))
	for id := range orders {
		p.awaitLog(t, "your order "+id+" is CANCELED")
		p.awaitStatus(t, id, "CANCELED")
	}
	p.await(t, "the stock is back", func() bool { return p.level(t, "SKU-123") == level{100, 0} })
}

func TestReplayNeedsFunctions(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t)
	p.produce(t, s, "order.created", "order-1", "no event at all")
	n := consumers(t, "order.created")
	p.awaitLetters(t, s, n)
	url := p.url
	p.stop(t)

	assert.Len(t, s.letters(t), n, "letters can be seen while nothing runs")
	s.operate(t, "no harness is running", "deadletters replay --all")
	s.operate(t, "cannot be reached", "deadletters replay --all --functions-url", url+"/functions/{consumer}")
	s.operate(t, "with {consumer}", "deadletters replay --all --functions-url", url)
	l := s.letters(t)[0]
	assert.Equal(t, []any{"open", 0}, []any{l.State, l.Failures})
}

// park adds a fact about an order of alice@example.com to the outbox of orders, as if a broker had refused it.
func (s stack) park(t *testing.T) (orderID string, row int64) {
	t.Helper()
	run, err := readRun(s.data)
	require.NoError(t, err)
	config := map[string]string{"MYSQL_DSN": run.DSN}
	for _, pair := range s.environ {
		name, value, _ := strings.Cut(pair, "=")
		config[name] = value
	}
	server, _, err := base.Server(config)
	require.NoError(t, err)
	db, err := server.Open(schema.Orders, 1)
	require.NoError(t, err)
	defer func() { assert.NoError(t, db.Close()) }()
	data := events.OrderConfirmed{OrderID: functiontest.OrderID(), CustomerEmail: "alice@example.com", TotalAmount: 1299, CreatedAt: time.Now()}
	require.NoError(t, transaction.Once(t.Context(), db, func(ctx context.Context, tx *transaction.Tx) error {
		_, stored := outbox.Append(ctx, tx, time.Now(), []event.Event{functiontest.Event(t, data, 2)})
		_, err := tx.ExecContext(ctx, "UPDATE outbox SET status = 'ERROR', attempts = 10, last_error = 'too large for the broker' WHERE aggregate_id = ?", data.OrderID)
		return errors.Join(stored, err, tx.QueryRowContext(ctx, "SELECT id FROM outbox WHERE aggregate_id = ?", data.OrderID).Scan(&row))
	}))
	return data.OrderID, row
}

func TestParkedOutboxRowsAreRequeuedOrDiscarded(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t)
	first, firstRow := s.park(t)
	second, secondRow := s.park(t)
	rows := func(args ...string) []rowView {
		return lines[rowView](t, s.operate(t, "", "outbox list --json", args...))
	}
	parked := rows("--state", "parked")
	require.Len(t, parked, 2)
	assert.Equal(t, []any{"orders", firstRow, first, "order.confirmed", 10, "too large for the broker"},
		[]any{parked[0].Schema, parked[0].ID, parked[0].AggregateID, parked[0].Type, parked[0].Attempts, parked[0].LastError})
	assert.Contains(t, s.operate(t, "", "outbox list"), "too large for the broker")
	s.operate(t, "select rows", "outbox requeue")
	s.operate(t, "give --schema too", "outbox requeue --id", strconv.FormatInt(firstRow, 10))
	s.operate(t, "which have an outbox", "outbox list --schema notifications")
	s.operate(t, "[new waiting parked sent discarded]", "outbox list --state lost")
	assert.Contains(t, s.operate(t, "", "outbox requeue --all --dry-run"), "2 rows to be requeued")
	assert.Len(t, rows("--state", "parked"), 2)

	s.operate(t, "", "outbox discard --schema orders --reason useless --id", strconv.FormatInt(firstRow, 10))
	s.operate(t, "1 row was not discarded", "outbox discard --schema orders --id", strconv.FormatInt(firstRow, 10))
	assert.Contains(t, s.operate(t, "", "outbox requeue --all"), fmt.Sprintf("orders %d: requeued", secondRow))

	given := s.operate(t, "", "outbox show --schema orders --id", strconv.FormatInt(firstRow, 10))
	assert.Contains(t, given, "refused    10 attempts, the last error was: too large for the broker")
	assert.Contains(t, given, `"orderId":"`+first)
	assert.Regexp(t, `action .* DISCARD by .*: done, useless\n.*action .* DISCARD by .*is discarded`, given)
	both := lines[fullRowView](t, s.operate(t, "", "outbox show --json --schema orders --id", fmt.Sprintf("%d,%d", firstRow, secondRow)))
	require.Len(t, both, 2)
	assert.Equal(t, []any{secondRow, second, "REQUEUE", "done"}, []any{both[1].ID, both[1].AggregateID, both[1].Actions[0].Action, both[1].Actions[0].Outcome})
	s.operate(t, "by --schema and --id", "outbox show --id 1")
	s.operate(t, "orders has no row 999999", "outbox show --schema orders --id 999999")

	p.awaitLog(t, "your order "+second+" is CONFIRMED")
	assert.NotContains(t, p.log.String(), first)
	discarded := rows("--state", "discarded")
	require.Len(t, discarded, 1)
	assert.Equal(t, firstRow, discarded[0].ID)
	there := func(id int64) bool {
		return slices.ContainsFunc(rows("--state", "sent,discarded"), func(r rowView) bool { return r.Schema == "orders" && r.ID == id })
	}
	p.await(t, "the other is marked as sent", func() bool { return there(secondRow) })

	s.operate(t, "--older-than", "outbox purge")
	assert.Regexp(t, `orders: [1-9]\d* rows? would be deleted`, s.operate(t, "", "outbox purge --older-than 1ms --dry-run --schema orders"))
	assert.Regexp(t, `orders: [1-9]\d* rows? deleted`, s.operate(t, "", "outbox purge --older-than 1ms"))
	assert.False(t, there(secondRow))
	assert.True(t, there(firstRow), "what was given up stays")
}
