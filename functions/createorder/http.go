package createorder

import (
	"context"
	"errors"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"example.com/orders/events"
	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/functions/internal/web/httpbinding"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/limit"
	"example.com/orders/functions/internal/web/rest"
)

// serve answers a request with problem details and bounds the body as tightly as the orders API. It is an HTTP function, not
// an event function, since its callers are people and programs, not a KafkaSource.
func (f *Function) serve(w http.ResponseWriter, r *http.Request) {
	rest.Handler(f.Logger, f.answer)(w, r)
}

func (f *Function) answer(w http.ResponseWriter, r *http.Request) (err error) {
	if err := f.Started(); err != nil {
		return rest.Unavailable(err.Error())
	}
	ctx, err := f.Identity.Authenticate(r)
	if err != nil {
		return err
	}
	if err := f.LimitRate(limit.With(ctx, r), true); err != nil {
		return err
	}
	e, err := httpbinding.Read(w, r, rest.MaxBody)
	if err != nil {
		return err
	}
	f.correlate(w, r, e)
	ctx, e, end := tracing.Consume(ctx, f.Name, e)
	defer func() { end(err) }()
	asked, err := f.command(ctx, w, e)
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
	return writeAccepted(w, accepted, asked.Cause)
}

// command reads the order that an event asks for. The event's source and id are the idempotency key, unless the extension
// idempotencykey gives the same key as the header of the orders API.
func (f *Function) command(ctx context.Context, w http.ResponseWriter, e event.Event) (Command, error) {
	if e.Type() != events.OrderCreateType {
		return Command{}, rest.NewProblem(http.StatusBadRequest, "the type of the CloudEvent must be "+events.OrderCreateType)
	}
	if e.DataContentType() != "" && !rest.IsJSON(e.DataContentType()) {
		return Command{}, rest.NewProblem(http.StatusUnsupportedMediaType, "the data of the CloudEvent must be application/json")
	}
	order, err := f.Parse(ctx, e.Data())
	if err != nil {
		return Command{}, err
	}
	hash := rest.KeyHash(events.OrderCreateType, e.Source(), identity.From(ctx).Account(), e.ID())
	if extension, ok := events.Extensions(e)["idempotencykey"]; ok {
		text, _ := types.Format(extension) // a decoded extension can always be formatted
		key, err := rest.ParseIdempotencyKey(text)
		if err != nil {
			return Command{}, err
		}
		hash = KeyHashFor(ctx, key)
	}
	cause := events.CauseOf(e)
	cause.CorrelationID = w.Header().Get(rest.CorrelationHeader)
	return Command{Order: order, Channel: events.ChannelCloudEvent, KeyHash: hash, Cause: cause}, nil
}

// correlate puts the correlation id into the answer's headers: that of the event's extension, else that of the request, else
// a new one.
func (f *Function) correlate(w http.ResponseWriter, r *http.Request, e event.Event) {
	if extension, ok := events.Extensions(e)["correlationid"]; ok {
		text, _ := types.Format(extension) // a decoded extension can always be formatted
		r.Header.Set(rest.CorrelationHeader, text)
	}
	rest.Correlation(w, r, f.NewID)
}

// KeyHash returns the hash under which the idempotency key of an order without an owner is stored, for every way to create an
// order.
func KeyHash(key string) []byte { return KeyHashFor(context.Background(), key) }

// KeyHashFor is KeyHash for the principal of ctx: the same key of somebody else is another one.
func KeyHashFor(ctx context.Context, key string) []byte {
	return rest.KeyHash(http.MethodPost, "/api/orders", identity.From(ctx).Account(), key)
}

// writeAccepted answers with a CloudEvent that has the same data as the answer of the orders API.
func writeAccepted(w http.ResponseWriter, a Accepted, cause events.Cause) error {
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
	return httpbinding.WriteResponse(w, http.StatusCreated, answer)
}
