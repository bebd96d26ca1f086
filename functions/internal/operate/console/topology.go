package console

import (
	"net/http"
	"slices"
	"strings"

	"example.com/orders/events"
	"example.com/orders/functions/internal/operate/asyncapi"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/knative"
)

// topology is the wiring as it is drawn: functions, topics, and the arrows between them.
type topology struct {
	Functions []functionNode `json:"functions"`
	Topics    []topicNode    `json:"topics"`
	Emits     []emission     `json:"tells"`
	Handles   []handling     `json:"handles"`
	// Publishers has what publishes the events of each outbox.
	Publishers []publisher `json:"publishers"`
}

// publisher is a relay or, if connectors capture the outboxes, a connector.
type publisher struct {
	Name      string `json:"name"`
	Outbox    string `json:"outbox"` // its schema
	Connector bool   `json:"connector"`
}

type functionNode struct {
	Name string `json:"name"`
	// Starts is what else starts the function besides events: "http" or "clock", or empty.
	Starts string `json:"starts,omitempty"`
}

type topicNode struct {
	Name       string `json:"name"`
	Partitions int32  `json:"partitions"`
	Outbox     string `json:"outbox"` // the schema whose outbox has its events
}

// emission is an arrow from a function to a topic.
type emission struct {
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

// newTopology draws the wiring: the functions with an arrow, and the topics except dead letters.
func newTopology(w *knative.Wiring, prefix string) topology {
	plain := func(name string) string { return strings.TrimPrefix(name, prefix) }
	t := topology{Functions: []functionNode{}, Topics: []topicNode{}, Emits: []emission{}, Handles: []handling{}, Publishers: publishers(w, plain)}
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
		if !deadLetters[topic.Name] && !strings.HasSuffix(topic.Name, knative.DeadLetterSuffix) {
			t.Topics = append(t.Topics, topicNode{plain(topic.Name), topic.Partitions, events.SchemaOf(plain(topic.Name))})
		}
	}
	for _, service := range w.Services {
		if len(asyncapi.Emits(service.Function)) == 0 && !handles[service.Name] {
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
		for _, topic := range asyncapi.Emits(service.Function) {
			t.Emits = append(t.Emits, emission{service.Name, topic})
		}
	}
	return t
}

// publishers returns what publishes the events of each outbox; plain removes the prefix from a name.
func publishers(w *knative.Wiring, plain func(string) string) []publisher {
	all := []publisher{}
	for _, service := range w.Services {
		outbox := service.Outbox()
		if outbox == "" {
			continue
		}
		p := publisher{Name: service.Name, Outbox: outbox}
		if i := slices.IndexFunc(w.Connectors, func(one knative.Connector) bool { return one.Schema == outbox }); i >= 0 {
			p.Name, p.Connector = plain(w.Connectors[i].Name), true
		}
		all = append(all, p)
	}
	return all
}

func (c *Console) serveTopology(w http.ResponseWriter, _ *http.Request) error {
	return rest.JSON(w, http.StatusOK, c.topology)
}

// producer returns the function that emitted an event of a type. If there are several, it is the one that consumes the type
// of the cause; with an unknown cause, the one that consumes nothing.
func (t topology) producer(eventType, causeType string) string {
	var candidates []string
	for _, e := range t.Emits {
		if e.Topic == eventType {
			candidates = append(candidates, e.Function)
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
