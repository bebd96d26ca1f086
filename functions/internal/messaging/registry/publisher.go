package registry

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/twmb/franz-go/pkg/sr"

	"example.com/orders/events"
	"example.com/orders/events/avro"
	"example.com/orders/functions/internal/messaging/outbox"
)

// ErrNotRegistered means that the registry does not have the schema that an event is to be written with.
var ErrNotRegistered = errors.New("the schema is not registered")

// errNoOutcome replaces an outcome that the other publisher did not return: the fate of the event is unknown.
var errNoOutcome = errors.New("the publisher gave no outcome")

// Publisher is an outbox.Publisher that puts the data of events into Avro before another one publishes them. It registers
// nothing: that is done by the command "harness schemas register", before a version is written for the first time. It learns
// the id of each schema once, and keeps it in memory: so it goes on while the registry is away, but cannot start then. An event
// whose schema has no known id is not published; its row stays as it is.
type Publisher struct {
	next     outbox.Publisher
	registry *Registry
	source   string

	mu  sync.RWMutex
	ids map[events.Contract]int
}

// NewPublisher returns a publisher in front of next, for the events of a source.
func NewPublisher(next outbox.Publisher, registry *Registry, source string) *Publisher {
	return &Publisher{next: next, registry: registry, source: source, ids: map[events.Contract]int{}}
}

// Publish publishes a batch: see outbox.Publisher.
func (p *Publisher) Publish(ctx context.Context, batch []event.Event) []outbox.Outcome {
	outcomes := make([]outbox.Outcome, len(batch))
	encoded := make([]event.Event, 0, len(batch))
	places := make([]int, 0, len(batch))
	for i, e := range batch {
		inAvro, err := p.encode(ctx, e)
		if err != nil {
			outcomes[i].Err = err
			continue
		}
		encoded, places = append(encoded, inAvro), append(places, i)
	}
	if len(encoded) == 0 {
		return outcomes
	}
	answers := p.next.Publish(ctx, encoded)
	for i, place := range places {
		if outcomes[place].Err = errNoOutcome; i < len(answers) {
			outcomes[place] = answers[i]
		}
	}
	return outcomes
}

// encode returns the event with its data in the wire format.
func (p *Publisher) encode(ctx context.Context, e event.Event) (event.Event, error) {
	if e.DataMediaType() != event.ApplicationJSON {
		return e, nil
	}
	schema, data, err := avro.Encode(e.Type(), e.Data())
	if err != nil {
		return e, fmt.Errorf("%w: %w", outbox.ErrRefused, err)
	}
	id, err := p.id(ctx, schema)
	if err != nil {
		return e, err
	}
	inAvro := event.Event{Context: e.Context.Clone(), DataBase64: true}
	inAvro.SetDataContentType(MediaType)
	inAvro.DataEncoded = append(header(id), data...)
	return inAvro, nil
}

// header returns what stands before the data.
func header(id int) []byte {
	return binary.BigEndian.AppendUint32([]byte{0}, uint32(id)) // the registry's ids have 32 bits
}

// id returns the id of a schema, which it asks for once.
func (p *Publisher) id(ctx context.Context, schema avro.Schema) (id int, err error) {
	p.mu.RLock()
	id, known := p.ids[schema.Contract]
	p.mu.RUnlock()
	if known {
		return id, nil
	}
	subject := p.registry.Subject(schema.Type)
	err = p.registry.ask(ctx, func(ctx context.Context) error {
		var found sr.SubjectSchema
		found, err := p.registry.client.LookupSchema(ctx, subject, schemaOf(schema))
		id = found.ID
		return err
	})
	switch {
	case errors.Is(err, errNotFound):
		return 0, fmt.Errorf("%w: %s under %s: run \"harness schemas register\"", ErrNotRegistered, avro.File(schema.Contract), subject)
	case err != nil:
		return 0, fmt.Errorf("look for %s under %s: %w", avro.File(schema.Contract), subject, err)
	}
	p.mu.Lock()
	p.ids[schema.Contract] = id
	p.mu.Unlock()
	return id, nil
}

// Err returns nil once the ids of all schemas of the source are known, which it asks for.
func (p *Publisher) Err(ctx context.Context) error {
	for _, schema := range avro.Schemas() {
		if schema.Source == p.source {
			if _, err := p.id(ctx, schema); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close closes the other publisher.
func (p *Publisher) Close() error { return p.next.Close() }
