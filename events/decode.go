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

// ErrUnknownVersion is wrapped by Decode for data of a version that this reader does
// not know: it was deployed before the reader that does.
var ErrUnknownVersion = errors.New("unknown version")

// MaxEventID is the longest id of a fact, in characters: consumers record it.
const MaxEventID = 128

// Decode reads the data of e, which must be the fact T told by T's source, in the version of T, with
// exactly its fields, within bounds and about the order that e's subject names. Every
// error is permanent: the same event will never be read. What is wrong with the data
// itself is reported as strictjson.Violations.
func Decode[T Data](e event.Event) (T, error) {
	var fact T
	d, err := decode(fact, e)
	if err != nil {
		return fact, fmt.Errorf("decode %s %q: %w", fact.Type(), e.ID(), err)
	}
	return d.(T), nil //nolint:forcetypeassert // decode returns what it is given the type of
}

func decode(want Data, e event.Event) (Data, error) {
	if e.Type() != want.Type() {
		return nil, fmt.Errorf("type is %q", e.Type())
	}
	if e.Source() != want.Source() {
		return nil, fmt.Errorf("source is %q: only %s tells this", e.Source(), want.Source())
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
	// The version comes first: another one makes every other complaint meaningless.
	switch version := o.Int("version"); version {
	case int64(want.Version()):
	case 0:
		o.Fail("version", "must be 1 or more")
	default:
		return nil, fmt.Errorf("%w %d", ErrUnknownVersion, version)
	}
	if schema := e.DataSchema(); schema != "" && schema != schemaURI(want) {
		return nil, fmt.Errorf("data schema is %q, not %s", schema, schemaURI(want))
	}
	if o.String("eventType") != want.Type() {
		o.Fail("eventType", "must be "+want.Type())
	}
	d := want.read(o)
	if err := judge(o, d.Validate()); err != nil {
		return nil, err
	}
	if d.Subject() != e.Subject() {
		return nil, fmt.Errorf("orderId is %s, but the subject is %q", d.Subject(), e.Subject())
	}
	return d, nil
}

// checkAttributes refuses an id that consumers could not record, and text in any
// attribute that no CloudEvent may have. Type, source, subject and data schema are
// compared with what they must be, and need no bounds of their own; a correlation id
// that is merely unusual is stood for by its hash, see CauseOf.
func checkAttributes(e event.Event) error {
	if utf8.RuneCountInString(e.ID()) > MaxEventID {
		return fmt.Errorf("id is longer than %d characters", MaxEventID)
	}
	var bad []string
	if !validText(e.ID()) {
		bad = append(bad, "id")
	}
	for name, value := range extensions(e) {
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

// judge adds what is out of bounds to what o has found of the wrong shape and
// returns all of it.
func judge(o *strictjson.Object, bounds error) error {
	var violations strictjson.Violations
	if errors.As(bounds, &violations) {
		for _, v := range violations {
			o.Fail(v.Field, v.Detail)
		}
	}
	return o.Done()
}
