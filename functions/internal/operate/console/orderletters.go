package console

import (
	"context"
	"fmt"
	"time"

	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/sql/operations"
)

// Bounds of what an order's page waits for: it must show the order while Kafka is away.
const (
	lettersPatience = time.Second
	lettersOutdated = 10 * time.Second
)

// setAside is the dead letter of an event for one consumer.
type setAside struct {
	// Letter is its place, as in its address.
	Letter   string `json:"letter"`
	State    string `json:"state"`
	Attempts int    `json:"attempts"`
	Status   int    `json:"status"`
	Error    string `json:"error"`
	At       string `json:"at"`
	// Failures is the number of failed replays, the last of which got the answer LastAnswer.
	Failures   int    `json:"failures"`
	LastAnswer string `json:"lastAnswer,omitempty"`
	// Forged and Cut say why it cannot be replayed.
	Forged bool   `json:"forged,omitempty"`
	Cut    string `json:"cut,omitempty"`
	// ReplayedAt is when a replay had its effect, by the operator By; Corrected is whether a corrected copy was sent.
	ReplayedAt string `json:"replayedAt,omitempty"`
	By         string `json:"by,omitempty"`
	Corrected  bool   `json:"corrected,omitempty"`
}

// freshLetters brings the index up to date for a page that does not depend on it, and returns whether it is.
func (c *Console) freshLetters(ctx context.Context) bool {
	if c.letters.Age() >= indexedWithin && c.letters.mu.TryLock() { // otherwise another view does it
		c.letters.mu.Unlock()
		refreshed := make(chan struct{})
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), readWithin)
		go func() {
			defer cancel()
			defer close(refreshed)
			_ = c.refreshLetters(bounded, indexedWithin) // the age of the index says so
		}()
		patience := time.NewTimer(lettersPatience)
		defer patience.Stop()
		select {
		case <-refreshed:
		case <-patience.C:
		case <-ctx.Done():
		}
	}
	return c.letters.Age() < lettersOutdated
}

// lettersOf returns the dead letters of an order's events, by the identity of what was delivered.
func (c *Console) lettersOf(ctx context.Context, orderID string) (map[consumed]setAside, error) {
	by := map[consumed]setAside{}
	found := c.letters.OfOrder(orderID)
	if len(found) == 0 {
		return by, nil
	}
	var places []operations.LetterPlace
	for _, l := range found {
		places = append(places, operations.LetterPlace(l.Place))
	}
	actions, err := operations.New(c.operations).ListActionsOfLetters(ctx, places)
	if err != nil {
		return nil, fmt.Errorf("read the actions on the letters of order %s: %w", orderID, err)
	}
	history := map[deadletter.Place][]operations.DeadLetterAction{}
	for _, a := range actions {
		p := deadletter.Place{Topic: a.Topic, Partition: int32(a.KafkaPartition), Offset: a.KafkaOffset}
		history[p] = append(history[p], a)
	}
	for _, l := range found {
		about := consumed{l.Consumer, l.EventSource, l.EventID}
		// The event may have come twice: what is open matters, else the newest.
		if before, ok := by[about]; ok && (before.State == string(deadletter.Open) || before.At > moment(l.At)) {
			continue
		}
		by[about] = newSetAside(l, history[l.Place])
	}
	return by, nil
}

func newSetAside(l deadletter.Summary, history []operations.DeadLetterAction) setAside {
	full := deadletter.Letter{Summary: l}
	full.Follow(history)
	s := setAside{
		Letter: l.String(), State: string(full.State), Attempts: l.Attempts, Status: l.Status, Error: begin(l.Error, shownHeader), At: moment(l.At),
		Failures: full.Failures, Forged: l.Forged, Cut: begin(l.Cut, shownHeader),
	}
	for _, a := range full.History {
		if a.Action == operations.DeadLetterActionsActionREPLAYED {
			s.ReplayedAt, s.By, s.Corrected = moment(a.At), a.Actor, deadletter.WasCorrected(a)
		}
		if a.Action == operations.DeadLetterActionsActionREPLAYFAILED {
			s.LastAnswer = newAction(a).Result + " " + a.Detail
		}
	}
	return s
}
