package contract

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/registry"
)

// letters reads n dead letters and returns each one's headers, by event id.
func (b *bench) letters(t *testing.T, n int) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	for _, letter := range b.Records(t, b.spec.Delivery.DeadLetter, n) {
		headers := headersOf(letter)
		all[headers["ce_id"]] = headers
	}
	return all
}

func headersOf(m *sarama.ConsumerMessage) map[string]string {
	headers := map[string]string{}
	for _, h := range m.Headers {
		headers[string(h.Key)] = string(h.Value)
	}
	return headers
}

func TestTheAnswerDecidesWhatBecomesOfAnEvent(t *testing.T) {
	t.Parallel()
	answers := map[string]error{"nil": nil, "plain error": errors.New("broken")}
	for _, code := range []int{200, 202, 204, 301, 302, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 425, 429, 500, 501, 502, 503, 504} {
		answers[strconv.Itoa(code)] = status(code)
	}
	again := []string{"404", "408", "409", "429", "500", "501", "502", "503", "504", "plain error", "panic"}
	aside := []string{"301", "302", "400", "401", "403", "405", "410", "413", "415", "422", "425"}
	onEach(t, func(t *testing.T, s source, b *bench) {
		t.Helper()
		f := newFunction(func(_ context.Context, a attempt) error {
			switch {
			case a.n > 1:
				return nil
			case a.event.ID() == "panic":
				panic("on purpose")
			default:
				return answers[a.event.ID()]
			}
		})
		b.send(t, fact("panic", "panic"))
		for id := range answers {
			b.send(t, fact(id, id))
		}
		s.start(t, b, f)

		letters := b.letters(t, len(aside))
		f.await(t, "what is delivered again is handled", func() bool { return len(f.attempts) == len(answers)+1+len(again) })
		for _, id := range aside {
			require.Contains(t, letters, id)
			assert.Equal(t, id, letters[id]["ce_knativeerrorcode"])
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, a := range f.attempts {
			if a.n > 1 {
				assert.Contains(t, again, a.event.ID())
			}
		}
	})
}

func TestAnEventIsTriedOnceMoreThanItsRetriesWithTheirWaits(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]struct {
		exponential bool
		waits       []time.Duration
	}{
		"exponential": {true, []time.Duration{40 * time.Millisecond, 80 * time.Millisecond, 160 * time.Millisecond}},
		"linear":      {false, []time.Duration{20 * time.Millisecond, 40 * time.Millisecond, 60 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, s source, b *bench) {
				t.Helper()
				b.spec.Delivery.Retry, b.spec.Delivery.Delay, b.spec.Delivery.Exponential = 3, 20*time.Millisecond, each.exponential
				f := newFunction(func(context.Context, attempt) error { return errRetry })
				b.send(t, fact("1", "a"))
				s.start(t, b, f)

				assert.Equal(t, "503", b.letters(t, 1)["1"]["ce_knativeerrorcode"])
				attempts := f.awaitAttempts(t, 4)
				require.Len(t, attempts, 4)
				for i, wait := range each.waits {
					assert.GreaterOrEqual(t, attempts[i+1].at.Sub(attempts[i].at), wait, "wait %d", i+1)
				}
			})
		})
	}
}

func TestAnAttemptThatTakesTooLongIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s source, b *bench) {
		t.Helper()
		b.spec.Delivery.Timeout = 200 * time.Millisecond
		second := make(chan struct{})
		f := newFunction(func(ctx context.Context, a attempt) error {
			if a.n == 2 {
				close(second)
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-second:
				return errRetry
			case <-t.Context().Done(): // the test has failed
				return errRetry
			}
		})
		b.send(t, fact("1", "a"))
		s.start(t, b, f)
		assert.Equal(t, []string{"1"}, f.awaitHandled(t, 1))
	})
}

func TestUnorderedEventsPassOneThatFails(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s source, b *bench) {
		t.Helper()
		b.spec.Delivery.Delay = time.Hour
		f := newFunction(func(_ context.Context, a attempt) error {
			if a.event.ID() == "a1" {
				return errRetry
			}
			return nil
		})
		b.send(t, fact("a1", "a"), fact("b1", "b"), fact("c1", "c"))
		s.start(t, b, f)
		assert.ElementsMatch(t, []string{"b1", "c1"}, f.awaitHandled(t, 2))
	})
}

func TestOrderedEventsWaitBehindOneThatFails(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s source, b *bench) {
		t.Helper()
		b.spec.Ordered = true
		f := newFunction(func(_ context.Context, a attempt) error {
			if a.event.ID() == "a1" && a.n < 3 {
				return errRetry
			}
			return nil
		})
		b.send(t, fact("a1", "a"), fact("b1", "b"), fact("c1", "c"))
		s.start(t, b, f)
		assert.Equal(t, []string{"a1", "b1", "c1"}, f.awaitHandled(t, 3))
		assert.Len(t, f.awaitAttempts(t, 5), 5)
	})
}

func TestADeadLetterIsTheEventAndNamesTheConsumer(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s source, b *bench) {
		t.Helper()
		f := newFunction(func(context.Context, attempt) error { return status(http.StatusUnprocessableEntity) })
		b.send(t, record("order-7", `{"orderId": "order-7" }`, "ce_specversion", "1.0", "ce_id", "order-7#1", "ce_type", "order.created",
			"ce_source", "/orders", "ce_subject", "order-7", "ce_time", "2026-03-01T12:00:00.123Z", "ce_partitionkey", "order-7",
			"ce_correlationid", "flow-1", "ce_dataschema", "https://example.com/orders/schemas/order.created.v1.json", "content-type", "application/json"))
		s.start(t, b, f)

		letter := b.Records(t, b.spec.Delivery.DeadLetter, 1)[0]
		assert.Equal(t, "order-7", string(letter.Key))
		assert.Equal(t, `{"orderId": "order-7" }`, string(letter.Value), "byte by byte")
		headers := headersOf(letter)
		for name, want := range map[string]string{
			"ce_id": "order-7#1", "ce_type": "order.created", "ce_source": "/orders", "ce_subject": "order-7", "ce_time": "2026-03-01T12:00:00.123Z",
			"ce_partitionkey": "order-7", "ce_correlationid": "flow-1", "content-type": "application/json",
			"ce_dataschema": "https://example.com/orders/schemas/order.created.v1.json",
			"ce_consumer":   "reserve-stock", "ce_knativeerrorcode": "422",
		} {
			assert.Equal(t, want, headers[name], name)
		}
	})
}

func TestADeadLetterKeepsAValueThatIsNotText(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s source, b *bench) {
		t.Helper()
		f := newFunction(func(context.Context, attempt) error { return status(http.StatusUnprocessableEntity) })
		value := "\x00\x00\x00\x00\x07\xff\x80\r\n\x00"
		b.send(t, record("order-7", value, "ce_specversion", "1.0", "ce_id", "order-7#1", "ce_type", "order.created", "ce_source", "/orders",
			"ce_partitionkey", "order-7", "content-type", registry.MediaType))
		s.start(t, b, f)

		letter := b.Records(t, b.spec.Delivery.DeadLetter, 1)[0]
		assert.Equal(t, value, string(letter.Value))
		assert.Equal(t, registry.MediaType, headersOf(letter)["content-type"])
	})
}

func TestADeadLetterOfANonCloudEventKeepsKeyAndValue(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s source, b *bench) {
		t.Helper()
		f := newFunction(func(context.Context, attempt) error { return status(http.StatusUnprocessableEntity) })
		b.send(t, record("order-7", "who knows", "x-origin", "elsewhere"))
		s.start(t, b, f)

		letter := b.Records(t, b.spec.Delivery.DeadLetter, 1)[0]
		assert.Equal(t, "order-7", string(letter.Key))
		assert.Equal(t, "who knows", string(letter.Value))
		assert.Equal(t, "reserve-stock", headersOf(letter)["ce_consumer"])
	})
}

func TestUnhandledRecordsAreRedeliveredAfterARestart(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s source, b *bench) {
		t.Helper()
		letGo := make(chan struct{})
		f := newFunction(func(ctx context.Context, a attempt) error {
			if a.event.ID() != "slow" || a.n > 2 {
				return nil
			}
			if a.n == 1 {
				return errRetry // its second attempt is alone, even where the first one holds up events outside of its batch
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-letGo:
				return errRetry
			case <-t.Context().Done(): // the test has failed
				return errRetry
			}
		})
		b.send(t, fact("slow", "a"), fact("b1", "b"))
		stop := s.start(t, b, f)
		f.await(t, "one is under way and the other handled", func() bool { return len(f.attempts) == 3 && len(f.handled) == 1 })
		stop()
		close(letGo)

		s.start(t, b, f)

		f.await(t, "the slow one is handled", func() bool { return strings.Contains(strings.Join(f.handled, " "), "slow") })
	})
}

func TestCommittedRecordsAreNotRedelivered(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s source, b *bench) {
		t.Helper()
		f := newFunction(nil)
		b.send(t, fact("1", "a"), fact("2", "b"))
		stop := s.start(t, b, f)
		f.awaitHandled(t, 2)
		b.awaitCommitted(t, 2)
		stop()
		b.send(t, fact("3", "c"))

		s.start(t, b, f)

		assert.ElementsMatch(t, []string{"1", "2", "3"}, f.awaitHandled(t, 3))
	})
}

// awaitCommitted waits until the group's committed offset is offset.
func (b *bench) awaitCommitted(t *testing.T, offset int64) {
	t.Helper()
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	admin, err := sarama.NewClusterAdmin(b.Brokers, config)
	require.NoError(t, err)
	defer func() { assert.NoError(t, admin.Close()) }()
	require.Eventually(t, func() bool {
		answer, err := admin.ListConsumerGroupOffsets(b.spec.Group, map[string][]int32{b.topic: {0}})
		return err == nil && answer.GetBlock(b.topic, 0).Offset == offset
	}, patience, 10*time.Millisecond)
}
