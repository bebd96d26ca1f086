package createorder

import (
	"context"
	"errors"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/cloudevents/sdk-go/v2/types"

	"example.com/orders/events"
	"example.com/orders/functions/internal/rest"
	"example.com/orders/functions/internal/tracing"
)

// serve decodes the CloudEvent itself, and not by the function runtime, since it is open to the public and the runtime
// reads bodies of any size.
func (f *Function) serve(w http.ResponseWriter, r *http.Request) {
	rest.Handler(f.Logger, f.answer)(w, r)
}

func (f *Function) answer(w http.ResponseWriter, r *http.Request) (err error) {
	if err := f.Started(); err != nil {
		return rest.Unavailable(err.Error())
	}
	if r.Method != http.MethodPost {
		return rest.NotAllowed(http.MethodPost)(w, r)
	}
	e, err := readEvent(w, r)
	if err != nil {
		return err
	}
	f.correlate(w, r, e)
	ctx, e, end := tracing.Consume(r.Context(), f.Name, e)
	defer func() { end(err) }()
	asked, err := command(w, e)
	if err != nil {
		return err
	}
	accepted, err := f.Create(ctx, asked)
	if errors.Is(err, ErrKeyReused) {
		return KeyReused()
	}
	if err != nil {
		return err
	}
	return writeAccepted(ctx, w, accepted, asked.Cause)
}

// readEvent reads the CloudEvent of a request; the error is a *rest.Problem.
func readEvent(w http.ResponseWriter, r *http.Request) (event.Event, error) {
	// The SDK panics on a header that is a CloudEvents prefix without a name.
	if _, nameless := r.Header["Ce-"]; nameless {
		return event.Event{}, rest.NewProblem(http.StatusBadRequest, "the header ce- names no attribute")
	}
	rest.Bound(w, r)
	message := cehttp.NewMessageFromHttpRequest(r)
	defer func() { _ = message.Finish(nil) }()
	switch message.ReadEncoding() {
	case binding.EncodingBinary, binding.EncodingStructured:
	case binding.EncodingBatch:
		return event.Event{}, rest.NewProblem(http.StatusUnsupportedMediaType, "send one CloudEvent a request: batches are not taken")
	default:
		return event.Event{}, rest.NewProblem(http.StatusUnsupportedMediaType,
			"send a CloudEvent: with ce-id, ce-source, ce-type and ce-specversion headers (binary mode), or as Content-Type: "+event.ApplicationCloudEventsJSON)
	}
	e, err := binding.ToEvent(r.Context(), message)
	if err != nil {
		return event.Event{}, rest.BodyProblem(err)
	}
	if err := e.Validate(); err != nil {
		return event.Event{}, rest.Invalid(err)
	}
	return *e, nil
}

// command is the order that an event asks for. Its identity, source and id, is its idempotency key, unless it has the
// extension idempotencykey, which is the same key as the header of the orders API.
func command(w http.ResponseWriter, e event.Event) (Command, error) {
	if e.Type() != events.OrderCreateType {
		return Command{}, rest.NewProblem(http.StatusBadRequest, "the type of the CloudEvent must be "+events.OrderCreateType)
	}
	if e.DataContentType() != "" && !rest.IsJSON(e.DataContentType()) {
		return Command{}, rest.NewProblem(http.StatusUnsupportedMediaType, "the data of the CloudEvent must be application/json")
	}
	order, err := events.ParseCreateOrder(e.Data())
	if err != nil {
		return Command{}, rest.Invalid(err)
	}
	hash := rest.KeyHash(events.OrderCreateType, e.Source(), rest.Anonymous, e.ID())
	if extension, ok := e.Extensions()["idempotencykey"]; ok {
		text, _ := types.Format(extension) // an extension that was decoded has a text
		key, err := rest.ParseIdempotencyKey(text)
		if err != nil {
			return Command{}, err
		}
		hash = KeyHash(key)
	}
	cause := events.CauseOf(e)
	cause.CorrelationID = w.Header().Get(rest.CorrelationHeader)
	return Command{Order: order, KeyHash: hash, Cause: cause}, nil
}

// correlate puts the flow of the event into the answer's headers: that of its extension, else that of the request, else
// a new one.
func (f *Function) correlate(w http.ResponseWriter, r *http.Request, e event.Event) {
	if extension, ok := e.Extensions()["correlationid"]; ok {
		text, _ := types.Format(extension) // an extension that was decoded has a text
		r.Header.Set(rest.CorrelationHeader, text)
	}
	rest.Correlation(w, r, f.NewID)
}

// KeyHash is what is stored of an idempotency key for orders, however the order comes in.
func KeyHash(key string) []byte {
	return rest.KeyHash(http.MethodPost, "/api/orders", rest.Anonymous, key)
}

// writeAccepted answers with a CloudEvent that carries what the orders API answers.
func writeAccepted(ctx context.Context, w http.ResponseWriter, a Accepted, cause events.Cause) error {
	answer := event.New()
	answer.SetID(a.OrderID + "#accepted")
	answer.SetSource(events.OrdersSource)
	answer.SetType(events.OrderAcceptedType)
	answer.SetSubject(a.OrderID)
	answer.SetTime(a.CreatedAt)
	answer.SetExtension("correlationid", cause.CorrelationID)
	answer.SetExtension("causationid", cause.CausationID)
	if err := answer.SetData(event.ApplicationJSON, a.OrderAnswer); err != nil {
		return err
	}
	w.Header().Set("Location", a.Location())
	if a.Replayed {
		w.Header().Set(rest.ReplayedHeader, "true")
	}
	return cehttp.WriteResponseWriter(ctx, binding.ToMessage(&answer), http.StatusCreated, w)
}
