package deployed

import (
	"database/sql"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions"
	"example.com/orders/functions/internal/messaging/poke"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/knative"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// trial is a CloudEvent for a function, with its expected effect.
type trial struct {
	event  event.Event
	status int
	// schema and query count the effects: there must be one.
	schema, query string
	arguments     []any
}

// trials prepare the database of functions that take CloudEvents, and make a new event for each.
var trials = map[string]func(t *testing.T, c *cluster) trial{
	"reserve-stock": func(t *testing.T, c *cluster) trial {
		t.Helper()
		data := stocked(t, c)
		return trial{functiontest.Event(t, data, 1), http.StatusOK, schema.Inventory,
			"SELECT COUNT(*) FROM outbox WHERE aggregate_id = ? AND type = 'inventory.reserved'", []any{data.OrderID}}
	},
	"release-stock": func(t *testing.T, _ *cluster) trial {
		t.Helper()
		data := events.OrderCanceled{OrderID: functiontest.OrderID(), CustomerEmail: "alice@example.com", PreviousStatus: events.StatusPending, CreatedAt: time.Now()}
		return trial{functiontest.Event(t, data, 2), http.StatusOK, schema.Inventory,
			"SELECT COUNT(*) FROM reservations WHERE order_id = ? AND status = 'RELEASED'", []any{data.OrderID}}
	},
	"finalize-order": func(t *testing.T, c *cluster) trial {
		t.Helper()
		id := pending(t, c, functiontest.OrderID())
		data := events.InventoryReserved{OrderID: id, Reservations: []events.Quantity{{SKU: "SKU-123", Quantity: 2}}}
		return trial{functiontest.Event(t, data, 1), http.StatusOK, schema.Orders,
			"SELECT COUNT(*) FROM orders WHERE id = ? AND status = 'CONFIRMED'", []any{id}}
	},
	"notify": func(t *testing.T, _ *cluster) trial {
		t.Helper()
		data := events.OrderConfirmed{OrderID: functiontest.OrderID(), CustomerEmail: "alice@example.com", TotalAmount: 5, CreatedAt: time.Now()}
		return trial{functiontest.Event(t, data, 2), http.StatusOK, schema.Notifications,
			"SELECT COUNT(*) FROM notifications WHERE order_id = ? AND status = 'SENT'", []any{data.OrderID}}
	},
	"cancel-order": func(t *testing.T, c *cluster) trial {
		t.Helper()
		id := pending(t, c, functiontest.OrderID())
		return trial{asking(t, events.OrderCancelType, map[string]any{"orderId": id}), http.StatusOK, schema.Orders,
			"SELECT COUNT(*) FROM orders WHERE id = ? AND status = 'CANCELED'", []any{id}}
	},
	"create-order": func(t *testing.T, _ *cluster) trial {
		t.Helper()
		e := asking(t, events.OrderCreateType, events.CreateOrder{CustomerEmail: "alice@example.com", Items: []events.Item{{SKU: "A", Quantity: 1, UnitPrice: 5}}})
		e.SetExtension("correlationid", e.ID())
		return trial{e, http.StatusCreated, schema.Orders, "SELECT COUNT(*) FROM orders WHERE correlation_id = ?", []any{e.ID()}}
	},
	"expire-orders": func(t *testing.T, c *cluster) trial {
		t.Helper()
		id := pending(t, c, "01900000-0000-7000-8000-"+functiontest.OrderID()[24:]) // of the year 2024
		return trial{tick(), http.StatusOK, schema.Orders,
			"SELECT COUNT(*) FROM orders WHERE id = ? AND failure_reason = 'timeout'", []any{id}}
	},
	"publish-outbox-orders": relayed(schema.Orders, func() event.Event { return ofType(poke.Type) }),
}

// trialOf is how a function is tried: by its trial, or, when it has none, as a relay or by a golden fact that it reacts to. It is
// nil for a function that takes no CloudEvents.
func (c *cluster) trialOf(service knative.Service) func(*testing.T, *cluster) trial {
	if try, special := trials[service.Name]; special {
		return try
	}
	if name := service.Outbox(); name != "" {
		return relayed(name, tick)
	}
	at := slices.IndexFunc(c.wiring.Sources, func(s knative.KafkaSource) bool { return s.Sink == service.Name })
	if at < 0 {
		return nil
	}
	eventType := strings.TrimPrefix(c.wiring.Sources[at].Topic, c.kafka.Prefix)
	return func(t *testing.T, _ *cluster) trial {
		t.Helper()
		e := functiontest.Golden(t, eventType, 1)
		return trial{e, http.StatusOK, functions.Catalogue[service.Function]().Shared().Schema,
			"SELECT COUNT(*) FROM inbox WHERE consumer = ? AND source = ? AND event_id = ?", []any{service.Name, e.Source(), e.ID()}}
	}
}

func relayed(name string, ask func() event.Event) func(t *testing.T, c *cluster) trial {
	return func(t *testing.T, c *cluster) trial {
		t.Helper()
		data := functiontest.Created(t, events.Item{SKU: "A", Quantity: 1, UnitPrice: 5})
		outboxtest.Store(t, c.pool(t, name), time.Now(), functiontest.Event(t, data, 1))
		return trial{ask(), http.StatusOK, name, "SELECT COUNT(*) FROM outbox WHERE aggregate_id = ? AND status = 'SENT'", []any{data.OrderID}}
	}
}

func (c *cluster) pool(t *testing.T, name string) *sql.DB {
	t.Helper()
	return mysqltest.Pool(t, c.server, name)
}

// stocked returns an order of a new SKU with enough stock.
func stocked(t *testing.T, c *cluster) events.OrderCreated {
	t.Helper()
	sku := uuid.NewString()
	_, err := c.pool(t, schema.Inventory).ExecContext(t.Context(),
		"INSERT INTO inventory (sku, available_qty, reserved_qty, version, updated_at) VALUES (?, 10, 0, 1, NOW(6))", sku)
	require.NoError(t, err)
	return functiontest.Created(t, events.Item{SKU: sku, Quantity: 2, UnitPrice: 5})
}

func pending(t *testing.T, c *cluster, id string) string {
	t.Helper()
	functiontest.Order(t, c.pool(t, schema.Orders), id, orders.OrdersStatusPENDING)
	return id
}

func ofType(eventType string) event.Event {
	e := event.New()
	e.SetID(uuid.NewString())
	e.SetSource("/test")
	e.SetType(eventType)
	return e
}

func tick() event.Event { return ofType("dev.knative.sources.ping") }

func asking(t *testing.T, eventType string, data any) event.Event {
	t.Helper()
	e := ofType(eventType)
	require.NoError(t, e.SetData(event.ApplicationJSON, data))
	return e
}

func TestEachFunctionThatIsBuiltAsByFuncHandlesEvents(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for _, service := range c.wiring.Services {
		try := c.trialOf(service)
		if try == nil {
			continue
		}
		t.Run(service.Name, func(t *testing.T) {
			t.Parallel()
			p := c.binaries.Start(t, service.Name, c.environ(service, nil))
			assert.Equal(t, http.StatusOK, p.health(t, "liveness"))
			assert.Equal(t, http.StatusOK, p.health(t, "readiness"))
			for _, m := range []mode{binary, structured} {
				each := try(t, c)
				assert.Equal(t, each.status, m.post(t, p.URL, each.event), m)
				assert.Equal(t, each.status, m.post(t, p.URL, each.event), "%s, again", m)
				assert.Equal(t, 1, mysqltest.Count(t, c.pool(t, each.schema), each.query, each.arguments...), m)
			}
			refused := http.StatusUnprocessableEntity
			if service.Public {
				refused = http.StatusBadRequest
			}
			assert.Equal(t, refused, binary.post(t, p.URL, ofType("type.unknown")))
			assert.Equal(t, refused, structured.post(t, p.URL, ofType("type.unknown")))
		})
	}
}

func TestEachFunctionThatIsBuiltAsByFuncServesItsAPI(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	requests := map[string]struct {
		method, path, body string
		status             int
		schema, query      string
	}{
		"orders-api": {http.MethodPost, "/api/orders", `{"customerEmail":"bob@example.com","items":[{"sku":"A","quantity":1,"unitPrice":5}]}`, http.StatusCreated,
			schema.Orders, "SELECT COUNT(*) FROM orders WHERE customer_email = 'bob@example.com'"},
		"inventory-api": {http.MethodPut, "/api/inventory/BOLT", `{"availableQty":7}`, http.StatusCreated,
			schema.Inventory, "SELECT COUNT(*) FROM inventory WHERE sku = 'BOLT' AND available_qty = 7"},
	}
	for _, service := range c.wiring.Services {
		request, api := requests[service.Name]
		if c.trialOf(service) != nil {
			continue
		}
		require.True(t, api, "%s is not tried", service.Name)
		t.Run(service.Name, func(t *testing.T) {
			t.Parallel()
			p := c.binaries.Start(t, service.Name, c.environ(service, nil))
			assert.Equal(t, http.StatusOK, p.health(t, "liveness"))
			assert.Equal(t, request.status, text(t, request.method, p.URL+request.path, "application/json", request.body))
			assert.Equal(t, http.StatusBadRequest, text(t, request.method, p.URL+request.path, "application/json", `{"no":1}`))
			assert.Equal(t, http.StatusNotFound, text(t, http.MethodGet, p.URL+"/", "", ""))
			assert.Equal(t, 1, mysqltest.Count(t, c.pool(t, request.schema), request.query))
		})
	}
}

// TestNoRequestEndsADeployedFunction checks that the project's CloudEvents reader is in front of deployed functions, not the
// one of func's runtime.
func TestNoRequestEndsADeployedFunction(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for _, service := range c.wiring.Services {
		if c.trialOf(service) == nil {
			continue
		}
		t.Run(service.Name, func(t *testing.T) {
			t.Parallel()
			p := c.binaries.Start(t, service.Name, c.environ(service, nil))
			functiontest.Abuse(t, p.URL, p.cmd.Process.Pid)
			for name, each := range map[string]struct {
				contentType, body string
				status            int
			}{
				"broken structured event": {event.ApplicationCloudEventsJSON, `{"specversion":"1.0",`, http.StatusBadRequest},
				"batch":                   {event.ApplicationCloudEventsBatchJSON, `[]`, http.StatusUnsupportedMediaType},
				"no event":                {"application/json", `{}`, http.StatusUnsupportedMediaType},
			} {
				assert.Equal(t, each.status, text(t, http.MethodPost, p.URL, each.contentType, each.body), name)
			}
			assert.Equal(t, http.StatusOK, p.health(t, "liveness"))
		})
	}
}
