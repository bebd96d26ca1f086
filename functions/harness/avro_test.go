package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/registrytest"
)

// withRegistry returns a stack with a schema registry: that of SCHEMA_REGISTRY_URL, or one in this process.
func withRegistry(t *testing.T) (s stack, address string) {
	t.Helper()
	s = newStack(t)
	if address = os.Getenv("SCHEMA_REGISTRY_URL"); address == "" {
		address = registrytest.Start(t).URL()
	}
	s.environ = append(s.environ, "SCHEMA_REGISTRY_URL="+address)
	if !kafkatest.Given() {
		s.environ = append(s.environ, "KAFKA_TOPIC_PREFIX=t"+uuid.NewString()[:8]+".") // a real registry has the subjects of other tests
	}
	return s, address
}

func (s stack) inAvro() stack {
	s.environ = append(slices.Clone(s.environ), "EVENT_FORMAT=avro")
	return s
}

func TestOrdersRunInAvroBesideThoseInJSON(t *testing.T) {
	t.Parallel()
	s, address := withRegistry(t)
	p := s.up(t)
	inJSON := p.place(t, "SKU-123", 2)
	p.awaitStatus(t, inJSON.OrderID, "CONFIRMED")
	p.awaitLog(t, "event handled\" function=notify")
	p.stop(t)

	p = s.inAvro().listening(t, p.url, "--chaos", "poison=1", "--chaos-function", "notify")
	s = p.stack
	p.await(t, "it says what is missing", func() bool {
		_, _, reasons := p.health(t)
		return strings.Contains(strings.Join(values(reasons), " "), `run "harness schemas register"`)
	})
	assert.Contains(t, s.operate(t, "", "schemas list"), "order.created.v2.avsc: not registered under ")
	s.operate(t, "", "schemas check")
	s.operate(t, "", "schemas register")
	assert.NotContains(t, s.operate(t, "", "schemas list"), "not registered")
	p.await(t, "it is ready", func() bool { return p.get(t, "/health", nil) == http.StatusOK })
	o := p.place(t, "SKU-123", 3)
	p.awaitStatus(t, o.OrderID, "CONFIRMED")

	p.awaitLetters(t, s, 1)
	shown := s.show(t)[0]
	assert.Equal(t, "order.confirmed", shown.EventType)
	assert.Empty(t, shown.Binary, "a dead letter in Avro is shown as JSON")
	assert.Contains(t, shown.Value, `"eventType":"order.confirmed","version":1,"orderId":"`+o.OrderID+`"`)
	p.readByPython(t, s, address, o)
	p.stop(t)

	p = s.up(t)
	assert.Contains(t, s.operate(t, "", "deadletters replay --all --reason fixed"), "1 letter replayed")
	p.audit(t)
	p.stop(t)
}

// TestNoOrderIsLostWhileTheRegistryIsAway has a harness that knows the schemas when the registry goes away, and one that starts
// without it, on the records that the first one has left unread.
func TestNoOrderIsLostWhileTheRegistryIsAway(t *testing.T) {
	t.Parallel()
	s := newStack(t).inAvro()
	registry := registrytest.Start(t)
	s.environ = append(s.environ, "SCHEMA_REGISTRY_URL="+registry.URL())
	s.operate(t, "", "schemas register")
	p := s.up(t)
	first := p.place(t, "SKU-123", 1)
	p.awaitStatus(t, first.OrderID, "CONFIRMED")

	registry.Away.Store(true)
	placed := []order{first}
	place := func(n int) {
		for range n {
			placed = append(placed, p.place(t, "SKU-123", 1))
		}
	}
	place(10)
	for _, o := range placed {
		p.awaitStatus(t, o.OrderID, "CONFIRMED")
	}
	place(10)
	p.kill(t)

	p = s.listening(t, p.url)
	p.await(t, "it says that the registry is away", func() bool {
		_, _, reasons := p.health(t)
		return strings.Contains(strings.Join(values(reasons), " "), "the schema registry gives no answer")
	})
	place(10)
	last := placed[len(placed)-1]
	asked := registry.Requests.Load()
	p.await(t, "it asks for a schema again", func() bool { return registry.Requests.Load() > asked+2 })
	assert.Equal(t, "PENDING", p.order(t, last.OrderID).Status)
	assert.Empty(t, s.letters(t, "--state", "open"))

	registry.Away.Store(false)
	for _, o := range placed {
		p.awaitStatus(t, o.OrderID, "CONFIRMED")
	}
	p.await(t, "it is ready", func() bool { return p.get(t, "/health", nil) == http.StatusOK })
	assert.Empty(t, s.letters(t, "--state", "open"))
	p.audit(t)
	p.stop(t)
}

func values(of map[string]string) (all []string) {
	for _, value := range of {
		all = append(all, value)
	}
	return all
}

// readByPython reads the topics as another service does, if AVRO_PYTHON names a python with its libraries: .ci/run registry.
func (p *process) readByPython(t *testing.T, s stack, registry string, o order) {
	t.Helper()
	python := os.Getenv("AVRO_PYTHON")
	if python == "" {
		return
	}
	run, err := readRun(s.data)
	require.NoError(t, err)
	arguments := []string{filepath.Join("..", "..", ".ci", "contracts", "read_avro.py"), strings.Join(p.brokers(t, s), ","), registry}
	for _, eventType := range []string{events.OrderCreatedType, events.InventoryReservedType, events.OrderConfirmedType} {
		arguments = append(arguments, run.Variables["KAFKA_TOPIC_PREFIX"]+eventType)
	}
	command := exec.CommandContext(t.Context(), python, arguments...)
	command.Stderr = &p.log
	out, err := command.Output()
	require.NoError(t, err)
	read := map[string]map[string]any{}
	for line := range strings.Lines(string(out)) {
		var record struct {
			Key, Type string
			Value     map[string]any
		}
		require.NoError(t, json.Unmarshal([]byte(line), &record))
		assert.Equal(t, o.OrderID, record.Key, "only the later order is in Avro")
		assert.Equal(t, o.OrderID, record.Value["orderId"])
		read[record.Type] = record.Value
	}
	require.Len(t, read, 3)
	item := read[events.OrderCreatedType]["items"].([]any)[0].(map[string]any)
	assert.Equal(t, "SKU-123", item["sku"])
	assert.InDelta(t, 3, item["quantity"], 0)
	assert.Equal(t, read[events.OrderCreatedType]["totalAmount"], read[events.OrderConfirmedType]["totalAmount"])
	assert.Contains(t, read[events.OrderCreatedType]["createdAt"], "+00:00")
}
