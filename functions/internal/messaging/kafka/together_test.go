package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/knative"
)

// callsOf adds records to the numbered partitions during the call for the first record, and returns the number of events of
// each call. Without a broker the test knows which records wait when that call ends.
func callsOf(t *testing.T, partitions int, records ...*sarama.ConsumerMessage) []int {
	t.Helper()
	var calls []int
	begun, letGo := make(chan struct{}), make(chan struct{})
	m := &member{joined: func() {}, source: NewSource(SourceOptions{
		Spec: knative.KafkaSource{Topic: "order.created", Sink: "reserve-stock", Delivery: knative.Delivery{Timeout: time.Minute}},
		Log:  slog.New(slog.DiscardHandler),
		Submit: functiontest.Batched(64, func(_ context.Context, es []event.Event) []error {
			if calls = append(calls, len(es)); len(calls) == 1 {
				close(begun)
				<-letGo
			}
			return make([]error, len(es))
		}),
	})}
	s := session{ctx: t.Context()}
	require.NoError(t, m.Setup(s))
	defer m.stop()
	all := make([]*partition, partitions)
	for i := range all {
		all[i] = newPartition(m, s)
	}
	for i, record := range records {
		all[record.Partition].add(record)
		if i == 0 {
			<-begun
		}
	}
	close(letGo)
	for _, p := range all {
		p.tasks.Wait()
	}
	return calls
}

func TestABatchIsOneOfEachKeyThatWaits(t *testing.T) {
	var records []*sarama.ConsumerMessage
	for n := range 300 {
		records = append(records, &sarama.ConsumerMessage{Offset: int64(n), Key: fmt.Append(nil, n%40)})
	}
	assert.Equal(t, []int{1, 40, 40, 40, 40, 40, 40, 40, 19}, callsOf(t, 1, records...))
}

func TestABatchIsOfAllPartitionsUpToItsSize(t *testing.T) {
	var records []*sarama.ConsumerMessage
	for n := range 100 {
		records = append(records, &sarama.ConsumerMessage{Partition: int32(n % 3), Offset: int64(n), Key: fmt.Append(nil, n)})
	}
	assert.Equal(t, []int{1, 64, 35}, callsOf(t, 3, records...), "what comes alone does not wait")
}
