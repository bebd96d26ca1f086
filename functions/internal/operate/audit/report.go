package audit

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// The names of the invariants.
const (
	Stock    = "stock"
	Reserved = "reserved"
	Holdings = "holdings"
	Totals   = "totals"
	Facts    = "facts"
	Ends     = "ends"
	Sent     = "sent"
	Lost     = "lost"
	Once     = "once"
	// With payments.
	Money      = "money"
	PaymentLog = "payments"
	Gateway    = "gateway"
)

// Report is the result of an audit.
type Report struct {
	// At is the time of the snapshot, by the clock of the auditor.
	At time.Time `json:"at"`
	// Took is the duration of the audit, in nanoseconds.
	Took time.Duration `json:"took"`
	// Since is the time of the checkpoint whose changes alone were audited, nil if everything was; FullAt is then the time of the
	// last full audit.
	Since  *time.Time `json:"since,omitempty"`
	FullAt time.Time  `json:"fullAt,omitzero"`
	// Full is why everything was audited in spite of a checkpoint; empty without one.
	Full       string       `json:"full,omitempty"`
	Invariants []*Invariant `json:"invariants"`
	// Exceptions wait for an operator: they explain differences.
	Exceptions []Exception `json:"exceptions"`
}

// Breaches returns the number of breaches, including those that are not listed.
func (r *Report) Breaches() (n int) {
	for _, i := range r.Invariants {
		n += i.Breached
	}
	return n
}

// Invariant is a statement that must always be true, with the result of its check.
type Invariant struct {
	Name string `json:"name"`
	Says string `json:"says"`
	// Skipped is why it was not checked; empty if it was.
	Skipped string         `json:"skipped,omitempty"`
	Numbers map[string]int `json:"numbers"`
	// Breached is the number of breaches. Breaches has the first of them, each in words that do not change between audits.
	Breached int      `json:"breached"`
	Breaches []string `json:"breaches"`
	// Explained has the first of the differences that an exception explains; their number is in Numbers.
	Explained []string `json:"explained"`
}

// maxListed bounds the list of each kind: a broken system may have a breach per order.
const maxListed = 100

func (i *Invariant) count(name string, n int) { i.Numbers[name] += n }

func (i *Invariant) breach(format string, args ...any) { i.breachBy(1, format, args...) }

// breachBy records several breaches in one line.
func (i *Invariant) breachBy(n int, format string, args ...any) {
	i.Breached += n
	if len(i.Breaches) < maxListed {
		i.Breaches = append(i.Breaches, fmt.Sprintf(format, args...))
	}
}

func (i *Invariant) explain(format string, args ...any) {
	i.count("explained", 1)
	if len(i.Explained) < maxListed {
		i.Explained = append(i.Explained, fmt.Sprintf(format, args...))
	}
}

// The kinds of exceptions.
const (
	DeadLetters = "dead letters" // records that a consumer could not handle
	Parked      = "parked"       // outbox rows that the broker refused until the last attempt
	Discarded   = "discarded"    // outbox rows that an operator gave up
)

// Exception is a group of events that were not delivered and wait for an operator.
type Exception struct {
	Kind string `json:"kind"`
	// Where is a dead-letter topic, or the schema of an outbox.
	Where    string `json:"where"`
	Consumer string `json:"consumer,omitempty"` // the consumer of dead letters
	Count    int    `json:"count"`
	// Examples names the first of them.
	Examples []string `json:"examples"`
}

const maxExamples = 10

// Write prints the report: one line per invariant, its breaches under it, and the exceptions.
func (r *Report) Write(w io.Writer) {
	for _, i := range r.Invariants {
		result := "ok"
		if i.Skipped != "" {
			result = "skipped"
		}
		if i.Breached > 0 {
			result = "BREACH"
		}
		fmt.Fprintf(w, "%-8s%-10s%s\n", result, i.Name, i.Says)
		var numbers []string
		for _, name := range slices.Sorted(maps.Keys(i.Numbers)) {
			numbers = append(numbers, fmt.Sprintf("%d %s", i.Numbers[name], name))
		}
		if i.Skipped != "" {
			numbers = append(numbers, i.Skipped)
		}
		if len(numbers) > 0 {
			fmt.Fprintf(w, "%18s%s\n", "", strings.Join(numbers, ", "))
		}
		list(w, "breach", i.Breaches, i.Breached)
		list(w, "explained", i.Explained, i.Numbers["explained"])
	}
	for _, e := range r.Exceptions {
		fmt.Fprintf(w, "%-18s%d %s in %s", "exception", e.Count, e.Kind, e.Where)
		if e.Consumer != "" {
			fmt.Fprintf(w, " of %s", e.Consumer)
		}
		fmt.Fprintln(w)
		list(w, "such as", e.Examples, e.Count)
	}
	noun := "breaches"
	if r.Breaches() == 1 {
		noun = "breach"
	}
	fmt.Fprintf(w, "%d %s; audited in %s\n", r.Breaches(), noun, r.Took.Round(time.Millisecond))
	if r.Since != nil {
		fmt.Fprintf(w, "audited what has changed since %s; everything was audited at %s\n", r.Since.Format(time.RFC3339), r.FullAt.Format(time.RFC3339))
	}
	if r.Full != "" {
		fmt.Fprintf(w, "audited everything: %s\n", r.Full)
	}
}

func list(w io.Writer, what string, listed []string, count int) {
	for _, text := range listed {
		fmt.Fprintf(w, "%18s%s: %s\n", "", what, text)
	}
	if more := count - len(listed); more > 0 && len(listed) > 0 {
		fmt.Fprintf(w, "%18sand %d more\n", "", more)
	}
}
