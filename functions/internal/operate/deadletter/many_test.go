package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
)

// putMany writes n letters of as many orders.
func (b *bench) putMany(t *testing.T, n int) {
	t.Helper()
	var letters []*sarama.ProducerMessage
	for i := range n {
		order := fmt.Sprintf("order-%d", i)
		letters = append(letters, b.ofHarness(order, i, attributes(order, 1)))
	}
	require.Equal(t, make([]error, n), b.producer.Write(t.Context(), letters))
}

// TestReplayOfManyLettersReadsOnceAndWritesInBatches counts what a replay costs: one read of the partition, and five
// statements for 32 letters.
func TestReplayOfManyLettersReadsOnceAndWritesInBatches(t *testing.T) {
	b, c := newBench(t), newConsumers(t)
	const n = 320
	b.putMany(t, n)
	letters := b.selected(t, deadletter.Selector{})
	require.Len(t, letters, n)
	assert.EqualValues(t, 1, b.reads.reads.Load(), "reads to find them")
	counted := mysqltest.Pool(t, b.server, schema.Operations)
	var o outcomes
	r := b.replay(c, &o)

	statements := mysqltest.Statements(t, counted, func() {
		var err error
		r.Journal, err = deadletter.OpenJournal(t.Context(), counted, "alice")
		require.NoError(t, err)
		require.NoError(t, r.Run(t.Context(), letters))
		require.NoError(t, r.Journal.Close())
	})

	assert.EqualValues(t, 2, b.reads.reads.Load(), "one more, to load them")
	assert.LessOrEqual(t, statements, 2*5*n/32+10, "each may be prepared first")
	assert.Len(t, o, n)
	assert.Len(t, c.ids(), n)
	for _, l := range b.find(t, deadletter.Selector{}) {
		assert.Equal(t, deadletter.Replayed, l.State)
		assert.Len(t, l.History, 2, "it is recorded before its delivery and after it")
	}
}

func TestParkingManyLettersTakesFewStatements(t *testing.T) {
	b := newBench(t)
	const n = 300
	b.putMany(t, n)
	letters := b.selected(t, deadletter.Selector{})
	counted := mysqltest.Pool(t, b.server, schema.Operations)
	var o outcomes

	statements := mysqltest.Statements(t, counted, func() {
		j, err := deadletter.OpenJournal(t.Context(), counted, "alice")
		require.NoError(t, err)
		require.NoError(t, j.Park(t.Context(), letters, "wait", o.report))
		require.NoError(t, j.Close())
	})

	assert.Len(t, o, n)
	assert.LessOrEqual(t, statements, 2*4*n/100+10)
	assert.Len(t, b.selected(t, deadletter.Selector{States: []deadletter.State{deadletter.Parked}}), n)
}

func TestLettersOfDifferentKeysAreReplayedAtTheSameTime(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	b.putMany(t, 8)
	var entered sync.WaitGroup
	entered.Add(8)
	c.answer = func(http.ResponseWriter, string) { entered.Done(); entered.Wait() }

	assert.Len(t, b.run(t, c), 8)
}

func TestAStoppedReplayStartsNothingElseAndRecordsWhatItHasSent(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	b.putMany(t, 100)
	ctx, stop := context.WithCancel(t.Context())
	var calls atomic.Int32
	c.answer = func(http.ResponseWriter, string) {
		if calls.Add(1) == 10 {
			stop()
		}
	}
	var o outcomes

	require.ErrorIs(t, b.replay(c, &o).Run(ctx, b.selected(t, deadletter.Selector{})), context.Canceled)

	assert.Len(t, o, 32, "those that were under way are reported")
	assert.EqualValues(t, 32, calls.Load())
	assert.Len(t, b.selected(t, deadletter.Selector{States: []deadletter.State{deadletter.Replayed}}), 32)
	for _, l := range b.find(t, deadletter.Selector{States: []deadletter.State{deadletter.Open}}) {
		assert.Empty(t, l.History)
	}
	assert.Len(t, b.run(t, c), 100, "their keys are free")
}

func TestManyLettersOfAKeyKeepTheirOrder(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	var want []string
	for i := range 1100 { // more than are loaded at a time
		want = append(want, fmt.Sprintf("order-1#%d", i+1))
	}
	var letters []*sarama.ProducerMessage
	for i := range want {
		letters = append(letters, b.ofHarness("order-1", i, attributes("order-1", len(want)-i)))
	}
	require.Equal(t, make([]error, len(letters)), b.producer.Write(t.Context(), letters))

	b.run(t, c)

	assert.Equal(t, want, c.ids())
}

func TestALetterThatItsTopicNoLongerKeepsIsReported(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	b.put(t, b.ofHarness("order-1", 1, attributes("order-1", 1)))
	removed := b.selected(t, deadletter.Selector{})[0]
	removed.Offset = 7
	recreated := b.selected(t, deadletter.Selector{})[0]
	recreated.Key, recreated.EventID = "order-2", "order-2#1"
	var o outcomes

	require.NoError(t, b.replay(c, &o).Run(t.Context(), []deadletter.Summary{removed, recreated}))

	assert.ElementsMatch(t, []string{"gone order-1#1", "gone order-2#1"}, o)
	assert.Empty(t, c.ids())
}

func TestADeliveryWhoseResultCannotBeRecordedIsUnclear(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	b.putMany(t, 3)
	c.answer = func(http.ResponseWriter, string) {
		// Nothing more can be written to the journal.
		_, _ = b.db.ExecContext(t.Context(), "RENAME TABLE dead_letter_actions TO moved") // the first one does it
	}
	var o outcomes
	r := b.replay(c, &o)

	require.Error(t, r.Run(t.Context(), b.selected(t, deadletter.Selector{})))

	assert.ElementsMatch(t, []string{"unclear order-0#1", "unclear order-1#1", "unclear order-2#1"}, o)
	_, err := b.db.ExecContext(t.Context(), "RENAME TABLE moved TO dead_letter_actions")
	require.NoError(t, err)
	assert.Len(t, b.selected(t, deadletter.Selector{States: []deadletter.State{deadletter.Open}}), 3)
}

func TestWhatIsUnreachableDoesNotHideWhatWasDelivered(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	b.putMany(t, 5)
	c.answer = func(w http.ResponseWriter, id string) {
		if id == "order-3#1" {
			w.WriteHeader(http.StatusBadGateway)
		}
	}
	var o outcomes

	err := b.replay(c, &o).Run(t.Context(), b.selected(t, deadletter.Selector{}))

	require.ErrorIs(t, err, deadletter.ErrUnreachable)
	assert.ElementsMatch(t, []string{"done order-0#1", "done order-1#1", "done order-2#1", "done order-4#1"}, o)
	l := b.find(t, deadletter.Selector{Key: "order-3"})[0]
	assert.Equal(t, deadletter.Open, l.State)
	assert.Zero(t, l.Failures)
}

func TestPatternsTellErrorsApartButNotTheirIds(t *testing.T) {
	for name, c := range map[string]struct{ one, other string }{
		"UUIDs":             {"order 01a2131d-19f5-73f3-957a-f504bf20da07 is unknown", "order 01a2131d-0000-73f3-957a-f504bf20da07 is unknown"},
		"numbers":           {"503: 12 of 40 units", "503: 3 of 7 units"},
		"addresses":         {"dial tcp 10.0.0.1:3306: refused", "dial tcp 10.2.11.7:3306: refused"},
		"e-mail addresses":  {"alice@example.com bounced", "bob.c@mail.example.org bounced"},
		"hashes":            {"blob 9f86d081884c7d65 is missing", "blob 60303ae22b998861 is missing"},
		"line breaks":       {"broken\nhere", "broken here"},
		"times":             {"late since 2026-11-29T04:30:00.123Z", "late since 2026-11-28T14:03:59.5Z"},
		"ids with a number": {"order-1#1 is bad", "order-77#12 is bad"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, deadletter.Pattern(c.one), deadletter.Pattern(c.other)) })
	}
	assert.NotEqual(t, deadletter.Pattern("422: malformed"), deadletter.Pattern("422: unknown version"))
	assert.NotEqual(t, deadletter.Pattern("422: late"), deadletter.Pattern("503: late"))
	assert.Equal(t, "422: deadbeef is a word", deadletter.Pattern("422: deadbeef is a word"))
	assert.LessOrEqual(t, len(deadletter.Pattern(strings.Repeat("x", 10_000))), 200)
}

var errAway = errors.New("the broker is away")
