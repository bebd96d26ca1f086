package console

import (
	"context"

	"example.com/orders/functions/internal/operate/connect"
)

// capturing is the status of the connector of an outbox.
type capturing struct {
	State  connect.State `json:"state"`
	Reason string        `json:"reason,omitempty"` // of a failure, or why the state is unknown
}

// unknownState is that of connectors while Kafka Connect does not answer.
const unknownState connect.State = "UNKNOWN"

// readConnectors reads the status of the connectors by their outbox: nothing while relays publish.
func (c *Console) readConnectors(ctx context.Context) (any, error) {
	all := map[string]capturing{}
	if c.o.Connectors == nil {
		return all, nil
	}
	statuses, err := c.o.Connectors(ctx)
	for _, one := range c.o.Wiring.Connectors {
		if err != nil {
			all[one.Schema] = capturing{unknownState, err.Error()}
			continue
		}
		s := statuses[one.Name]
		all[one.Schema] = capturing{s.State(), s.Reason()}
	}
	return all, nil
}
