package privilege

import "example.com/orders/sql/schema"

// The users that belong to no function.
const (
	// Audit compares all schemas and changes nothing.
	Audit = "audit"
	// Console is a harness beside its functions: the console with what operators do there, the metrics, and the records that
	// were lost.
	Console = "console"
	// Operator is the commands that act on outboxes, dead letters and payments.
	Operator = "operator"
)

// What the functions of a schema have in common.
var (
	emits  = map[string]Verbs{"outbox": Insert}
	reacts = map[string]Verbs{"inbox": Select | Insert, "outbox": Insert}
	relays = map[string]Verbs{
		"inbox":          Select | Delete,
		"outbox":         Select | Update | Delete,
		"outbox_shards":  Select | Update,
		"outbox_waiting": Select | Insert | Update | Delete,
	}
	// opens is what the limit of open orders needs.
	opens = map[string]Verbs{"open_orders": Select | Insert | Update | Delete, "open_order_locks": Select | Insert | Update}
	// pays is what recording the answers of a gateway needs.
	pays = map[string]Verbs{"payments": Select | Insert | Update, "payment_log": Insert}
	// requeues is what an operator does about outbox rows.
	requeues = map[string]Verbs{"outbox": Select | Update, "outbox_waiting": Select | Insert | Update}
)

// users has the privileges of each user: what its statements need and nothing else, which a test finds out from the code
// and from a server. Of the relays each has its own schema only.
var users = map[string]Tables{
	"orders-api": join(
		Tables{schema.Orders: {"orders": Select | Insert | Update, "order_items": Select | Insert, "prices": Select | Insert | Update, "price_log": Insert}},
		Tables{schema.Orders: opens}, Tables{schema.Orders: emits},
	),
	"create-order": join(
		Tables{schema.Orders: {"orders": Select | Insert, "order_items": Insert, "prices": Select}},
		Tables{schema.Orders: opens}, Tables{schema.Orders: emits},
	),
	"cancel-order":   join(Tables{schema.Orders: {"orders": Select | Update}}, Tables{schema.Orders: emits}),
	"expire-orders":  join(Tables{schema.Orders: {"orders": Select | Update}}, Tables{schema.Orders: emits}),
	"finalize-order": join(Tables{schema.Orders: {"orders": Select | Update}}, Tables{schema.Orders: reacts}),
	"inventory-api": join(
		Tables{schema.Inventory: {"inventory": Select | Insert | Update, "stock_log": Select | Insert}},
		Tables{schema.Inventory: emits},
	),
	"reserve-stock": join(
		Tables{schema.Inventory: {
			"inventory": Select | Insert | Update, "reservations": Select | Insert | Update, "reservation_log": Insert,
		}},
		Tables{schema.Inventory: reacts},
	),
	"release-stock": join(
		Tables{schema.Inventory: {
			"inventory": Select | Update, "reservations": Select | Insert | Update, "reservation_log": Select | Insert | Delete,
		}},
		Tables{schema.Inventory: reacts},
	),
	"notify": {schema.Notifications: {
		"conversations": Select | Insert | Update, "notifications": Select | Insert | Update | Delete, "mail_counts": Select | Insert | Update,
	}},
	"authorize-payment": join(Tables{schema.Payments: pays}, Tables{schema.Payments: reacts}),
	"refund-payment":    join(Tables{schema.Payments: pays}, Tables{schema.Payments: reacts}),

	"publish-outbox-orders":    {schema.Orders: relays},
	"publish-outbox-inventory": {schema.Inventory: relays},
	"publish-outbox-payments":  {schema.Payments: relays},

	Audit: join(
		every(map[string]Verbs{"outbox": Select}),
		Tables{
			schema.Orders:        {"orders": Select, "order_items": Select},
			schema.Inventory:     {"inventory": Select, "stock_log": Select, "reservations": Select, "reservation_log": Select},
			schema.Payments:      {"payments": Select, "payment_log": Select},
			schema.Notifications: {"notifications": Select},
			schema.Operations:    {"dead_letter_actions": Select, "lost_records": Select},
		},
	),
	Console: join(
		every(requeues),
		every(map[string]Verbs{"inbox": Select, "outbox_shards": Select}),
		Tables{
			schema.Orders:        {"orders": Select, "order_items": Select},
			schema.Inventory:     {"inventory": Select, "reservations": Select, "reservation_log": Select},
			schema.Notifications: {"notifications": Select},
			schema.Operations: {
				"dead_letter_actions": Select | Insert, "dead_letter_corrections": Select | Insert, "lost_records": Select | Insert | Update,
				"outbox_actions": Select | Insert | Update, "payment_actions": Select | Insert | Update,
			},
		},
		Tables{schema.Payments: pays}, Tables{schema.Payments: emits}, Tables{schema.Payments: {"payment_log": Select}},
	),
	Operator: join(
		every(requeues),
		every(map[string]Verbs{"outbox": Delete}),
		Tables{schema.Operations: {
			"dead_letter_actions": Select | Insert, "dead_letter_corrections": Insert,
			"outbox_actions": Select | Insert | Update, "payment_actions": Select | Insert | Update,
		}},
		Tables{schema.Payments: pays}, Tables{schema.Payments: emits}, Tables{schema.Payments: {"payment_log": Select}},
	),
}
