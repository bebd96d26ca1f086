package personal

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"example.com/orders/events"
	"example.com/orders/functions/internal/observe/oneline"
)

// removed stands in place of what is neither text nor JSON and quotes an address, such as an event in Avro.
const removed = `"removed, since it had the address of a customer who is forgotten"`

// words finds the addresses of a customer, and the owner, in texts: as they are, as JSON escapes them, and masked, in capital letters or not.
// A nil pattern finds nothing.
type words struct {
	pattern   *regexp.Regexp
	spellings []string
}

func newWords(said []string) words {
	var spellings, patterns []string
	for _, one := range said {
		escaped, err := json.Marshal(one)
		if err != nil {
			panic(err) // no string fails
		}
		spellings = append(spellings, one, strings.Trim(string(escaped), `"`), oneline.Masked(one))
	}
	if len(spellings) == 0 {
		return words{}
	}
	slices.Sort(spellings)
	spellings = slices.Compact(spellings)
	slices.SortStableFunc(spellings, func(a, b string) int { return len(b) - len(a) }) // the longest match first
	for _, spelling := range spellings {
		patterns = append(patterns, regexp.QuoteMeta(spelling))
	}
	return words{regexp.MustCompile("(?i)(?:" + strings.Join(patterns, "|") + ")"), spellings}
}

func (w words) in(text string) bool { return w.pattern != nil && w.pattern.MatchString(text) }

// forget returns what a column of a class becomes. linked is whether the row belongs to an order of the customer. A nil
// pointer is NULL.
func (w words) forget(class Class, value *string, linked bool) *string {
	if value == nil {
		return nil
	}
	text := *value
	switch class {
	case Address:
		if linked || w.in(text) {
			text = events.Forgotten
		}
	case Event:
		if !w.in(text) {
			break
		}
		if json.Valid([]byte(text)) {
			text = w.pattern.ReplaceAllLiteralString(text, events.Forgotten)
		} else {
			text = removed
		}
	case Text:
		if w.in(text) {
			text = w.pattern.ReplaceAllLiteralString(text, "…") // no longer than any address, so it fits the column
		}
	case None, Owner, Key, Hash: // those of orders go by one statement
	}
	return &text
}
