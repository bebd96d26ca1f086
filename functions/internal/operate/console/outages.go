package console

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// The servers that the pages name when they are away.
const (
	Database = "database"
	Kafka    = "kafka"
	Connect  = "connect" // the connectors that publish in the place of relays
)

// checkEvery is the pause between two checks of a server while a page is open, checkIdle while none is: a check of Kafka opens a
// connection.
const (
	checkEvery = 500 * time.Millisecond
	checkIdle  = 5 * time.Second
)

// outage is a server that does not work.
type outage struct {
	What string `json:"what"` // Database, Kafka or Connect
	Why  string `json:"why"`
	// Since is when the server worked for the last time, or when the first check began.
	Since string `json:"since"`
}

// monitor checks the servers whether or not a page is open: one that is opened during an outage says since when it lasts.
type monitor struct {
	checks  map[string]func(context.Context) error
	watched func() bool
	changed func()

	mu      sync.Mutex
	outages map[string]outage
	ended   sync.WaitGroup
	end     context.CancelFunc
}

// newMonitor starts the checks, each of which is bounded; changed is called when an outage begins, changes or ends.
func newMonitor(checks map[string]func(context.Context) error, watched func() bool, changed func()) *monitor {
	ctx, end := context.WithCancel(context.Background())
	m := &monitor{checks: checks, watched: watched, changed: changed, outages: map[string]outage{}, end: end}
	for what := range checks {
		m.ended.Go(func() { m.run(ctx, what) })
	}
	return m
}

func (m *monitor) run(ctx context.Context, what string) {
	worked := time.Now()
	for {
		begin := time.Now()
		err := m.checks[what](ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			worked = begin
		}
		m.note(what, worked, err)
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(checkEvery):
				again = m.watched() || time.Since(begin) >= checkIdle
			}
		}
	}
}

func (m *monitor) note(what string, worked time.Time, err error) {
	m.mu.Lock()
	before := m.outages[what]
	if err == nil {
		delete(m.outages, what)
	} else {
		m.outages[what] = outage{what, err.Error(), moment(worked)}
	}
	after := m.outages[what]
	m.mu.Unlock()
	if before != after {
		m.changed()
	}
}

// read returns the outages in order of name.
func (m *monitor) read(context.Context) (any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := []outage{}
	for _, o := range m.outages {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b outage) int { return strings.Compare(a.What, b.What) })
	return all, nil
}

// close ends the checks and waits for those that are under way.
func (m *monitor) close() {
	m.end()
	m.ended.Wait()
}
