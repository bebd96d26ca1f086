// Package personal finds and removes what the schemas say about a customer: addresses, owners, and the texts and events that
// quote an address. What an order was, and what became of it, stays without them, so that the audit still explains the stock and
// the money. Kafka removes its records by age only: the package says until when each topic has some about the customer.
package personal

import (
	"slices"

	"example.com/orders/sql/schema"
)

// Class says what a column may tell about a customer, and so what is done to it.
type Class int

// The classes.
const (
	// None is made by the system, a code word, or the name of a thing or a program.
	None Class = iota
	// Address is an e-mail address: it becomes events.Forgotten.
	Address
	// Owner is the identity of a customer who logged in: it becomes NULL.
	Owner
	// Key is derived from what the customer sent, or was chosen by the customer: it goes with the address and the owner.
	Key
	// Hash is the SHA-256 of an address or an owner, which everybody can compare with those they know: the row is deleted.
	Hash
	// Event is an event, or a part of one: each address in it becomes events.Forgotten.
	Event
	// Text was written by people or by other systems, and may quote an address, which becomes an ellipsis.
	Text
)

// table is a table of one schema or of several.
type table struct {
	name string
	// key is the primary key. The table is read in slices of its first column.
	key []string
	// order is the column with the order's id, prefix whether it only begins with it. It is empty in tables about something
	// else, whose rows are found by the addresses in them.
	order  string
	prefix bool
	// underWay is an SQL expression that says what an order still has to do, or NULL.
	underWay string
	// guard is a condition on the rows that may be changed, in case they have changed meanwhile.
	guard   string
	columns map[string]Class
}

// all returns columns of one class.
func all(class Class, names ...string) map[string]Class {
	columns := map[string]Class{}
	for _, name := range names {
		columns[name] = class
	}
	return columns
}

// with returns the union of two sets of columns.
func with(columns, more map[string]Class) map[string]Class {
	for name, class := range more {
		columns[name] = class
	}
	return columns
}

// messaging has the tables of every schema with an outbox.
var messaging = []table{
	{
		name: "outbox", key: []string{"id"}, order: "aggregate_id", guard: "status IN ('SENT', 'DISCARDED')",
		underWay: "CASE WHEN status IN ('NEW', 'ERROR') THEN CONCAT('row ', id, ' of the outbox, ', type, ', is not sent: wait, or see harness outbox list') END",
		columns: with(all(None, "id", "shard", "aggregate_type", "aggregate_id", "type", "status", "created_at", "sent_at", "attempts", "next_attempt_at",
			"kafka_partition", "kafka_offset"), map[string]Class{"payload": Event, "headers": Event, "last_error": Text}),
	},
	{name: "outbox_shards", columns: all(None, "shard")},
	{name: "outbox_waiting", columns: all(None, "id", "aggregate_id")},
	{name: "inbox", columns: all(None, "consumer", "source", "event_id", "processed_at")},
}

// tables has the tables of each schema, as the migrations make them; a test compares. The table orders comes last of all, since
// the customer's orders are found by it: what was interrupted finds them again.
var tables = map[string][]table{
	schema.Orders: append(slices.Clone(messaging),
		table{name: "order_items", columns: all(None, "id", "order_id", "sku", "unit_price", "quantity")},
		table{name: "open_orders", key: []string{"customer", "order_id"}, columns: map[string]Class{"customer": Hash, "order_id": None}},
		table{name: "open_order_locks", columns: all(None, "customers")},
		table{name: "prices", columns: all(None, "sku", "unit_price", "currency", "updated_at")},
		table{
			name: "price_log", key: []string{"id"},
			columns: with(all(None, "id", "sku", "unit_price", "currency", "correlation_id", "created_at"), map[string]Class{"actor": Text}),
		},
		table{
			name: "orders", key: []string{"id"}, order: "id",
			underWay: "CASE WHEN status = 'PENDING' THEN 'it is PENDING: wait until it ends, or cancel it' END",
			columns: with(all(None, "id", "status", "total_amount", "currency", "version", "failure_reason", "created_at", "updated_at"), map[string]Class{
				"customer_email": Address, "owner": Owner, "idempotency_key_hash": Key, "request_hash": Key, "correlation_id": Key,
			}),
		}),
	schema.Inventory: append(slices.Clone(messaging),
		table{name: "inventory", columns: all(None, "sku", "available_qty", "reserved_qty", "version", "updated_at")},
		table{
			name: "stock_log", key: []string{"id"},
			// Its keys and correlation ids are those of whoever changed the stock, who is an operator.
			columns: with(all(None, "id", "sku", "delta", "available_after", "reserved_after", "version_after", "created", "idempotency_key_hash",
				"request_hash", "correlation_id", "created_at"), map[string]Class{"reason": Text, "actor": Text}),
		},
		table{name: "reservations", columns: all(None, "order_id", "status", "version", "created_at", "updated_at")},
		table{name: "reservation_log", columns: all(None, "source", "event_id", "sku", "order_id", "delta_reserved", "status", "created_at")}),
	schema.Payments: append(slices.Clone(messaging),
		table{
			name: "payments", key: []string{"order_id"}, order: "order_id",
			underWay: "CASE WHEN status IN ('REQUESTED', 'REFUND_REQUESTED') THEN CONCAT('its payment is ', status, ': wait, or see harness payments list') END",
			columns: with(all(None, "order_id", "status", "amount", "currency", "reference", "reason", "attempts", "settled", "version", "requested_at",
				"next_attempt_at", "created_at", "updated_at"), map[string]Class{"last_error": Text, "items": Event, "cause": Event}),
		},
		table{
			name: "payment_log", key: []string{"id"}, order: "order_id",
			columns: with(all(None, "id", "order_id", "entry", "amount", "currency", "reference", "reason", "created_at"), map[string]Class{"actor": Text}),
		}),
	schema.Notifications: {
		{name: "mail_counts", key: []string{"address"}, columns: map[string]Class{"address": Hash, "begun_at": None, "mails": None}},
		{name: "conversations", columns: all(None, "order_id", "version", "claim", "claimed_until")},
		{
			name: "notifications", key: []string{"event_id", "source"}, order: "order_id",
			columns: with(all(None, "source", "event_id", "order_id", "order_version", "type", "status", "attempts", "created_at", "sent_at"),
				map[string]Class{"customer_email": Address}),
		},
	},
	schema.Operations: {
		{
			name: "dead_letter_actions", key: []string{"id"}, order: "event_id", prefix: true,
			columns: with(all(None, "id", "topic", "kafka_partition", "kafka_offset", "consumer", "event_source", "event_id", "action", "attempts", "status", "at"),
				all(Text, "detail", "actor")),
		},
		{
			name: "dead_letter_corrections", key: []string{"id"}, order: "event_id", prefix: true,
			columns: with(all(None, "id", "topic", "kafka_partition", "kafka_offset", "consumer", "event_source", "event_id", "at"),
				map[string]Class{"original": Event, "corrected": Event, "reason": Text, "actor": Text}),
		},
		{
			name: "outbox_actions", key: []string{"id"},
			columns: with(all(None, "id", "schema_name", "row_id", "action", "at"), all(Text, "detail", "actor", "outcome")),
		},
		{
			name: "payment_actions", key: []string{"id"}, order: "order_id",
			columns: with(all(None, "id", "order_id", "action", "at"), all(Text, "answer", "detail", "actor", "outcome")),
		},
		{
			name: "forget_actions", key: []string{"id"},
			columns: with(all(None, "id", "known", "orders", "at"), all(Text, "detail", "actor", "outcome")),
		},
		{name: "lost_records", columns: all(None, "id", "topic", "kafka_partition", "consumer", "first_offset", "next_offset", "at")},
	},
}

// sequence is the order in which the schemas are changed.
var sequence = []string{schema.Operations, schema.Inventory, schema.Payments, schema.Notifications, schema.Orders}

// hash returns the column of t with hashes, empty if it has none.
func (t table) hash() string {
	for name, class := range t.columns {
		if class == Hash {
			return name
		}
	}
	return ""
}

// personal lists the columns of t that may tell about a customer and are no hashes, in order of name.
func (t table) personal() (names []string) {
	for name, class := range t.columns {
		if class != None && class != Hash {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
