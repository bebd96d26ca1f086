package metrics

// Consumer is a function that consumes a topic.
type Consumer struct{ Topic, Function string }

// DeadLetters returns the number of dead letters of each consumer since the process began, by reason, without gathering other
// metrics.
func (m *Metrics) DeadLetters() map[Consumer]map[string]int {
	counts := map[Consumer]map[string]int{}
	if m == nil {
		return counts
	}
	m.deadLetters.Each(func(labels map[string]string, count float64) {
		consumer := Consumer{labels["topic"], labels["consumer"]}
		if counts[consumer] == nil {
			counts[consumer] = map[string]int{}
		}
		counts[consumer][labels["reason"]] = int(count)
	})
	return counts
}

// Lost returns the number of lost records of each consumer since the process began, likewise.
func (m *Metrics) Lost() map[Consumer]int {
	counts := map[Consumer]int{}
	if m == nil {
		return counts
	}
	m.lost.Each(func(labels map[string]string, count float64) {
		counts[Consumer{labels["topic"], labels["consumer"]}] += int(count)
	})
	return counts
}

// Step is how many events a function has handled since the process began, and the time it took over them.
type Step struct {
	Events  uint64
	Seconds float64
}

// Steps returns the steps of each function, likewise.
func (m *Metrics) Steps() map[string]Step {
	steps := map[string]Step{}
	if m == nil {
		return steps
	}
	m.steps.Each(func(labels map[string]string, events uint64, seconds float64) {
		steps[labels["function"]] = Step{events, seconds}
	})
	return steps
}
