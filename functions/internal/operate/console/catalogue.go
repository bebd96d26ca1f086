package console

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"

	"example.com/orders/events"
	"example.com/orders/functions/internal/web/rest"
)

// described is an event or a command in the catalogue.
type described struct {
	Type   string `json:"type"`
	Source string `json:"source,omitempty"` // empty for a command
	// SentTo is the function that takes a command.
	SentTo    string          `json:"sentTo,omitempty"`
	Says      string          `json:"says"`
	Schema    json.RawMessage `json:"schema"`
	Example   json.RawMessage `json:"example"`
	Producers []string        `json:"producers"`
	Consumers []handling      `json:"consumers"`
}

// catalogue lists the events of the topology, and the command that has a schema.
func (t topology) catalogue() ([]described, error) {
	all := []described{}
	for _, eventType := range append(events.Types(), events.OrderCreateType) {
		file := eventType + ".v1.json"
		schema, err := fs.ReadFile(events.Schemas(), file)
		if err != nil {
			return nil, fmt.Errorf("read the schema of %s: %w", eventType, err)
		}
		example, err := fs.ReadFile(events.Examples(), file)
		if err != nil {
			return nil, fmt.Errorf("read the example of %s: %w", eventType, err)
		}
		var about struct {
			Description string `json:"description"`
		}
		if err := json.Unmarshal(schema, &about); err != nil {
			return nil, fmt.Errorf("decode the schema of %s: %w", eventType, err)
		}
		d := described{
			Type: eventType, Source: events.SourceOf(eventType), Says: about.Description, Schema: schema, Example: example,
			Producers: []string{}, Consumers: []handling{},
		}
		if d.Source == "" {
			d.SentTo = "create-order"
		}
		for _, e := range t.Emits {
			if e.Topic == eventType {
				d.Producers = append(d.Producers, e.Function)
			}
		}
		for _, h := range t.Handles {
			if h.Topic == eventType {
				d.Consumers = append(d.Consumers, h)
			}
		}
		all = append(all, d)
	}
	return all, nil
}

// serveCatalogue answers GET /console/catalogue with each event: its schema, an example, its producers and consumers.
func (c *Console) serveCatalogue(w http.ResponseWriter, _ *http.Request) error {
	all, err := c.topology.catalogue()
	if err != nil {
		return err
	}
	return rest.JSON(w, http.StatusOK, all)
}
