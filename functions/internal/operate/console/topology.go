package console

import (
	"net/http"
	"slices"
	"strings"

	"example.com/orders/events"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/knative"
)

// emits are the types that each function tells, by the folder of the function. The manifests do not have them: they wire
// topics to functions, and a function writes to its outbox.
var emits = map[string][]string{
	"createorder":   {events.OrderCreatedType},
	"reservestock":  {events.InventoryReservedType, events.InventoryRejectedType},
	"finalizeorder": {events.OrderConfirmedType, events.OrderFailedType},
	"cancelorder":   {events.OrderCanceledType},
	"expireorders":  {events.OrderFailedType},
	"releasestock":  {events.InventoryReleasedType},
}

// topology is the wiring as it is drawn: functions, topics, and arrows between the two.
type topology struct {
	Functions []functionNode `json:"functions"`
	Topics    []topicNode    `json:"topics"`
	Tells     []telling      `json:"tells"`
	Handles   []handling     `json:"handles"`
}

type functionNode struct {
	Name string `json:"name"`
	// Starts is what starts the function beside events: "http" or "clock", empty when nothing does.
	Starts string `json:"starts,omitempty"`
}

type topicNode struct {
	Name       string `json:"name"`
	Partitions int32  `json:"partitions"`
}

// telling is an arrow from a function to a topic.
type telling struct {
	Function string `json:"function"`
	Topic    string `json:"topic"`
}

// handling is an arrow from a topic to a function: a KafkaSource.
type handling struct {
	Topic      string `json:"topic"`
	Function   string `json:"function"`
	Group      string `json:"group"`
	Consumers  int    `json:"consumers"`
	Retry      int    `json:"retry"`
	DeadLetter string `json:"deadLetter"`
}

// newTopology draws the wiring: the functions that have an arrow, and the topics that are no dead letters.
func newTopology(w *knative.Wiring, prefix string) topology {
	plain := func(name string) string { return strings.TrimPrefix(name, prefix) }
	t := topology{Functions: []functionNode{}, Topics: []topicNode{}, Tells: []telling{}, Handles: []handling{}}
	deadLetters := map[string]bool{}
	handles := map[string]bool{}
	for _, source := range w.Sources {
		deadLetters[source.Delivery.DeadLetter], handles[source.Sink] = true, true
		t.Handles = append(t.Handles, handling{
			Topic: plain(source.Topic), Function: source.Sink, Group: plain(source.Group), Consumers: source.Consumers,
			Retry: source.Delivery.Retry, DeadLetter: plain(source.Delivery.DeadLetter),
		})
	}
	for _, topic := range w.Topics {
		if !deadLetters[topic.Name] && !strings.HasSuffix(topic.Name, ".dlq") {
			t.Topics = append(t.Topics, topicNode{plain(topic.Name), topic.Partitions})
		}
	}
	for _, service := range w.Services {
		if len(emits[service.Function]) == 0 && !handles[service.Name] {
			continue // a relay, or a page onto a schema
		}
		node := functionNode{Name: service.Name}
		if !handles[service.Name] {
			node.Starts = "http"
			if slices.ContainsFunc(w.Pings, func(p knative.PingSource) bool { return p.Sink == service.Name }) {
				node.Starts = "clock"
			}
		}
		t.Functions = append(t.Functions, node)
		for _, topic := range emits[service.Function] {
			t.Tells = append(t.Tells, telling{service.Name, topic})
		}
	}
	return t
}

func (c *Console) serveTopology(w http.ResponseWriter, _ *http.Request) error {
	return rest.JSON(w, http.StatusOK, c.topology)
}

// teller is the function that told an event of a type, of several the one that handles events of the type that caused
// it; with an unknown cause the one that handles none.
func (t topology) teller(eventType, causeType string) string {
	var candidates []string
	for _, told := range t.Tells {
		if told.Topic == eventType {
			candidates = append(candidates, told.Function)
		}
	}
	for _, name := range candidates {
		handles := slices.ContainsFunc(t.Handles, func(h handling) bool {
			return h.Function == name && (h.Topic == causeType || causeType == "")
		})
		if handles == (causeType != "") {
			return name
		}
	}
	if len(candidates) == 0 {
		return ""
	}
	return candidates[0]
}
