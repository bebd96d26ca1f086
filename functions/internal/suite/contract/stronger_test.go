package contract

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"example.com/orders/functions/internal/testkit/kafkatest"
)

// stronger has the guarantees that only the harness's source gives, in the words of knative/README.md. Each func checks
// whether a source gives it.
var stronger = map[string]func(t *testing.T, s source, b *bench) (given bool){
	"the order within a key is kept under `unordered`":                              keepsTheOrderOfAKey,
	"an attempt that timed out has ended before the next begins":                    endsBeforeTheNext,
	"a dead letter is acknowledged before its record is committed":                  losesNoDeadLetter,
	"a dead letter keeps the key, the value and the headers as they were":           keepsTheHeaders,
	"a source waits while its function cannot work, and spends no attempts on that": spendsNoAttempt,
	"a record that breaks structured mode becomes a dead letter":                    keepsBrokenEvents,
	"an attribute arrives as it is, whatever it holds":                              keepsAttributes,
}

func TestOnlyTheLocalSourceGivesMoreThanTheContract(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../../../knative/README.md")
	require.NoError(t, err)
	text := strings.Join(strings.Fields(string(readme)), " ")
	for what, gives := range stronger {
		assert.Contains(t, text, what, "knative/README.md lists what Knative does not give")
		for name, s := range sources {
			t.Run(what+"/"+name, func(t *testing.T) {
				t.Parallel()
				assert.Equal(t, s.stronger, gives(t, s, newBench(t, kafkatest.Fake(t))))
			})
		}
	}
}

func keepsTheOrderOfAKey(t *testing.T, s source, b *bench) bool {
	t.Helper()
	b.spec.Delivery.Delay = 100 * time.Millisecond
	if !s.stronger {
		b.spec.Delivery.Delay = time.Hour // however slow the other one is
	}
	f := newFunction(func(_ context.Context, a attempt) error {
		if a.event.ID() == "a1" && a.n == 1 {
			return errRetry
		}
		return nil
	})
	b.send(t, fact("a1", "a"), fact("a2", "a"))
	s.start(t, b, f)
	return f.awaitHandled(t, 1)[0] == "a1"
}

func endsBeforeTheNext(t *testing.T, s source, b *bench) bool {
	t.Helper()
	b.spec.Delivery.Timeout = 100 * time.Millisecond
	second, long := make(chan struct{}), time.Second
	if !s.stronger {
		long = patience // however slow the second one is
	}
	f := newFunction(func(_ context.Context, a attempt) error {
		if a.n > 1 {
			if a.n == 2 {
				close(second)
			}
			return nil
		}
		select { // it ignores its ctx
		case <-second:
		case <-time.After(long):
		}
		return errRetry
	})
	b.send(t, fact("1", "a"))
	s.start(t, b, f)
	f.awaitHandled(t, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most == 1
}

// losesNoDeadLetter makes the broker refuse the first write to the dead-letter topic.
func losesNoDeadLetter(t *testing.T, s source, b *bench) bool {
	t.Helper()
	var refused atomic.Bool
	b.Fake.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		produce := request.(*kmsg.ProduceRequest)
		b.Fake.KeepControl()
		if refused.Load() || produce.Acks == 0 || !strings.HasSuffix(topicOf(b, produce), ".dlq") {
			return nil, nil, false
		}
		refused.Store(true)
		response := produce.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range produce.Topics {
			one := kmsg.NewProduceResponseTopic()
			one.Topic, one.TopicID = topic.Topic, topic.TopicID
			for _, p := range topic.Partitions {
				partition := kmsg.NewProduceResponseTopicPartition()
				partition.Partition, partition.ErrorCode = p.Partition, kerr.PolicyViolation.Code
				one.Partitions = append(one.Partitions, partition)
			}
			response.Topics = append(response.Topics, one)
		}
		return response, nil, true
	})
	f := newFunction(func(context.Context, attempt) error { return status(http.StatusUnprocessableEntity) })
	b.send(t, fact("1", "a"))
	s.start(t, b, f)
	require.Eventually(t, refused.Load, patience, 5*time.Millisecond)
	if s.stronger {
		b.send(t, fact("2", "b"))
		return len(b.letters(t, 2)) == 2
	}
	b.awaitCommitted(t, 1) // so the second letter is not in the sink yet when the first fails, which fails its whole batch
	b.send(t, fact("2", "b"))
	_, first := b.letters(t, 1)["1"]
	return first
}

func topicOf(b *bench, produce *kmsg.ProduceRequest) string {
	for _, topic := range produce.Topics {
		if topic.Topic != "" {
			return topic.Topic
		}
		if info := b.Fake.TopicIDInfo(topic.TopicID); info != nil {
			return info.Topic
		}
	}
	return ""
}

func keepsTheHeaders(t *testing.T, s source, b *bench) bool {
	t.Helper()
	f := newFunction(func(context.Context, attempt) error { return status(http.StatusUnprocessableEntity) })
	b.send(t, record("k", "text", "X-Trace-Id", "7"))
	s.start(t, b, f)
	letter := b.Records(t, b.spec.Delivery.DeadLetter, 1)[0]
	return headersOf(letter)["X-Trace-Id"] == "7"
}

func spendsNoAttempt(t *testing.T, s source, b *bench) bool {
	t.Helper()
	b.spec.Delivery.Retry = 0
	f := newFunction(func(_ context.Context, a attempt) error {
		if a.event.ID() == "1" && a.n == 1 {
			return errRetry
		}
		return nil
	})
	var asked atomic.Int64
	f.ready = func() bool { return asked.Add(1) > 3 }
	b.send(t, fact("1", "a"))
	s.start(t, b, f)
	if s.stronger {
		return f.awaitHandled(t, 1)[0] == "1"
	}
	_, setAside := b.letters(t, 1)["1"]
	return !setAside
}

// keepsBrokenEvents has a record that is a CloudEvent by its content type only. When Knative posts it, it violates
// structured mode, both at the function and at the KafkaSink of the dead letters.
func keepsBrokenEvents(t *testing.T, s source, b *bench) bool {
	t.Helper()
	const broken = `{"specversion":"1.0",`
	f := newFunction(func(context.Context, attempt) error { return status(http.StatusUnprocessableEntity) })
	b.send(t, record("k", broken, "content-type", "application/cloudevents+json"))
	stop := s.start(t, b, f)
	if s.stronger {
		return string(b.Records(t, b.spec.Delivery.DeadLetter, 1)[0].Value) == broken
	}
	b.awaitCommitted(t, 1)
	stop()
	b.send(t, fact("2", "b"))
	s.start(t, b, f)
	return string(b.Records(t, b.spec.Delivery.DeadLetter, 1)[0].Value) == broken
}

func keepsAttributes(t *testing.T, s source, b *bench) bool {
	t.Helper()
	f := newFunction(nil)
	b.send(t, record("k", "{}", "ce_specversion", "1.0", "ce_id", "1", "ce_type", "t", "ce_source", "/s", "ce_subject", "%41", "ce_stage", "€"))
	s.start(t, b, f)
	e := f.awaitAttempts(t, 1)[0].event
	return e.Subject() == "%41" && e.Extensions()["stage"] == "€"
}
