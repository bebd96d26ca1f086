package registry

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/twmb/franz-go/pkg/sr"

	"example.com/orders/events/avro"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/observe/health"
)

// Reader turns events in Avro into events in JSON. It asks for each schema once, and keeps it in memory. Many goroutines may
// use it; a nil Reader knows no registry.
type Reader struct {
	registry *Registry
	ready    health.Check

	mu      sync.RWMutex
	known   map[key]*avro.Reader
	waiting map[key]bool // those that events need and the registry gave no answer to
}

// key is a schema as the events of a type need it.
type key struct {
	eventType string
	id        int
}

// NewReader returns a reader that has asked for nothing yet.
func NewReader(registry *Registry) *Reader {
	r := &Reader{registry: registry, known: map[key]*avro.Reader{}, waiting: map[key]bool{}}
	r.ready.Ask = r.askAgain
	return r
}

// OpenReader returns a reader with the registry of the configuration, see Open; nil without one.
func OpenReader(config map[string]string) (*Reader, error) {
	registry, err := Open(config)
	switch {
	case errors.Is(err, ErrNotConfigured):
		return nil, nil //nolint:nilnil // a nil reader works
	case err != nil:
		return nil, err
	}
	return NewReader(registry), nil
}

// JSON returns e with its data as JSON, if it is in Avro; any other event is returned as it is. An error that wraps ErrAway
// says nothing about the event: it is to be delivered again once Err returns nil. Every other error is poison: the registry
// does not have the schema, or the data does not fit it.
func (r *Reader) JSON(ctx context.Context, e event.Event) (event.Event, error) {
	if e.DataMediaType() != MediaType {
		return e, nil
	}
	if r == nil {
		return e, delivery.Poison(fmt.Errorf("the data is in Avro: %w", ErrNotConfigured))
	}
	data := e.Data()
	if len(data) < headerSize || data[0] != 0 {
		return e, delivery.Poison(fmt.Errorf("the data of %d bytes does not begin with a zero byte and the id of a schema", len(data)))
	}
	k := key{e.Type(), int(binary.BigEndian.Uint32(data[1:headerSize]))}
	reader, err := r.reader(ctx, k)
	if err != nil {
		return e, err
	}
	text, err := reader.JSON(data[headerSize:])
	if err != nil {
		return e, delivery.Poison(fmt.Errorf("schema %d: %w", k.id, err))
	}
	inJSON := event.Event{Context: e.Context.Clone(), DataEncoded: text}
	inJSON.SetDataContentType(event.ApplicationJSON)
	return inJSON, nil
}

// headerSize is the size of what stands before the data, in bytes.
const headerSize = 5

func (r *Reader) reader(ctx context.Context, k key) (*avro.Reader, error) {
	r.mu.RLock()
	known := r.known[k]
	r.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	var schema sr.Schema
	err := r.registry.ask(ctx, func(ctx context.Context) (err error) {
		schema, err = r.registry.client.SchemaByID(ctx, k.id)
		return err
	})
	switch {
	case errors.Is(err, errNotFound):
		r.settle(k, nil)
		return nil, delivery.Poison(fmt.Errorf("schema %d: %w", k.id, err))
	case err != nil:
		r.mu.Lock()
		r.waiting[k] = true
		r.mu.Unlock()
		return nil, fmt.Errorf("schema %d: %w", k.id, err)
	}
	if schema.Type != sr.TypeAvro || len(schema.References) > 0 {
		r.settle(k, nil)
		return nil, delivery.Poison(fmt.Errorf("schema %d is not an Avro schema without references", k.id))
	}
	reader, err := avro.NewReader(k.eventType, schema.Schema)
	if err != nil {
		r.settle(k, nil)
		return nil, delivery.Poison(fmt.Errorf("schema %d: %w", k.id, err))
	}
	r.settle(k, reader)
	return reader, nil
}

// settle ends the wait for a schema, and keeps its reader unless it is nil.
func (r *Reader) settle(k key, reader *avro.Reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, k)
	if reader != nil {
		r.known[k] = reader
	}
}

// Err returns nil unless events wait for a schema to which the registry still gives no answer; it asks again.
func (r *Reader) Err(ctx context.Context) error {
	if r == nil || len(r.awaited()) == 0 {
		return nil
	}
	return r.ready.Err(ctx)
}

func (r *Reader) awaited() []key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	keys := make([]key, 0, len(r.waiting))
	for k := range r.waiting {
		keys = append(keys, k)
	}
	return keys
}

func (r *Reader) askAgain(ctx context.Context) error {
	for _, k := range r.awaited() {
		if _, err := r.reader(ctx, k); errors.Is(err, ErrAway) {
			return err
		}
	}
	return nil
}
