package metrics

import "time"

// Limited is the limit that refused something.
type Limited string

// The limits.
const (
	LimitedRate        Limited = "rate"        // requests per client and second
	LimitedOpenOrders  Limited = "open_orders" // of a customer at a time
	LimitedMails       Limited = "mails"       // per address and hour
	LimitedConnections Limited = "connections" // of the server at a time
	LimitedOverload    Limited = "overload"    // orders under way
)

// AddLimits creates the counters of the limits.
func (m *Metrics) AddLimits() {
	if m == nil {
		return
	}
	for _, l := range []Limited{LimitedRate, LimitedOpenOrders, LimitedMails, LimitedConnections, LimitedOverload} {
		m.limited.Add(0, string(l))
	}
}

// CountLimited counts what a limit refused.
func (m *Metrics) CountLimited(by Limited) {
	if m == nil {
		return
	}
	m.limited.Add(1, string(by))
}

// AddAdmission creates the metrics of a function that admits orders, with its first limit.
func (m *Metrics) AddAdmission(function string, limit int) {
	if m == nil {
		return
	}
	m.admitted.Add(0, function)
	m.SetAdmission(function, limit, 0, 0)
}

// CountAdmitted counts an order that a function has admitted.
func (m *Metrics) CountAdmitted(function string) {
	if m == nil {
		return
	}
	m.admitted.Add(1, function)
}

// SetAdmission says how many orders a function lets be under way, how many are, and the age of the oldest that counts.
func (m *Metrics) SetAdmission(function string, limit, underWay int, oldest time.Duration) {
	if m == nil {
		return
	}
	m.admissionLimit.Set(float64(limit), function)
	m.underWay.Set(float64(underWay), function)
	m.oldest.Set(oldest.Seconds(), function)
}
