package simulation

import (
	"context"
	"database/sql"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// actor is one of two concurrent parties. It stops before each of its calls to the database until it is released.
type actor struct {
	stops   func(call) bool
	arrived chan call
	goOn    chan struct{}
	ended   chan error
	session atomic.Int64 // of its last call

	state state
	err   error
}

type state int

const (
	going   state = iota // busy by itself or, at a call, in the database, where it may wait for the other one
	stopped              // before a call
	over
)

func newActor(m *member, stops func(call) bool) *actor {
	a := &actor{stops: stops, arrived: make(chan call), goOn: make(chan struct{}), ended: make(chan error, 1)}
	m.tap.set(func(c call, do func() error) error {
		a.session.Store(c.session)
		if stops(c) {
			a.arrived <- c
			<-a.goOn
		}
		return do()
	})
	return a
}

// settle returns once the actor is stopped, done, or waiting for a lock.
func (a *actor) settle(t testing.TB, db *sql.DB) {
	t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for a.state == going {
		select {
		case <-a.arrived:
			a.state = stopped
		case a.err = <-a.ended:
			a.state = over
		case <-look.C:
			if waits(t, db, a.session.Load()) {
				return
			}
		}
	}
}

// interleave runs two actors to their ends, one call at a time in the order that choose decides: it gets the number of
// actors that can continue, and picks one.
func interleave(ctx context.Context, t testing.TB, db *sql.DB, actors [2]*actor, do [2]func(context.Context) error, choose func(options int) int) {
	t.Helper()
	for i, a := range actors {
		go func() { a.ended <- do[i](ctx) }()
	}
	deadline := time.Now().Add(time.Minute)
	for {
		var ready []*actor
		for _, a := range actors {
			a.settle(t, db)
			if a.state == stopped {
				ready = append(ready, a)
			}
		}
		if actors[0].state == over && actors[1].state == over {
			return
		}
		require.True(t, time.Now().Before(deadline), "both wait")
		if len(ready) > 0 {
			next := ready[choose(len(ready))]
			next.state = going
			next.goOn <- struct{}{}
		}
	}
}

var thread = regexp.MustCompile(`thread id (\d+),`)

// waits returns whether a session waits for a lock. Only the status shows this at once on both servers: the tables about
// transactions are cached while they are queried often, and the process list does not distinguish waiting from working.
func waits(t testing.TB, db *sql.DB, session int64) bool {
	t.Helper()
	var kind, name, status string
	require.NoError(t, db.QueryRowContext(t.Context(), "SHOW ENGINE INNODB STATUS").Scan(&kind, &name, &status))
	for transaction := range strings.SplitSeq(status, "---TRANSACTION ") {
		id := thread.FindStringSubmatch(transaction)
		if id != nil && id[1] == strconv.FormatInt(session, 10) {
			return strings.Contains(transaction, "LOCK WAIT")
		}
	}
	return false
}

// everyOrder calls run with every possible sequence of choices, and returns their number.
func everyOrder(run func(choose func(options int) int)) (n int) {
	var taken, of []int
	for {
		n++
		depth := 0
		run(func(options int) int {
			if depth == len(taken) {
				taken, of = append(taken, 0), append(of, options)
			}
			// A retry after a deadlock may leave fewer options than the run before.
			of[depth] = options
			choice := min(taken[depth], options-1)
			depth++
			return choice
		})
		taken, of = taken[:depth], of[:depth]
		for len(taken) > 0 && taken[len(taken)-1]+1 >= of[len(taken)-1] {
			taken, of = taken[:len(taken)-1], of[:len(of)-1]
		}
		if len(taken) == 0 {
			return n
		}
		taken[len(taken)-1]++
	}
}
