package events

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events/strictjson"
)

// ErrUnknownVersion means that this consumer does not know the version of the data: it is older than the producer. A newer
// consumer can read the event.
var ErrUnknownVersion = errors.New("unknown version")

// MaxEventID is the length of the longest id of a fact, in characters: consumers store it.
const MaxEventID = 128

// Decode reads the data of e, which must be a fact of T's type from T's source, in T's version or an older one, with exactly
// the fields of that version, within its bounds and about the order in e's subject. It returns an older version upcast to T.
// Every error is permanent: a retry fails again. Faults of the data itself are strictjson.Violations.
func Decode[T Data](e event.Event) (T, error) {
	var fact T
	d, err := decode(fact, e)
	if err != nil {
		return fact, fmt.Errorf("decode %s %q: %w", fact.Type(), e.ID(), err)
	}
	return upcastTo(fact, d).(T), nil //nolint:forcetypeassert // there is one Go type for each version of a type
}

// Check returns an error unless e is a fact that Decode reads as the one of its type.
func Check(e event.Event) error {
	fact := newest(e.Type())
	if fact == nil {
		return fmt.Errorf("no fact has the type %q", e.Type())
	}
	if _, err := decode(fact, e); err != nil {
		return fmt.Errorf("decode %s %q: %w", e.Type(), e.ID(), err)
	}
	return nil
}

// decode returns the data in the version in which it was written.
func decode(want Data, e event.Event) (Data, error) {
	if e.Type() != want.Type() {
		return nil, fmt.Errorf("type is %q", e.Type())
	}
	if e.Source() != want.Source() {
		return nil, fmt.Errorf("source is %q: only %s emits this", e.Source(), want.Source())
	}
	if err := checkAttributes(e); err != nil {
		return nil, err
	}
	if media := e.DataMediaType(); media != event.ApplicationJSON {
		return nil, fmt.Errorf("data content type is %q, not %s", media, event.ApplicationJSON)
	}
	o, err := strictjson.Parse(e.Data())
	if err != nil {
		return nil, err
	}
	// Read the version first: in another version all other complaints are meaningless.
	written, err := writtenVersion(want, o)
	if err != nil {
		return nil, err
	}
	if schema := e.DataSchema(); schema != "" && schema != schemaURI(written) {
		return nil, fmt.Errorf("data schema is %q, not %s", schema, schemaURI(written))
	}
	if o.String("eventType") != want.Type() {
		o.Fail("eventType", "must be "+want.Type())
	}
	d := written.read(o)
	if err := judge(o, d.Validate()); err != nil {
		return nil, err
	}
	if d.Subject() != e.Subject() {
		return nil, fmt.Errorf("orderId is %s, but the subject is %q", d.Subject(), e.Subject())
	}
	return d, nil
}

// writtenVersion returns the fact of want's type in the version that o was written in. Without a usable number it adds a
// violation and returns want itself.
func writtenVersion(want Data, o *strictjson.Object) (Data, error) {
	number := o.Int("version")
	if number == 0 {
		o.Fail("version", "must be 1 or more")
		return want, nil
	}
	written := version(want.Type(), number)
	if written == nil || written.Version() > want.Version() {
		return nil, fmt.Errorf("%w %d: this program reads %s", ErrUnknownVersion, number, readable(want))
	}
	return written, nil
}

// readable names the versions that Decode reads as want.
func readable(want Data) string {
	oldest := want.Version()
	for version(want.Type(), int64(oldest-1)) != nil {
		oldest--
	}
	if oldest == want.Version() {
		return fmt.Sprintf("version %d", oldest)
	}
	return fmt.Sprintf("versions %d to %d", oldest, want.Version())
}

// checkAttributes refuses an id that consumers cannot store, and text that CloudEvents allows in no attribute. Type, source,
// subject and data schema need no bounds, since they are compared with fixed values; CauseOf replaces an unusual correlation
// id by its hash.
func checkAttributes(e event.Event) error {
	if utf8.RuneCountInString(e.ID()) > MaxEventID {
		return fmt.Errorf("id is longer than %d characters", MaxEventID)
	}
	var bad []string
	if !validText(e.ID()) {
		bad = append(bad, "id")
	}
	for name, value := range Extensions(e) {
		if s, ok := value.(string); ok && !validText(s) {
			bad = append(bad, name)
		}
	}
	if bad == nil {
		return nil
	}
	slices.Sort(bad)
	return fmt.Errorf("%s must be UTF-8 without control characters and noncharacters", strings.Join(bad, ", "))
}

// judge adds the violated bounds to the violations of o and returns all of them.
func judge(o *strictjson.Object, bounds error) error {
	var violations strictjson.Violations
	if errors.As(bounds, &violations) {
		for _, v := range violations {
			o.Fail(v.Field, v.Detail)
		}
	}
	return o.Done()
}
