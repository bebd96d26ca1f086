package knativetest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/knative"
)

// TestRecordsThatWaitForARetryBoundTheRecordsInFlight has a function refuse all events. Once it has refused one of them ten times, a
// source without a bound has posted all of them.
func TestRecordsThatWaitForARetryBoundTheRecordsInFlight(t *testing.T) {
	const records, patience = 300, 30 * time.Second
	c := kafkatest.Start(t)
	topic := c.Prefix + "order.created"
	require.NoError(t, kafka.EnsureTopics(t.Context(), c.Brokers, []knative.Topic{{Name: topic, Partitions: 3, Replicas: 1}}))
	producer, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	require.NoError(t, err)
	defer producer.Close()
	for i := range records {
		require.NoError(t, producer.ProduceSync(t.Context(), kgo.KeyStringRecord(strconv.Itoa(i), "{}")).FirstErr())
	}

	var mu sync.Mutex
	attempts, handled := map[string]int{}, map[string]bool{}
	refusing := true
	tenth, all := make(chan int, 1), make(chan struct{})
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		id := r.Header.Get("Ce-Id")
		attempts[id]++
		if refusing {
			w.WriteHeader(http.StatusServiceUnavailable)
			if attempts[id] == 10 {
				refusing = false
				tenth <- len(attempts)
			}
			return
		}
		handled[id] = true
		if len(handled) == records {
			close(all)
		}
	}))
	defer function.Close()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		assert.NoError(t, Source{Brokers: c.Brokers, URL: function.URL, Spec: knative.KafkaSource{
			Group: c.Prefix + "reserve-stock.order.created", Topic: topic,
			Delivery: knative.Delivery{Retry: 1000, Delay: 5 * time.Millisecond, Timeout: patience},
		}}.Run(ctx))
	})
	defer running.Wait()
	defer stop()

	select {
	case posted := <-tenth:
		assert.Less(t, posted, 2*maxPollRecords)
	case <-time.After(patience):
		require.Fail(t, "no event is posted ten times")
	}
	select {
	case <-all:
	case <-time.After(patience):
		require.Fail(t, "not all events are handled")
	}
}
