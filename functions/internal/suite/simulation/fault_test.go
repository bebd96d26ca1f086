package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/go-sql-driver/mysql"
)

// errCrash is the error of all database calls of a dead process; no caller gets it.
var errCrash = errors.New("the process is dead")

// kind is the kind of a fault inside a step.
type kind string

const (
	crash    kind = "crash"    // the process dies: no further call reaches the database
	lost     kind = "lost"     // the connection breaks, and the function does not know the outcome of the call
	deadlock kind = "deadlock" // the server rolls the transaction back and says so
	canceled kind = "canceled" // the caller is gone
)

// fault is one fault at one call of a step, right before or right after it.
type fault struct {
	kind  kind
	at    int // the index of the call in the step, from 0
	after bool

	mu     sync.Mutex
	calls  int
	hit    bool
	dead   bool
	cancel context.CancelFunc
}

// chooseFault draws a fault. Commits are the most critical calls, and most steps commit with their second to tenth call.
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

// around passes the calls of the step until the faulty one.
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
