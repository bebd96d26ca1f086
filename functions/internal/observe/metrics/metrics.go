// Package metrics counts events, batches, requests and orders. Package exposition keeps the counts and serves them to
// Prometheus; functions do without it: its libraries would make the program of each half as large again.
package metrics

// Store makes counters, gauges and histograms, each with the names of its labels. A later call gives a value for each label, in
// the same order.
type Store interface {
	Counter(name, help string, labels ...string) Counter
	Gauge(name, help string, labels ...string) Gauge
	// Histogram counts values in buckets with these upper bounds.
	Histogram(name, help string, bounds []float64, labels ...string) Histogram
}

// Counter has a count for each combination of its labels' values.
type Counter interface {
	// Add adds n, which is not negative. The first call creates the count, even if n is zero.
	Add(n float64, values ...string)
	// Each calls f with the labels and the value of each count.
	Each(f func(labels map[string]string, count float64))
}

// Gauge has a value for each combination of its labels' values.
type Gauge interface {
	Set(value float64, values ...string)
}

// Histogram has a distribution for each combination of its labels' values.
type Histogram interface {
	// Create creates an empty distribution, unless it exists.
	Create(values ...string)
	Observe(value float64, values ...string)
	// Each calls f with the labels of each distribution, the number of values observed and their sum.
	Each(f func(labels map[string]string, count uint64, sum float64))
}

// Metrics has all metrics of a process. Its methods do nothing on nil, so that callers need not know whether there are
// metrics. The Add methods create counters with known labels at zero: otherwise an alert on an increase would miss the first
// count.
type Metrics struct {
	deadLetters Counter
	cut         Counter
	lost        Counter
	retries     Counter

	handled Counter
	steps   Histogram

	batches  Counter
	relayed  Counter
	relaying Histogram
	facts    Counter
	money    Counter
	final    Histogram

	payments Counter
	gateway  Histogram

	requests Counter
	limited  Counter
	latency  Histogram

	admitted       Counter
	admissionLimit Gauge
	underWay       Gauge
	oldest         Gauge
}

var (
	// short has the upper bounds of buckets, in seconds, for requests and steps.
	short = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	// long has those for orders: up to the time after which an order expires.
	long = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900}
)

// New returns metrics at zero, which store keeps.
func New(store Store) *Metrics {
	m := &Metrics{}
	m.deadLetters = store.Counter("orders_dead_letters_total",
		"Records that were set aside as dead letters, acknowledged by the broker.", "topic", "consumer", "reason")
	m.cut = store.Counter("orders_dead_letters_cut_total",
		"Dead letters without a part of their record, which was too large for the topic.", "topic", "consumer")
	m.lost = store.Counter("orders_records_lost_total",
		"Records that were removed from a topic before the consumer had handled them.", "topic", "consumer")
	m.retries = store.Counter("orders_delivery_retries_total",
		"Deliveries of a record that came after one that failed.", "topic", "consumer")
	m.handled = store.Counter("orders_function_events_total",
		"Events by what a function did with them: handled, duplicate (absorbed), retried (failed, to be delivered again), poisoned.", "function", "outcome")
	m.steps = store.Histogram("orders_function_duration_seconds",
		"How long a function took over an event, its transaction included.", short, "function")
	m.batches = store.Counter("orders_relay_batches_total",
		"Batches of stored events that a relay has given to the broker.", "schema")
	m.relayed = store.Counter("orders_relay_events_total",
		"Stored events given to the broker: sent, refused (counted against the event), unknown (to be sent again).", "schema", "outcome")
	m.relaying = store.Histogram("orders_relay_batch_duration_seconds",
		"How long a relay took over a batch: claim, publish, mark, commit.", short, "schema")
	m.facts = store.Counter("orders_facts_total",
		"Facts emitted: events that the broker has acknowledged.", "type")
	m.money = store.Counter("orders_confirmed_amount_total",
		"Total amount of all confirmed orders, in minor units of the currency.")
	m.final = store.Histogram("orders_final_latency_seconds",
		"From the acceptance of an order to the end of its saga, by its status then.", long, "status")
	m.payments = store.Counter("orders_payments_total",
		"Recorded answers of the payment gateway: AUTHORIZED, DECLINED (with its reason), REFUNDED, VOID (nothing was held).", "outcome", "reason")
	m.gateway = store.Histogram("orders_payment_gateway_seconds",
		"How long a call to the payment gateway took, by what it was asked (authorize, refund, lookup) and the result: answered, unknown_key, refused, failed, not_asked.", short, "operation", "result")
	m.requests = store.Counter("orders_http_requests_total",
		"HTTP requests that were answered.", "method", "route", "code")
	m.limited = store.Counter("orders_limited_total",
		"What a limit refused: rate (a request above a client's rate), open_orders (an order of a customer with too many open ones), mails (a mail to an address that got too many), connections (above the cap of the server), overload (an order while too many are under way).", "reason")
	m.latency = store.Histogram("orders_http_request_duration_seconds",
		"How long the answer to an HTTP request took; streams are left out.", short, "method", "route")
	m.admitted = store.Counter("orders_admitted_total",
		"Orders admitted to be stored, under ADMIT_MAX_WAIT.", "function")
	m.admissionLimit = store.Gauge("orders_admission_limit",
		"How many orders may be under way before more are refused.", "function")
	m.underWay = store.Gauge("orders_admission_under_way",
		"Orders that are PENDING, or about to be stored, as the function sees them; PENDING for four ADMIT_MAX_WAIT at most.", "function")
	m.oldest = store.Gauge("orders_admission_oldest_age_seconds",
		"Age of the oldest PENDING order that is younger than four ADMIT_MAX_WAIT, 0 without one.", "function")
	return m
}
