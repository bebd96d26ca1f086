package console

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"example.com/orders/events"
	"example.com/orders/functions/internal/operate/asyncapi"
	"example.com/orders/functions/internal/web/rest"
)

// described is an event or a command in the catalogue.
type described struct {
	Type   string `json:"type"`
	Source string `json:"source,omitempty"` // empty for a command
	// SentTo is the function that takes a command.
	SentTo string `json:"sentTo,omitempty"`
	Says   string `json:"says"` // of the newest version
	// Versions are newest first; a command has one.
	Versions  []version  `json:"versions"`
	Producers []string   `json:"producers"`
	Consumers []handling `json:"consumers"`
}

// version is a version of an event's data.
type version struct {
	Version int             `json:"version"`
	Schema  any             `json:"schema"`
	Example json.RawMessage `json:"example"`
	// Headers are those of the example's record; a command has none.
	Headers map[string]string `json:"headers,omitempty"`
}

// catalogue lists the events that a document describes, and the command that has a schema.
func catalogue(document asyncapi.Document) ([]described, error) {
	all := []described{}
	for name, channel := range document.Channels {
		d := described{Type: name, Producers: []string{}, Consumers: []handling{}}
		for id := range channel.Messages {
			m := document.Components.Messages[id]
			if m.Contract == nil {
				continue // a dead letter
			}
			if d.Source = m.Contract.Source; m.Contract.Newest {
				d.Says = m.Summary
			}
			d.Versions = append(d.Versions, version{m.Contract.Version, document.Components.Schemas[id], m.Examples[0].Payload, m.Examples[0].Headers})
		}
		if d.Versions == nil {
			continue
		}
		slices.SortFunc(d.Versions, func(a, b version) int { return b.Version - a.Version })
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b described) int { return strings.Compare(a.Type, b.Type) })
	for i := range all {
		all[i].use(document.Operations)
	}
	command, err := commandOrderCreate()
	return append(all, command), err
}

// use lists the functions that operations name as producers and consumers.
func (d *described) use(operations map[string]asyncapi.Operation) {
	for _, o := range operations {
		if o.Channel.Ref != "#/channels/"+d.Type {
			continue
		}
		if o.Action == asyncapi.Send {
			d.Producers = append(d.Producers, o.Function)
			continue
		}
		d.Consumers = append(d.Consumers, handling{
			Topic: d.Type, Function: o.Function, Group: o.Delivery.Group, Consumers: o.Delivery.Consumers, Retry: o.Delivery.Retry,
			DeadLetter: strings.TrimPrefix(o.Delivery.DeadLetters.Ref, "#/channels/"),
		})
	}
	slices.Sort(d.Producers)
	slices.SortFunc(d.Consumers, func(a, b handling) int { return strings.Compare(a.Function, b.Function) })
}

// commandOrderCreate describes the command order.create, which travels over HTTP.
func commandOrderCreate() (described, error) {
	const file = events.OrderCreateType + ".v1.json"
	schema, err := fs.ReadFile(events.Schemas(), file)
	if err != nil {
		return described{}, fmt.Errorf("read the schema of %s: %w", events.OrderCreateType, err)
	}
	example, err := fs.ReadFile(events.Examples(), file)
	if err != nil {
		return described{}, fmt.Errorf("read the example of %s: %w", events.OrderCreateType, err)
	}
	var about struct {
		Description string `json:"description"`
	}
	if err := json.Unmarshal(schema, &about); err != nil {
		return described{}, fmt.Errorf("decode the schema of %s: %w", events.OrderCreateType, err)
	}
	return described{
		Type: events.OrderCreateType, SentTo: "create-order", Says: about.Description, Producers: []string{}, Consumers: []handling{},
		Versions: []version{{Version: 1, Schema: json.RawMessage(schema), Example: example}},
	}, nil
}

// serveCatalogue answers GET /console/catalogue with each event: its schema, an example, its producers and consumers.
func (c *Console) serveCatalogue(w http.ResponseWriter, _ *http.Request) error {
	all, err := catalogue(c.document)
	if err != nil {
		return err
	}
	return rest.JSON(w, http.StatusOK, all)
}
