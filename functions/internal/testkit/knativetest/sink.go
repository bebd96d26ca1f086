package knativetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"example.com/orders/functions/internal/testkit/functiontest"
)

// Sink is the ingress of all KafkaSinks: POST /namespace/name writes the event to the topic of that KafkaSink, in binary
// mode, and answers 202 once Kafka has acknowledged it.
type Sink struct {
	// URL is its address, without a path.
	URL string
	// Topics maps each KafkaSink's name to its topic.
	Topics map[string]string
	// Around, if set, wraps the handling of each request.
	Around func(w http.ResponseWriter, r *http.Request, answer http.HandlerFunc)

	client *kgo.Client
	posts  atomic.Int64
}

// ackWithin is how long a Sink waits for Kafka. A real one waits a minute or more.
const ackWithin = 5 * time.Second

// StartSink serves KafkaSinks until the test ends.
func StartSink(t testing.TB, brokers []string, topics map[string]string) *Sink {
	t.Helper()
	// One attempt: a real KafkaSink does not report whether an abandoned record was written.
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.UnknownTopicRetries(0), kgo.RecordDeliveryTimeout(ackWithin),
		kgo.ProducerLinger(0), kgo.MetadataMinAge(100*time.Millisecond))
	require.NoError(t, err)
	s := &Sink{Topics: topics, client: client}
	s.URL = functiontest.Serve(t, s.serve)
	t.Cleanup(client.Close)
	return s
}

// Posts returns the number of requests.
func (s *Sink) Posts() int64 { return s.posts.Load() }

func (s *Sink) serve(w http.ResponseWriter, r *http.Request) {
	s.posts.Add(1)
	if s.Around != nil {
		s.Around(w, r, s.answer)
		return
	}
	s.answer(w, r)
}

func (s *Sink) answer(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	topic, ok := s.Topics[path.Base(r.URL.Path)]
	if !ok || strings.Count(r.URL.Path, "/") != 2 {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	e, err := cehttp.NewEventFromHTTPRequest(r)
	if err != nil || e.Validate() != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	// The record is written even if the client has given up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), ackWithin)
	defer cancel()
	record, err := Record(*e, topic)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := s.client.ProduceSync(ctx, record).FirstErr(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// Record returns the record that a KafkaSink makes of an event: its key comes only from partitionkey.
func Record(e event.Event, topic string) (*kgo.Record, error) {
	record := &kgo.Record{Topic: topic, Value: e.Data()}
	add := func(name, value string) {
		if value != "" {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
	}
	add("ce_specversion", e.SpecVersion())
	add("ce_id", e.ID())
	add("ce_type", e.Type())
	add("ce_source", e.Source())
	add("ce_subject", e.Subject())
	add("ce_dataschema", e.DataSchema())
	add("content-type", e.DataContentType())
	if !e.Time().IsZero() {
		add("ce_time", types.FormatTime(e.Time()))
	}
	var errs []error
	for name, value := range e.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			errs = append(errs, fmt.Errorf("extension %s: %w", name, err))
		}
		add("ce_"+name, text)
		if name == "partitionkey" {
			record.Key = []byte(text)
		}
	}
	return record, errors.Join(errs...)
}
