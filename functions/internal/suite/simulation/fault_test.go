package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/go-sql-driver/mysql"
)

// errCrash is what a dead process hears from its database; nobody hears it from the process.
var errCrash = errors.New("the process is dead")

// kind is what goes wrong inside a step.
type kind string

const (
	crash    kind = "crash"    // the process dies: nothing more of it reaches the database
	lost     kind = "lost"     // the connection breaks, the outcome of the call is unknown to the function
	deadlock kind = "deadlock" // the server rolls the transaction back and says so
	canceled kind = "canceled" // the caller has gone
)

// fault is one thing that goes wrong at one call of a step, right before it or right after it.
type fault struct {
	kind  kind
	at    int // counts the calls of the step, from 0
	after bool

	mu     sync.Mutex
	calls  int
	hit    bool
	dead   bool
	cancel context.CancelFunc
}

// chooseFault draws a fault; commits are where it hurts, and most steps commit with their second to tenth call.
func chooseFault(random *rand.Rand) *fault {
	return &fault{
		kind:  []kind{crash, crash, lost, deadlock, canceled}[random.IntN(5)],
		at:    random.IntN(11),
		after: random.IntN(2) == 0,
	}
}

func (f *fault) String() string {
	side := "before"
	if f.after {
		side = "after"
	}
	return fmt.Sprintf("%s %s call %d", f.kind, side, f.at)
}

// around lets the calls of the step pass until it is time.
func (f *fault) around(_ call, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errCrash
	}
	now := f.calls == f.at
	f.calls++
	if !now {
		return do()
	}
	f.hit = true
	if f.kind == deadlock {
		// The server rolls back at a statement, never after it.
		return &mysql.MySQLError{Number: 1213, Message: "Deadlock found when trying to get lock; try restarting transaction"}
	}
	if f.after {
		if err := do(); err != nil {
			return err
		}
	}
	switch f.kind {
	case canceled:
		f.cancel()
		if f.after {
			return nil
		}
		return do()
	case lost:
		return mysql.ErrInvalidConn
	default:
		f.dead = true
		return errCrash
	}
}
