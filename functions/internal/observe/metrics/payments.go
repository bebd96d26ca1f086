package metrics

import "time"

// AddPayments creates the counters of payments, except that of declines: those appear with their reasons.
func (m *Metrics) AddPayments() {
	if m == nil {
		return
	}
	for _, outcome := range []string{"AUTHORIZED", "REFUNDED", "VOID"} {
		m.payments.Add(0, outcome, "")
	}
}

// CountPayment counts a recorded answer of the payment gateway, after its commit; reason is that of a decline.
func (m *Metrics) CountPayment(outcome, reason string) {
	if m == nil {
		return
	}
	m.payments.Add(1, outcome, reason)
}

// ObserveGateway records the duration of a call to the payment gateway, by what it was asked and how the call ended.
func (m *Metrics) ObserveGateway(operation, result string, took time.Duration) {
	if m == nil {
		return
	}
	m.gateway.Observe(took.Seconds(), operation, result)
}
