package kafka

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/knative"
)

// session is the session of a member that has no broker.
type session struct {
	sarama.ConsumerGroupSession
	ctx context.Context //nolint:containedctx // it is the session's
}

func (s session) Context() context.Context                { return s.ctx }
func (s session) Claims() map[string][]int32              { return map[string][]int32{"order.created": {0}} }
func (s session) MarkOffset(string, int32, int64, string) {}

type claim struct {
	sarama.ConsumerGroupClaim
	records chan *sarama.ConsumerMessage
}

func (c claim) InitialOffset() int64                     { return 0 }
func (c claim) Partition() int32                         { return 0 }
func (c claim) Messages() <-chan *sarama.ConsumerMessage { return c.records }

// BenchmarkSource measures the cost per record between the client and a function that does nothing, one event at a time and
// in batches.
func BenchmarkSource(b *testing.B) {
	const records = 1000
	var all []*sarama.ConsumerMessage
	for n := range records {
		e := event.New()
		e.SetID(strconv.Itoa(n))
		e.SetType("order.created")
		e.SetSource("/orders")
		e.SetExtension("partitionkey", strconv.Itoa(n))
		m, err := Encode(b.Context(), e)
		require.NoError(b, err)
		record := &sarama.ConsumerMessage{Topic: m.Topic, Key: []byte(strconv.Itoa(n)), Value: []byte("{}"), Offset: int64(n)}
		for _, h := range m.Headers {
			record.Headers = append(record.Headers, &h)
		}
		all = append(all, record)
	}
	for _, batched := range []bool{false, true} {
		b.Run(map[bool]string{false: "one by one", true: "in batches"}[batched], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				run(b, all, batched)
			}
		})
	}
}

// run delivers records until the function has had all of them.
func run(b *testing.B, all []*sarama.ConsumerMessage, batched bool) {
	b.Helper()
	var had atomic.Int64
	handled := make(chan struct{})
	count := func(n int) {
		if had.Add(int64(n)) == int64(len(all)) {
			close(handled)
		}
	}
	o := SourceOptions{
		Spec: knative.KafkaSource{
			Name: "reserve-stock-order-created", Namespace: "shop", Topic: "order.created", Consumers: 4, Sink: "reserve-stock",
			Delivery: knative.Delivery{Timeout: time.Minute},
		},
		Deliver: func(context.Context, event.Event) error { count(1); return nil },
		Log:     slog.New(slog.DiscardHandler), Drain: time.Minute,
	}
	if batched {
		o.Submit = functiontest.Batched(64, func(_ context.Context, es []event.Event) []error { count(len(es)); return make([]error, len(es)) })
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	s, c := session{ctx: ctx}, claim{records: make(chan *sarama.ConsumerMessage, len(all))}
	for _, record := range all {
		c.records <- record
	}
	m := &member{source: NewSource(o), joined: func() {}}
	require.NoError(b, m.Setup(s))
	ended := make(chan error)
	go func() { ended <- m.ConsumeClaim(s, c) }()
	<-handled
	cancel()
	require.NoError(b, <-ended)
}
