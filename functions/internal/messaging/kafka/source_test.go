package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/testkit/kafkatest"
)

var errBroken = errors.New("broken")

func TestSourceDeliversRecordsFromBeforeItsFirstStart(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 3)
	publish(t, newProducer(t, c), fact("1", "a", "one"), fact("2", "b", "two"))
	p := newProbe(nil)
	o := options(t, c, name, p)
	o.Spec.Extensions = map[string]string{"consumer": "reserve-stock", "stage": "test"}
	r := start(t, o)

	p.awaitHandled(t, "1", "2")
	r.awaitJoined(t) // which takes the partition without records too

	first := p.events[slices.Index(p.begun, "1")]
	assert.Equal(t, "one", string(first.Data()))
	assert.Equal(t, "order.created", first.Type())
	assert.Equal(t, "reserve-stock", first.Extensions()["consumer"], "ceOverrides")
	assert.Equal(t, "test", first.Extensions()["stage"])
	assert.Equal(t, "0", first.Extensions()["knativekafkaoffset"])
	r.stop(t)
	assert.False(t, r.source.Joined())
}

func TestSourceContinuesAtItsCommittedOffset(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	producer := newProducer(t, c)
	publish(t, producer, fact("1", "a", "x"))
	p := newProbe(nil)
	o := options(t, c, name, p)
	r := start(t, o)
	p.awaitHandled(t, "1")
	r.stop(t)
	assert.EqualValues(t, 1, committed(t, c, o))
	publish(t, producer, fact("2", "a", "x"))

	start(t, o)

	p.awaitHandled(t, "2")
	assert.Equal(t, []string{"1", "2"}, p.deliveries())
}

func TestSourceCommitsWhileItWaitsForRecords(t *testing.T) {
	c := kafkatest.Fake(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), fact("1", "a", "x"))
	committed := make(chan struct{}, 1)
	c.Fake.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake.KeepControl()
		select {
		case committed <- struct{}{}:
		default: // the first one counts
		}
		return nil, nil, false
	})
	early, polled := make(chan bool, 1), false
	c.Fake.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake.KeepControl()
		if request.(*kmsg.FetchRequest).Topics[0].Partitions[0].FetchOffset == 0 || polled {
			return nil, nil, false
		}
		polled = true
		c.Fake.SleepControl(func() { // a long poll, which ends before the client gives it up
			select {
			case <-committed:
				early <- true
			case <-time.After(5 * time.Second):
				early <- false
			}
		})
		return nil, nil, false
	})
	p := newProbe(nil)
	start(t, options(t, c, name, p))
	p.awaitHandled(t, "1")
	assert.True(t, <-early, "the commit waited for the poll")
}

func TestSourceTriesAgainOrSetsAsideByTheAnswer(t *testing.T) {
	const once = 300 * time.Millisecond
	answers := map[string]struct {
		answer  func(context.Context) error
		retried bool
	}{
		"404": {status(http.StatusNotFound), true}, "408": {status(http.StatusRequestTimeout), true},
		"409": {status(http.StatusConflict), true}, "429": {status(http.StatusTooManyRequests), true},
		"500": {status(http.StatusInternalServerError), true}, "503": {status(http.StatusServiceUnavailable), true},
		"plain error": {func(context.Context) error { return errBroken }, true},
		"retryable":   {func(context.Context) error { return delivery.Result(errBroken) }, true},
		"panic":       {func(context.Context) error { panic("boom") }, true},
		"timeout":     {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, true},
		"301":         {status(http.StatusMovedPermanently), false}, "400": {status(http.StatusBadRequest), false},
		"422": {status(http.StatusUnprocessableEntity), false}, "425": {status(http.StatusTooEarly), false},
		"poison": {func(context.Context) error { return delivery.Result(delivery.Poison(errBroken)) }, false},
	}
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	p := newProbe(func(ctx context.Context, e event.Event, attempt int) error {
		if attempt > 1 {
			return nil
		}
		return answers[e.ID()].answer(ctx)
	})
	o := options(t, c, name, p)
	o.Spec.Delivery.Timeout = once
	var batch []event.Event
	setAside, retried := []string{}, []string{}
	for id, a := range answers {
		batch = append(batch, fact(id, id, "x"))
		if a.retried {
			retried = append(retried, id)
		} else {
			setAside = append(setAside, id)
		}
	}
	publish(t, newProducer(t, c), batch...)

	r := start(t, o)

	p.awaitHandled(t, retried...)
	letters := []string{}
	for _, letter := range c.Records(t, name+".dlq", len(setAside)) {
		letters = append(letters, header(letter, "ce_id"))
	}
	assert.ElementsMatch(t, setAside, letters)
	r.stop(t)
	assert.EqualValues(t, len(answers), committed(t, c, o))
	for id, a := range answers {
		want := 1
		if a.retried {
			want = 2
		}
		assert.Equal(t, want, p.attempts[id], id)
	}
	assert.EqualValues(t, len(setAside), size(t, c, name+".dlq"))
}

func status(code int) func(context.Context) error {
	return func(context.Context) error { return cehttp.NewResult(code, "%w", errBroken) }
}

func TestSourceAttemptsOnceMoreThanItsRetries(t *testing.T) {
	for name, backoff := range map[string]struct {
		exponential bool
		waits       []time.Duration
	}{
		"exponential": {true, []time.Duration{40 * time.Millisecond, 80 * time.Millisecond, 160 * time.Millisecond}},
		"linear":      {false, []time.Duration{20 * time.Millisecond, 40 * time.Millisecond, 60 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			c := kafkatest.Start(t)
			name := topic(t, c, "order.created", 1)
			publish(t, newProducer(t, c), fact("1", "a", "x"))
			p := newProbe(func(context.Context, event.Event, int) error { return errBroken })
			o := options(t, c, name, p)
			o.Spec.Delivery.Retry, o.Spec.Delivery.Exponential, o.Spec.Delivery.Delay = 3, backoff.exponential, 20*time.Millisecond
			start(t, o)

			letter := c.Records(t, name+".dlq", 1)[0]

			assert.Equal(t, "4", header(letter, "ce_deadletterattempts"))
			require.Equal(t, []string{"1", "1", "1", "1"}, p.deliveries())
			for i, wait := range backoff.waits {
				assert.GreaterOrEqual(t, p.at[i+1].Sub(p.at[i]), wait, "wait %d", i+1)
			}
		})
	}
}

func TestSourceSpendsNoAttemptWhileTheFunctionCannotWork(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), fact("1", "a", "x"))
	var ready atomic.Bool
	p := newProbe(func(context.Context, event.Event, int) error {
		if !ready.Load() {
			return errBroken
		}
		return nil
	})
	o := options(t, c, name, p)
	o.Spec.Delivery.Retry = 0 // the first attempt is the last
	asked := make(chan struct{}, 1000)
	o.Ready = func(context.Context) bool { asked <- struct{}{}; return ready.Load() }
	r := start(t, o)
	for range 4 {
		<-asked
	}
	ready.Store(true)

	p.awaitHandled(t, "1")
	r.stop(t)
	assert.EqualValues(t, 1, committed(t, c, o))
	assert.Zero(t, size(t, c, name+".dlq"))
}

func TestSourceKeepsTheOrderOfAKeyWhileOthersOvertake(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), fact("a1", "a", "x"), fact("a2", "a", "x"), fact("b1", "b", "x"), fact("a3", "a", "x"), fact("b2", "b", "x"), fact("n", "", "x"))
	slow := newHold("a1")
	p := newProbe(slow.handle)
	start(t, options(t, c, name, p))

	p.awaitHandled(t, "b1", "b2", "n")
	assert.NotContains(t, p.deliveries(), "a2", "it waits behind a1")
	close(slow.letGo)

	p.awaitHandled(t, "a1", "a2", "a3")
	assert.Equal(t, []string{"a1", "a2", "a3"}, of(p.deliveries(), "a"))
	assert.Equal(t, []string{"b1", "b2"}, of(p.deliveries(), "b"))
}

// of returns the ids that begin with a key.
func of(ids []string, key string) (some []string) {
	for _, id := range ids {
		if strings.HasPrefix(id, key) {
			some = append(some, id)
		}
	}
	return some
}

func TestSourceGivesItsPlaceUpBetweenAttempts(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), fact("a1", "a", "x"), fact("b1", "b", "x"), fact("c1", "c", "x"))
	p := newProbe(func(_ context.Context, e event.Event, _ int) error {
		if e.ID() == "a1" {
			return errBroken
		}
		return nil
	})
	o := options(t, c, name, p)
	o.Spec.Consumers, o.Spec.Delivery.Delay = 1, time.Hour
	r := start(t, o)

	p.awaitBegun(t, "a1")
	p.awaitHandled(t, "b1", "c1")
	r.stop(t) // and the wait of an hour blocks nothing
	assert.Equal(t, 1, p.attempts["a1"])
	assert.Contains(t, []int64{-1, 0}, committed(t, c, o))
}

func TestSourceBlocksThePartitionWhenOrdered(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), fact("a1", "a", "x"), fact("b1", "b", "x"), fact("n", "", "x"))
	p := newProbe(func(_ context.Context, e event.Event, attempt int) error {
		if e.ID() == "a1" && attempt < 3 {
			return errBroken
		}
		return nil
	})
	o := options(t, c, name, p)
	o.Spec.Ordered, o.Spec.Delivery.Delay = true, 20*time.Millisecond
	start(t, o)

	p.awaitHandled(t, "a1", "b1", "n")
	assert.Equal(t, []string{"a1", "a1", "a1", "b1", "n"}, p.deliveries())
	assert.Equal(t, 1, p.most)
}

func TestSourceCommitsTheLowestUnfinishedOffset(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), fact("a", "a", "x"), fact("slow", "s", "x"), fact("b", "b", "x"), fact("behind", "s", "x"))
	slow := newHold("slow")
	p := newProbe(slow.handle)
	o := options(t, c, name, p)
	o.Drain = 0
	r := start(t, o)
	p.awaitBegun(t, "slow")
	p.awaitHandled(t, "a", "b")
	r.stop(t)
	require.EqualValues(t, 1, committed(t, c, o), "b is finished, but slow before it is not")

	again := newProbe(nil)
	o.Deliver = again.deliver
	r = start(t, o)
	again.awaitHandled(t, "slow", "b", "behind")
	r.stop(t)
	assert.NotContains(t, again.deliveries(), "a")
	assert.Equal(t, 1, again.attempts["slow"])
	assert.EqualValues(t, 4, committed(t, c, o))
}

func TestSourceHandlesAnyNumberBesideASlowRecord(t *testing.T) {
	const all = 3000
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	batch := []event.Event{fact("slow", "slow", "x")}
	for i := len(batch); i < all; i++ {
		batch = append(batch, fact(strconv.Itoa(i), fmt.Sprintf("key-%d", i), "x"))
	}
	publish(t, newProducer(t, c), batch...)
	slow := newHold("slow")
	p := newProbe(slow.handle)
	start(t, options(t, c, name, p))

	p.awaitBegun(t, "slow")
	p.await(t, "all others are handled", func() bool { return len(p.handled) == all-1 })
	close(slow.letGo)

	p.awaitHandled(t, "slow")
	assert.LessOrEqual(t, p.most, 4, "consumers")
}

func TestSourceDrainsAttemptsInFlightAndLeavesTheRest(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), fact("a1", "a", "x"), fact("a2", "a", "x"), fact("b1", "b", "x"))
	slow := newHold("a1")
	p := newProbe(slow.handle)
	o := options(t, c, name, p)
	o.Spec.Ordered, o.Drain = true, patience
	r := start(t, o)
	p.awaitBegun(t, "a1")

	r.cancel()
	close(slow.letGo)
	r.awaitEnd(t)

	assert.Equal(t, []string{"a1"}, p.handled)
	assert.Equal(t, []string{"a1"}, p.deliveries())
	assert.EqualValues(t, 1, committed(t, c, o))
	start(t, o)
	p.awaitHandled(t, "a2", "b1")
	assert.Equal(t, 1, p.attempts["a1"])
}

func TestSourceEndsAttemptsAfterTheGrace(t *testing.T) {
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 1)
	publish(t, newProducer(t, c), fact("stuck", "a", "x"))
	stuck := newHold("stuck")
	p := newProbe(stuck.handle)
	o := options(t, c, name, p)
	o.Drain = 50 * time.Millisecond
	r := start(t, o)
	p.awaitBegun(t, "stuck")
	r.stop(t)
	assert.Empty(t, p.handled)
	assert.Zero(t, size(t, c, name+".dlq"), "the shutdown is not the event's fault")

	close(stuck.letGo)
	start(t, o)
	p.awaitHandled(t, "stuck")
}

func TestSourceLosesNothingWhenMembersComeAndGo(t *testing.T) {
	t.Parallel()
	c := kafkatest.Start(t)
	name := topic(t, c, "order.created", 4)
	producer := newProducer(t, c)
	p := newProbe(nil)
	members := make([]*run, 3)
	received := make([]atomic.Int64, len(members))
	join := func(i int) {
		o := options(t, c, name, p)
		o.Deliver = func(ctx context.Context, e event.Event) error {
			received[i].Add(1)
			return p.deliver(ctx, e)
		}
		members[i] = start(t, o)
	}
	published := 0
	// load publishes until done, not far ahead of the members.
	load := func(what string, done func() bool) {
		deadline := time.Now().Add(patience)
		for !done() {
			require.True(t, time.Now().Before(deadline), what)
			var batch []event.Event
			for range 20 {
				batch = append(batch, fact(strconv.Itoa(published), fmt.Sprintf("key-%d", published%50), "x"))
				published++
			}
			publish(t, producer, batch...)
			p.await(t, what, func() bool { return len(p.attempts) > published-200 || done() })
		}
	}
	fresh := func(i int) func() bool {
		before := received[i].Load()
		return func() bool { return received[i].Load() > before }
	}
	join(0)
	load("the first works", fresh(0))
	join(1)
	load("the second works", fresh(1))
	join(2)
	load("the third works", fresh(2))
	members[0].stop(t)
	load("the second works on", fresh(1))
	members[1].stop(t)
	load("the third works on", fresh(2))

	p.await(t, "all are handled", func() bool {
		seen := map[string]bool{}
		for _, id := range p.handled {
			seen[id] = true
		}
		return len(seen) == published
	})
	assert.Zero(t, size(t, c, name+".dlq"))
}
