package deadletter_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/sql/operations"
)

const (
	started  = operations.DeadLetterActionsActionREPLAYSTARTED
	replayed = operations.DeadLetterActionsActionREPLAYED
	failed   = operations.DeadLetterActionsActionREPLAYFAILED
	parked   = operations.DeadLetterActionsActionPARKED
	gaveUp   = operations.DeadLetterActionsActionDISCARDED
	reopened = operations.DeadLetterActionsActionREOPENED
)

func TestReplayPostsTheEventToTheConsumerThatFailedOnly(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	b.put(t, b.ofHarness("order-1", 1, attributes("order-1", 1)), b.ofKnative(attributes("order-2", 1)))

	assert.ElementsMatch(t, []string{"done order-1#1", "done order-2#1"}, b.run(t, c))

	require.Len(t, c.given, 2)
	assert.Contains(t, c.given, `POST /f/reserve-stock order-1#1 {"orderId":"order-1"}`)
	for _, h := range c.headers {
		assert.Equal(t, "application/json", h.Get("Content-Type"))
		assert.Equal(t, "order.created", h.Get("Ce-Type"))
		assert.Equal(t, "reserve-stock", h.Get("Ce-Consumer"))
		for name := range h {
			assert.NotContains(t, name, "Deadletter")
			assert.NotContains(t, name, "error")
		}
	}
	l := b.find(t, deadletter.Selector{Key: "order-1"})[0]
	assert.Equal(t, deadletter.Replayed, l.State)
	assert.Equal(t, []operations.DeadLetterActionsAction{started, replayed}, actions(l))
	assert.Equal(t, "alice@laptop", l.History[1].Actor)
	assert.Equal(t, http.StatusOK, *l.History[1].Status)
	assert.WithinDuration(t, time.Now(), l.History[1].At, time.Minute)
	assert.Empty(t, b.find(t, deadletter.Selector{States: []deadletter.State{deadletter.Open}}))
}

func TestReplayEncodesAttributesForTheirHeaders(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	b.put(t, b.ofHarness("order-1", 1, attributes("an order of 100%", 1)))

	assert.Equal(t, outcomes{"done an order of 100%#1"}, b.run(t, c))

	require.Len(t, c.headers, 1)
	assert.Equal(t, "an%20order%20of%20100%25#1", c.headers[0].Get("Ce-Id"))
}

func TestLetterThatFailsTooOftenIsParkedAndCanBeReplayedYet(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	b.put(t, b.ofHarness("order-1", 1, attributes("order-1", 1)))
	c.answering(http.StatusUnprocessableEntity)

	assert.Equal(t, outcomes{"failed order-1#1"}, b.run(t, c))
	assert.Equal(t, outcomes{"failed order-1#1"}, b.run(t, c))
	assert.Equal(t, outcomes{"failed, parked order-1#1"}, b.run(t, c))

	l := b.find(t, deadletter.Selector{})[0]
	assert.Equal(t, deadletter.Parked, l.State)
	assert.Equal(t, 3, l.Failures)
	assert.Equal(t, []operations.DeadLetterActionsAction{started, failed, started, failed, started, failed, parked}, actions(l))
	assert.Equal(t, "so it is", l.History[1].Detail)
	assert.Equal(t, http.StatusUnprocessableEntity, *l.History[1].Status)
	assert.Equal(t, outcomes{"changed order-1#1"}, b.run(t, c), "an open letter was asked for")
	assert.Len(t, c.ids(), 3)

	c.answering(http.StatusOK)
	var o outcomes
	again := b.replay(c, &o)
	again.States = []deadletter.State{deadletter.Parked}
	require.NoError(t, again.Run(t.Context(), []deadletter.Summary{l.Summary}))
	assert.Equal(t, outcomes{"done order-1#1"}, o)
	l = b.find(t, deadletter.Selector{})[0]
	assert.Equal(t, deadletter.Replayed, l.State)
	assert.Equal(t, []operations.DeadLetterActionsAction{reopened, started, replayed}, actions(l)[7:])
	assert.Zero(t, l.Failures)
}

func TestFailureHoldsBackTheLaterLettersOfItsKeyForItsConsumer(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	toOther := b.ofHarness("order-1", 3, attributes("order-1", 3))
	for i, h := range toOther.Headers {
		if string(h.Key) == "ce_consumer" {
			toOther.Headers[i] = header("ce_consumer", "notify")
		}
	}
	b.put(t, toOther, b.ofHarness("order-1", 2, attributes("order-1", 2)), b.ofHarness("order-1", 1, attributes("order-1", 1)), b.ofHarness("order-2", 4, attributes("order-2", 1)))
	c.answer = func(w http.ResponseWriter, id string) {
		if id == "order-1#1" {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}

	assert.ElementsMatch(t, []string{"failed order-1#1", "held back order-1#2", "done order-1#3", "done order-2#1"}, b.run(t, c))
	assert.ElementsMatch(t, []string{"failed order-1#1", "held back order-1#2", "changed order-1#3", "changed order-2#1"}, b.run(t, c))
	assert.ElementsMatch(t, []string{"failed, parked order-1#1", "done order-1#2", "changed order-1#3", "changed order-2#1"}, b.run(t, c),
		"what is parked holds back nothing")
}

func TestNothingIsCountedWhileTheFunctionCannotWork(t *testing.T) {
	b := newBench(t)
	b.put(t, b.ofHarness("order-1", 1, attributes("order-1", 1)))
	for name, test := range map[string]struct {
		answer, ready int
		url           string
	}{
		"no listener":      {url: "http://" + porttest.Address(t) + "/{consumer}"},
		"no such path":     {answer: http.StatusNotFound, ready: http.StatusOK},
		"a broken gateway": {answer: http.StatusBadGateway, ready: http.StatusOK},
		"not ready":        {answer: http.StatusServiceUnavailable, ready: http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConsumers(t)
			c.answering(max(test.answer, http.StatusOK))
			c.readying = test.ready
			if test.url != "" {
				c.url = test.url
			}
			var o outcomes
			err := b.replay(c, &o).Run(t.Context(), b.selected(t, deadletter.Selector{}))
			assert.ErrorIs(t, err, deadletter.ErrUnreachable)
			assert.Empty(t, o)
			l := b.find(t, deadletter.Selector{})[0]
			assert.Equal(t, deadletter.Open, l.State)
			assert.Zero(t, l.Failures)
		})
	}
}

func TestARefusedTokenIsNoFailureOfTheLetter(t *testing.T) {
	b := newBench(t)
	b.put(t, b.ofHarness("order-1", 1, attributes("order-1", 1)))
	config := map[string]string{"SINK_TOKEN": "the-token-of-the-function"}
	sources, err := identity.NewSources(config)
	require.NoError(t, err)
	address := functiontest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		if err := sources.Check(r); err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	var o outcomes
	r := b.replay(newConsumers(t), &o)
	r.FunctionsURL = address + "/{consumer}"
	err = r.Run(t.Context(), b.selected(t, deadletter.Selector{}))
	require.ErrorIs(t, err, deadletter.ErrUnreachable)
	require.ErrorContains(t, err, "set FUNCTIONS_TOKEN")
	assert.Empty(t, o)
	assert.Zero(t, b.find(t, deadletter.Selector{})[0].Failures)

	r.Token, err = identity.NewToken(config, "SINK_TOKEN")
	require.NoError(t, err)
	require.NoError(t, r.Run(t.Context(), b.selected(t, deadletter.Selector{})))
	assert.Equal(t, outcomes{"done order-1#1"}, o)
}

func TestAnswersCountAsFailures(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter, id string){
		"a refusal": func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusUnprocessableEntity) },
		"a redirection": func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusFound)
		},
		"an error":          func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusServiceUnavailable) },
		"no answer in time": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, c := newBench(t), newConsumers(t)
			b.put(t, b.ofHarness("order-1", 1, attributes("order-1", 1)))
			var o outcomes
			r := b.replay(c, &o)
			if c.answer = answer; answer == nil {
				release := make(chan struct{})
				t.Cleanup(func() { close(release) })
				c.answer = func(http.ResponseWriter, string) { <-release }
				r.Timeout = 3 * time.Second // the time for its arrival, however slow the machine is
			}
			require.NoError(t, r.Run(t.Context(), b.selected(t, deadletter.Selector{})))
			assert.Equal(t, outcomes{"failed order-1#1"}, o)
			assert.Equal(t, 1, b.find(t, deadletter.Selector{})[0].Failures)
			assert.Len(t, c.ids(), 1)
		})
	}
}

// TestForgedLetterIsShownAndNotSent has letters that name existing functions, and impossible ones: none comes from a source
// of the wiring.
func TestForgedLetterIsShownAndNotSent(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	canceled := strings.TrimSuffix(b.topic, "order.created") + "order.canceled"
	forge := func(letters, consumer, topic string) {
		headers := append(attributes("order-1", 1), header("ce_consumer", consumer))
		if topic != "" {
			headers = append(headers, header("ce_deadlettertopic", topic))
		}
		b.put(t, &sarama.ProducerMessage{Topic: letters + ".dlq", Key: sarama.StringEncoder("order-1"), Headers: headers})
	}
	for _, consumer := range []string{
		"create-order", "cancel-order", "publish-outbox-orders", "release-stock", "../../admin", "evil.example.com/", "a?b=", "RESERVE-STOCK",
		"reserve-stock ", "-", "x@y", strings.Repeat("x", 300),
	} {
		forge(b.topic, consumer, b.topic)
		forge(b.topic, consumer, "")
	}
	forge(b.topic, "reserve-stock", canceled)
	forge(b.topic, "reserve-stock", "order.created.dlq")
	forge(canceled, "reserve-stock", b.topic)
	forge(canceled, "reserve-stock", "")
	forge(b.topic, "release-stock", canceled)

	o := b.run(t, c)

	require.Len(t, o, 29)
	for _, outcome := range o {
		assert.Equal(t, "forged order-1#1", outcome)
	}
	assert.Empty(t, c.ids())
	for _, l := range b.find(t, deadletter.Selector{}) {
		assert.True(t, l.Forged, "%s from %s", l.Consumer, l.Origin.Topic)
		assert.Empty(t, l.History)
		_, err := b.replay(c, &o).URL(l.Summary)
		assert.ErrorContains(t, err, "no source of the wiring")
	}
	require.NoError(t, b.Journal.Discard(t.Context(), b.selected(t, deadletter.Selector{}), "forged", func(_ deadletter.Summary, r deadletter.Result, _ string) {
		assert.Equal(t, deadletter.Done, r)
	}), "it can be given up")
}

func TestALetterWithoutAConsumerIsNotSent(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	b.put(t, &sarama.ProducerMessage{Topic: b.topic + ".dlq", Headers: attributes("order-1", 1)})

	assert.Equal(t, outcomes{"names no consumer order-1#1"}, b.run(t, c))

	assert.Empty(t, c.ids())
	assert.False(t, b.find(t, deadletter.Selector{})[0].Forged)
}

func TestLetterThatLacksAPartOfItsRecordIsNotReplayed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := newConsumers(t)
	b.put(t, b.ofHarness("order-1", 7, append(attributes("order-1", 1), header("ce_deadlettercut", "20 of 2000000 bytes of the value are left"))))

	assert.Equal(t, outcomes{"not whole order-1#1"}, b.run(t, c))

	assert.Empty(t, c.given, "what is left is not the event")
	l := b.find(t, deadletter.Selector{})[0]
	assert.Equal(t, "20 of 2000000 bytes of the value are left", l.Cut)
	assert.NotContains(t, l.Event.Extensions(), "deadlettercut")
	assert.Equal(t, deadletter.Open, l.State)
	assert.Empty(t, l.History)
}

func TestReplayThatWasCutOffCanBeRepeated(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	b.put(t, b.ofHarness("order-1", 1, attributes("order-1", 1)))
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	c.answer = func(http.ResponseWriter, string) { cancel(); <-release } // the function has the event, but the replay gets no answer
	var o outcomes
	r := b.replay(c, &o)
	r.Journal, r.Grace = b.journal(t, "bob"), 0

	require.ErrorIs(t, r.Run(ctx, b.selected(t, deadletter.Selector{})), context.Canceled)

	assert.Equal(t, outcomes{"unclear order-1#1"}, o)
	l := b.find(t, deadletter.Selector{})[0]
	assert.Equal(t, deadletter.Open, l.State)
	assert.Equal(t, started, l.History[0].Action, "it is known that it was begun, and by whom")
	assert.Equal(t, "bob", l.History[0].Actor)
	c.answering(http.StatusOK)
	assert.Equal(t, outcomes{"done order-1#1"}, b.run(t, c))
}

func TestTwoOperatorsAtOnceDoNoHarm(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	for i := range 5 {
		b.put(t, b.ofHarness("order-1", i, attributes("order-1", i+1)))
	}
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c.answer = func(w http.ResponseWriter, _ string) {
		once.Do(func() { close(entered); <-release })
		w.WriteHeader(http.StatusUnprocessableEntity)
	}
	letters := b.selected(t, deadletter.Selector{})
	first, second := outcomes{}, outcomes{}
	done := make(chan error, 1)
	go func() { done <- b.replay(c, &first).Run(context.WithoutCancel(t.Context()), letters[:1]) }()
	<-entered
	other := b.replay(c, &second)
	other.Journal = b.journal(t, "bob")

	require.NoError(t, other.Run(t.Context(), letters))
	require.NoError(t, other.Journal.Discard(t.Context(), letters[:1], "", second.report))

	assert.Equal(t, outcomes{"busy order-1#1", "busy order-1#2", "busy order-1#3", "busy order-1#4", "busy order-1#5", "busy order-1#1"}, second)
	close(release)
	require.NoError(t, <-done)
	assert.Equal(t, outcomes{"failed order-1#1"}, first)
	assert.Equal(t, []string{"order-1#1"}, c.ids(), "one delivery, one failure")
	assert.Equal(t, 1, b.find(t, deadletter.Selector{})[0].Failures)
}

func TestTheSlowerOperatorSeesTheLettersNewState(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	b.put(t, b.ofHarness("order-1", 1, attributes("order-1", 1)))
	seenEarlier := b.selected(t, deadletter.Selector{})
	b.run(t, c)

	var o outcomes
	require.NoError(t, b.journal(t, "bob").Discard(t.Context(), seenEarlier, "", o.report))

	assert.Equal(t, outcomes{"changed order-1#1"}, o)
	assert.Equal(t, deadletter.Replayed, b.find(t, deadletter.Selector{})[0].State)
}

func TestLettersAreParkedAndDiscardedForAReason(t *testing.T) {
	t.Parallel()
	b, c := newBench(t), newConsumers(t)
	b.put(t, b.ofHarness("order-1", 1, attributes("order-1", 1)))
	var o outcomes

	require.NoError(t, b.Journal.Park(t.Context(), b.selected(t, deadletter.Selector{}), "wait for\nthe fix", o.report))
	assert.Equal(t, outcomes{"changed order-1#1"}, b.run(t, c), "a parked letter is not replayed unless it is asked for")
	require.NoError(t, b.Journal.Discard(t.Context(), b.selected(t, deadletter.Selector{}), "no use", o.report))
	require.NoError(t, b.Journal.Park(t.Context(), b.selected(t, deadletter.Selector{}), "", o.report))

	assert.Equal(t, outcomes{"done order-1#1", "done order-1#1", "changed order-1#1"}, o)
	l := b.find(t, deadletter.Selector{})[0]
	assert.Equal(t, deadletter.Discarded, l.State)
	assert.Equal(t, []operations.DeadLetterActionsAction{parked, gaveUp}, actions(l))
	assert.Equal(t, "wait for the fix", l.History[0].Detail)
	assert.Empty(t, c.ids())
}

func TestActionsAboutAnotherEventAtTheSamePlaceDoNotCount(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.put(t, b.ofHarness("order-1", 1, attributes("order-1", 1)))
	before := b.selected(t, deadletter.Selector{})[0]
	before.EventID = "of the topic before it was made anew"
	var o outcomes
	require.NoError(t, b.Journal.Discard(t.Context(), []deadletter.Summary{before}, "", o.report))

	l := b.find(t, deadletter.Selector{})[0]

	assert.Equal(t, deadletter.Open, l.State)
	assert.Empty(t, l.History)
}
