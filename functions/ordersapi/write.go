package ordersapi

import (
	"errors"
	"net/http"

	"example.com/orders/events"
	"example.com/orders/functions/cancelorder"
	"example.com/orders/functions/createorder"
	"example.com/orders/functions/internal/function/saga"
	"example.com/orders/functions/internal/web/rest"
)

// create answers POST /api/orders.
func (f *Function) create(w http.ResponseWriter, r *http.Request) error {
	key, err := rest.IdempotencyKey(r)
	if err != nil {
		return err
	}
	command := createorder.Command{Channel: events.ChannelHTTP, Cause: rest.Cause(r, w.Header().Get(rest.CorrelationHeader))}
	if key != "" {
		command.KeyHash = createorder.KeyHashFor(r.Context(), key)
	}
	if err := f.Create.Refuse(r.Context(), command.KeyHash); err != nil {
		return err
	}
	body, err := rest.Body(w, r)
	if err != nil {
		return err
	}
	if command.Order, err = f.Create.Parse(r.Context(), body); err != nil {
		return err
	}
	accepted, err := f.Create.Create(r.Context(), command)
	if errors.Is(err, createorder.ErrKeyReused) {
		return createorder.KeyReused()
	}
	if err != nil {
		return err
	}
	w.Header().Set("Location", accepted.Location())
	if accepted.Replayed {
		w.Header().Set(rest.ReplayedHeader, "true")
	}
	return rest.JSON(w, http.StatusCreated, accepted.OrderAnswer)
}

// cancel answers POST /api/orders/{id}/cancel. If the client sends no correlation id, the cancellation belongs to the flow
// of the order, which the answer names.
func (f *Function) cancel(w http.ResponseWriter, r *http.Request) error {
	correlationID := r.Header.Get(rest.CorrelationHeader)
	if !events.ValidCorrelationID(correlationID) {
		correlationID = ""
	}
	id, err := orderID(r)
	if err != nil {
		return err
	}
	canceled, err := f.Cancel.Cancel(r.Context(), id, rest.Cause(r, correlationID))
	switch {
	case errors.Is(err, cancelorder.ErrFailed):
		return rest.NewProblem(http.StatusConflict, "the order has failed: there is nothing to cancel")
	case errors.Is(err, saga.ErrUnknownOrder):
		return unknown(id)
	case err != nil:
		return err
	}
	w.Header().Set(rest.CorrelationHeader, canceled.CorrelationID)
	return rest.JSON(w, http.StatusOK, canceled.OrderAnswer)
}

// orderID returns the id in the path; its error is a *rest.Problem.
func orderID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if !events.ValidOrderID(id) {
		return "", rest.NewProblem(http.StatusBadRequest, "an order id is a UUID in lower case")
	}
	return id, nil
}

func unknown(id string) *rest.Problem {
	return rest.NewProblem(http.StatusNotFound, "there is no order "+id)
}
