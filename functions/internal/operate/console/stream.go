package console

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/orders/events"
	"example.com/orders/functions/internal/operate/backlog"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/orders"
)

// beat is the interval of messages that say that the server works, by which a page knows when it does not any more. The
// server cuts off a client that does not read, as everywhere.
const beat = time.Second

// kindOf returns the first word of a view's name, which is kind or kind:argument.
func kindOf(name string) string {
	kind, _, _ := strings.Cut(name, ":")
	return kind
}

// statuses are the statuses of orders.
var statuses = []string{
	string(orders.OrdersStatusPENDING), string(orders.OrdersStatusCONFIRMED),
	string(orders.OrdersStatusFAILED), string(orders.OrdersStatusCANCELED),
}

// stockPage is the argument of a page of the stock: the beginning of its SKUs, and the SKU before it.
var stockPage = regexp.MustCompile(`^[A-Za-z0-9._-]{0,64}:[A-Za-z0-9._-]{0,64}$`)

// view finds a view by its name.
func (c *Console) view(name string) (view, bool) {
	kind, argument, given := strings.Cut(name, ":")
	switch {
	case name == "outages":
		return view{every: time.Second, read: c.monitor.read}, true
	case name == "flow":
		return view{every: time.Second, read: c.newFlow(), from: []string{Kafka}}, true
	case name == "history":
		return view{every: historyEvery, read: c.history.read, from: []string{Kafka}}, true
	case name == "outboxes":
		return view{every: time.Second, read: c.readOutboxes, from: []string{Database}}, true
	case name == "connectors":
		return view{every: time.Second, read: c.readConnectors, from: []string{Connect}}, true
	case name == "counts":
		return view{every: time.Second, read: c.readCounts, from: []string{Database}, within: readWithin}, true // it scans an index
	case kind == "stock" && (!given || stockPage.MatchString(argument)):
		prefix, after, _ := strings.Cut(argument, ":")
		return view{every: time.Second, from: []string{Database}, read: func(ctx context.Context) (any, error) {
			return c.readStock(ctx, prefix, after)
		}}, true
	case name == "audit":
		return view{every: time.Second, read: c.readAudit, from: []string{Database, Kafka}}, true
	case kind == "orders" && (!given || slices.Contains(statuses, argument)):
		return view{every: 500 * time.Millisecond, from: []string{Database}, read: func(ctx context.Context) (any, error) {
			return c.readOrders(ctx, orders.OrdersStatus(argument))
		}}, true
	case kind == "order" && events.ValidOrderID(argument):
		return view{every: 500 * time.Millisecond, from: []string{Database}, read: func(ctx context.Context) (any, error) {
			return c.readOrder(ctx, argument)
		}}, true
	case kind == "outbox" && slices.Contains(backlog.States, backlog.State(argument)):
		return view{every: time.Second, from: []string{Database}, read: func(ctx context.Context) (any, error) {
			return c.readOutbox(ctx, backlog.State(argument))
		}}, true
	case name == "paymentcounts" && c.payments != nil:
		return view{every: time.Second, read: c.readPaymentCounts, from: []string{Database}, within: readWithin}, true // it scans an index
	case kind == "payments" && given && c.payments != nil:
		q, ok := parsePaymentQuery(argument)
		return view{every: time.Second, from: []string{Database}, read: func(ctx context.Context) (any, error) {
			return c.readPayments(ctx, q)
		}}, ok
	case name == "openletters":
		return view{every: 2 * time.Second, from: []string{Database, Kafka}, within: readWithin, read: c.readOpenLetters}, true
	case name == "letterjobs":
		return view{every: 500 * time.Millisecond, read: c.jobs.read}, true
	case kind == "deadletters" && given:
		q, ok := parseLetterQuery(argument)
		return view{every: 2 * time.Second, from: []string{Database, Kafka}, within: readWithin, read: func(ctx context.Context) (any, error) {
			return c.readLetters(ctx, q)
		}}, ok
	default:
		return view{}, false
	}
}

// serveEvents answers GET /console/events?view=…&view=… with server-sent events, one per changed view.
func (c *Console) serveEvents(w http.ResponseWriter, r *http.Request) {
	rest.Handler(c.log, func(w http.ResponseWriter, _ *http.Request) error {
		names := slices.Compact(slices.Sorted(slices.Values(r.URL.Query()["view"])))
		if len(names) == 0 || len(names) > maxViews {
			return rest.NewProblem(http.StatusBadRequest, "take 1 to 8 views")
		}
		for _, name := range names {
			if _, ok := c.view(name); !ok {
				return rest.NewProblem(http.StatusBadRequest, "no such view")
			}
		}
		client := c.hub.join(addressOf(r), names)
		if client == nil {
			return rest.Unavailable("the server is shutting down")
		}
		defer c.hub.leave(client)
		// With the request's context, not the handler's, which has a time limit.
		ctx, cancel := c.o.Sessions.Follow(r.Context())
		defer cancel()
		stream(ctx, w, client)
		return nil
	})(w, r)
}

// stream writes the messages of a client until it is gone.
func stream(ctx context.Context, w http.ResponseWriter, client *client) {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the server's deadline is for requests that end
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	frame := []byte("retry: 1000\n\n")
	for {
		if _, err := w.Write(frame); err != nil {
			return
		}
		if err := control.Flush(); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case text, ok := <-client.messages:
			if !ok {
				return
			}
			frame = slices.Concat([]byte("data: "), text, []byte("\n\n"))
		case <-ticker.C:
			frame = []byte(`data: {"now":"` + moment(time.Now()) + `"}` + "\n\n")
		}
	}
}
