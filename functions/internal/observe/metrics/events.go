package metrics

import (
	"time"
)

// The reasons of a dead letter that are always there; the others are rejected_3xx and rejected_4xx, by the status that
// the consumer answered.
const (
	Poison    = "poison"    // the consumer said that it never will succeed
	Exhausted = "exhausted" // it failed until the last retry
)

// AddConsumer makes the counters of a consumer of a topic.
func (m *Metrics) AddConsumer(topic, consumer string) {
	if m == nil {
		return
	}
	m.deadLetters.WithLabelValues(topic, consumer, Poison)
	m.deadLetters.WithLabelValues(topic, consumer, Exhausted)
	m.retries.WithLabelValues(topic, consumer)
	m.cut.WithLabelValues(topic, consumer)
	m.lost.WithLabelValues(topic, consumer)
}

// CountDeadLetter counts a record of a topic that was set aside since the consumer failed.
func (m *Metrics) CountDeadLetter(topic, consumer, reason string) {
	if m == nil {
		return
	}
	m.deadLetters.WithLabelValues(topic, consumer, reason).Inc()
}

// CountCutLetter counts a dead letter, counted by CountDeadLetter too, that lacks a part of its record.
func (m *Metrics) CountCutLetter(topic, consumer string) {
	if m == nil {
		return
	}
	m.cut.WithLabelValues(topic, consumer).Inc()
}

// CountLost counts records that were removed from a topic before the consumer had handled them.
func (m *Metrics) CountLost(topic, consumer string, records int) {
	if m == nil {
		return
	}
	m.lost.WithLabelValues(topic, consumer).Add(float64(records))
}

// CountRetry counts a delivery to a consumer that comes after one that failed.
func (m *Metrics) CountRetry(topic, consumer string) {
	if m == nil {
		return
	}
	m.retries.WithLabelValues(topic, consumer).Inc()
}

// Outcome is what a function did with an event.
type Outcome string

// The outcomes.
const (
	Handled   Outcome = "handled"
	Duplicate Outcome = "duplicate" // it was handled before: absorbed
	Retried   Outcome = "retried"   // it failed and is delivered again
	Poisoned  Outcome = "poisoned"  // it never will succeed
)

// AddFunction makes the counters of a function.
func (m *Metrics) AddFunction(function string) {
	if m == nil {
		return
	}
	for _, o := range []Outcome{Handled, Duplicate, Retried, Poisoned} {
		m.handled.WithLabelValues(function, string(o))
	}
	m.steps.WithLabelValues(function)
}

// CountEvent counts an event that a function was given, and how long it took over it.
func (m *Metrics) CountEvent(function string, o Outcome, took time.Duration) {
	if m == nil {
		return
	}
	m.handled.WithLabelValues(function, string(o)).Inc()
	m.steps.WithLabelValues(function).Observe(took.Seconds())
}
