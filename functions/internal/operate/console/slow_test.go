package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
)

// full is the response of a client that reads nothing: writing blocks until it is released.
type full struct {
	*httptest.ResponseRecorder
	once    sync.Once
	entered chan struct{}
	release chan struct{}
}

func newFull() *full {
	return &full{ResponseRecorder: httptest.NewRecorder(), entered: make(chan struct{}), release: make(chan struct{})}
}

func (f *full) Write(text []byte) (int, error) {
	f.once.Do(func() { close(f.entered) })
	<-f.release
	return f.ResponseRecorder.Write(text)
}

// letter writes a dead letter with a value and returns its path.
func (b *bench) letter(value string) string {
	b.t.Helper()
	topic := b.cluster.Prefix + "order.created.dlq"
	m := &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value), Headers: []sarama.RecordHeader{
		{Key: []byte(kafka.HeaderConsumer), Value: []byte("reserve-stock")},
		{Key: []byte(kafka.HeaderTopic), Value: []byte(b.cluster.Prefix + "order.created")},
		{Key: []byte(kafka.HeaderError), Value: []byte(strings.Repeat("é", 5000))},
	}}
	b.write(m)
	return fmt.Sprintf("/console/deadletters/%s/%d/%d", topic, m.Partition, m.Offset)
}

// TestClientsThatReadNothingBlockNoOthers has one such client on each path of the console.
func TestClientsThatReadNothingBlockNoOthers(t *testing.T) {
	b := newBench(t)
	path := b.letter("first")
	place := strings.Split(strings.TrimPrefix(path, "/console/deadletters/"), "/")
	var answered sync.WaitGroup
	var stuck []*full
	for _, request := range []string{
		"GET " + path, "GET " + path, "GET /console/events?view=flow&view=deadletters:state=open", "GET /console/topology", "GET /console/outbox/orders/1",
		"POST /console/outbox", "GET /", "GET /openapi.json", "GET /console/static/app.js",
		"POST /console/deadletters",
	} {
		method, target, _ := strings.Cut(request, " ")
		body := fmt.Sprintf(`{"action":"park","dryRun":true,"letters":[{"topic":%q,"partition":%s,"offset":%s}]}`, place[0], place[1], place[2])
		r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := newFull()
		stuck = append(stuck, w)
		answered.Go(func() { b.mux.ServeHTTP(w, r) })
		<-w.entered
	}
	t.Cleanup(func() {
		for _, w := range stuck {
			close(w.release)
		}
		answered.Wait()
	})

	var page struct{ Value string }
	b.do(http.MethodGet, path, "", &page)
	assert.Equal(t, "first", page.Value)
	watch(b, "flow", func(map[string]any) bool { return true })
	watch(b, "deadletters:state=open", func(l struct{ Letters []any }) bool { return len(l.Letters) == 1 })
	require.NoError(t, b.console.Close(t.Context()), "and it ends")
}
