// Package events has the events between the services: facts, commands and their answers. It converts typed data to
// CloudEvents and back, checks the same bounds in both directions, and names every violation. README.md is the catalogue.
package events

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"example.com/orders/events/strictjson"
)

//go:embed schemas/*.json
var schemas embed.FS

//go:embed testdata/*.json
var examples embed.FS

// maxTracestate is the length of a tracestate that the W3C asks every system to propagate.
const maxTracestate = 512

// Data is the data of a fact. Only the types of this package implement it.
type Data interface {
	// Type is the CloudEvents type, which is also the topic and the eventType.
	Type() string
	// Version is the version of this type's data.
	Version() int
	// Source names the service that emits the fact.
	Source() string
	// Subject is the order id.
	Subject() string
	// Validate returns strictjson.Violations, or nil.
	Validate() error

	read(*strictjson.Object) Data
	// settled returns the data with its times in wireTime.
	settled() Data
}

// facts are all versions of all facts.
var facts = []Data{
	InventoryRejected{},
	InventoryReleased{},
	InventoryReserved{},
	OrderCanceled{},
	OrderConfirmed{},
	OrderCreatedV1{},
	OrderCreated{},
	OrderFailed{},
	PaymentAuthorized{},
	PaymentDeclined{},
	PaymentRefunded{},
}

// Types returns the types of all facts, which are the names of their topics.
func Types() []string {
	var types []string
	for _, c := range Contracts() {
		if c.Newest {
			types = append(types, c.Type)
		}
	}
	return types
}

// SourceOf returns the source of the facts of a type, empty when there is no such type.
func SourceOf(eventType string) string {
	if fact := newest(eventType); fact != nil {
		return fact.Source()
	}
	return ""
}

// SchemaOf returns the database schema whose outbox has the facts of a type, which is the name in their source; empty when there
// is no such type.
func SchemaOf(eventType string) string { return strings.TrimPrefix(SourceOf(eventType), "/") }

// Schemas returns the JSON Schemas: one file "<type>.v<version>.json" for each version of a fact,
// and one for the command order.create.
func Schemas() fs.FS {
	sub, err := fs.Sub(schemas, "schemas")
	if err != nil {
		panic(err) // Sub fails only for an invalid path
	}
	return sub
}

// Examples returns the data of an event of each version, in files with the names of the schemas.
func Examples() fs.FS {
	sub, err := fs.Sub(examples, "testdata")
	if err != nil {
		panic(err) // Sub fails only for an invalid path
	}
	return sub
}

// Cause is the origin of an event: the flow that it belongs to, and the event or request that caused it. Every part may be
// empty.
type Cause struct {
	CorrelationID string // 1 to 128 printable ASCII characters
	CausationID   string // the id of the causing event, with the same bounds
	Traceparent   string // W3C trace context; a malformed one is dropped
	Tracestate    string
}

// CauseOf returns the cause for events that e causes: the correlation id of e, or its id without one, and e itself as the
// cause. It replaces an id that is too long or not printable ASCII by its SHA-256, so that the ids of a foreign event can
// always be stored.
func CauseOf(e event.Event) Cause {
	correlation := attribute(e, "correlationid")
	if correlation == "" {
		correlation = e.ID()
	}
	return Cause{
		CorrelationID: portable(correlation),
		CausationID:   portable(e.ID()),
		Traceparent:   attribute(e, "traceparent"),
		Tracestate:    attribute(e, "tracestate"),
	}
}

// New returns the nth fact (from 1) that d's source emits about d's order, in d's version, with the time at. It fails for data out of
// bounds, n < 1, a time that cannot be written, and ids in cause out of their bounds.
func New(d Data, n int, at time.Time, cause Cause) (event.Event, error) {
	e, err := build(d.settled(), n, wireTime(at), cause)
	if err != nil {
		return event.Event{}, fmt.Errorf("make %s %d of order %q: %w", d.Type(), n, d.Subject(), err)
	}
	return e, nil
}

func build(d Data, n int, at time.Time, cause Cause) (event.Event, error) {
	e := event.New()
	if err := d.Validate(); err != nil {
		return e, err
	}
	if n < 1 {
		return e, fmt.Errorf("facts count from 1, not %d", n)
	}
	if !validTime(at) {
		return e, fmt.Errorf("time %s is not in the years 1970 to 9999", at)
	}
	for _, id := range []string{cause.CorrelationID, cause.CausationID} {
		if id != portable(id) {
			return e, fmt.Errorf("cause %q is not 1 to %d printable ASCII characters", id, maxCorrelationID)
		}
	}
	data, err := encode(d)
	if err != nil {
		return e, err
	}
	e.SetID(d.Subject() + "#" + strconv.Itoa(n))
	e.SetSource(d.Source())
	e.SetType(d.Type())
	e.SetSubject(d.Subject())
	e.SetTime(at)
	e.SetDataSchema(schemaURI(d))
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = data // SetData would mark bytes as binary, and structured mode would write base64
	e.SetExtension("partitionkey", d.Subject())
	setUnlessEmpty(&e, "correlationid", cause.CorrelationID)
	setUnlessEmpty(&e, "causationid", cause.CausationID)
	if validTraceparent(cause.Traceparent) {
		e.SetExtension("traceparent", cause.Traceparent)
		if madeOf(cause.Tracestate, maxTracestate, func(b byte) bool { return b == ' ' || printable(b) }) {
			e.SetExtension("tracestate", cause.Tracestate)
		}
	}
	return e, e.Validate()
}

// encode writes eventType and version ahead of the fields of d. They come from the Go type, so no value can contradict it.
func encode(d Data) ([]byte, error) {
	fields, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	head := `{"eventType":"` + d.Type() + `","version":` + strconv.Itoa(d.Version()) + `,`
	return slices.Concat([]byte(head), fields[1:]), nil
}

// ParseID splits an event id "{orderId}#{n}", n from 1 and without leading zeros.
func ParseID(id string) (orderID string, n int, err error) {
	orderID, count, found := strings.Cut(id, "#")
	n, err = strconv.Atoi(count)
	if !found || err != nil || n < 1 || strconv.Itoa(n) != count || !ValidOrderID(orderID) {
		return "", 0, fmt.Errorf("event id %q is not {orderId}#{n}", id)
	}
	return orderID, n, nil
}

// Extensions returns the extensions of e for reading only: the method of the event copies them.
func Extensions(e event.Event) map[string]any {
	if v1, ok := e.Context.(*event.EventContextV1); ok {
		return v1.Extensions
	}
	return e.Extensions()
}

func attribute(e event.Event, name string) string {
	value, found := Extensions(e)[name]
	if !found {
		return "" // ToString would make an error that nobody reads
	}
	s, err := types.ToString(value)
	if err != nil {
		return ""
	}
	return s
}

func setUnlessEmpty(e *event.Event, name, s string) {
	if s != "" {
		e.SetExtension(name, s)
	}
}

// portable returns id itself if it is empty or can be sent and stored as it is.
func portable(id string) string {
	if id == "" || madeOf(id, maxCorrelationID, printable) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

func printable(b byte) bool { return '!' <= b && b <= '~' }

// validTraceparent accepts version 00 of the W3C trace context, in which ids of only zeros mean that there is no trace.
func validTraceparent(s string) bool {
	return fits(s, "00-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx") &&
		strings.Trim(s[3:35], "0") != "" && strings.Trim(s[36:52], "0") != ""
}
