package deadletter

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/sql/operations"
)

// Journal records the actions of operators. It uses one connection, whose locks keep two operators from working on the
// letters of one key at the same time.
type Journal struct {
	conn   *sql.Conn
	actor  string
	schema string // makes the names of locks differ between prefixes on one server
}

// OpenJournal takes a connection to the schema operations; actor is recorded as the author of each action.
func OpenJournal(ctx context.Context, db *sql.DB, actor string) (*Journal, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the record of operations: %w", err)
	}
	j := &Journal{conn: conn, actor: oneline.Of(actor, 128)}
	if err := conn.QueryRowContext(ctx, "SELECT DATABASE()").Scan(&j.schema); err != nil {
		return nil, errors.Join(fmt.Errorf("read the name of the schema operations: %w", err), conn.Close())
	}
	return j, nil
}

// Close releases the connection, and with it its locks.
func (j *Journal) Close() error { return j.conn.Close() }

// Result is the result of an action on one letter.
type Result string

// The results. Only the first three change a letter.
const (
	Done     Result = "done"
	Failed   Result = "failed"            // the replay failed; the letter stays open
	GaveUp   Result = "failed, parked"    // the replay failed too often
	HeldBack Result = "held back"         // an earlier letter of the key has just failed for the same consumer
	Busy     Result = "busy"              // another operator is working on the key
	Changed  Result = "changed"           // another operator was faster: its state is another one now
	Nowhere  Result = "names no consumer" // it cannot be replayed
	Refused  Result = "forged"            // no source of the wiring can have written it: it is not replayed
	NotWhole Result = "not whole"         // a part of the record is missing: it cannot be replayed
)

// Report gets the result of each letter, with an explanation.
type Report func(l Letter, r Result, detail string)

// Park holds back open letters, for a reason.
func (j *Journal) Park(ctx context.Context, letters []Letter, reason string, report Report) error {
	return j.mark(ctx, letters, []State{Open}, operations.DeadLetterActionsActionPARKED, reason, report)
}

// Discard gives up open or parked letters, for a reason.
func (j *Journal) Discard(ctx context.Context, letters []Letter, reason string, report Report) error {
	return j.mark(ctx, letters, []State{Open, Parked}, operations.DeadLetterActionsActionDISCARDED, reason, report)
}

func (j *Journal) mark(ctx context.Context, letters []Letter, from []State, action operations.DeadLetterActionsAction, reason string, report Report) error {
	for _, lane := range Lanes(letters) {
		err := j.alone(ctx, lane, from, report, func(l Letter) error {
			if err := j.record(ctx, l, action, nil, reason); err != nil {
				return err
			}
			report(l, Done, "")
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// alone does something about the letters of one lane that are in one of the states, while no other operator does. It reads
// their states again first.
func (j *Journal) alone(ctx context.Context, lane []Letter, from []State, report Report, do func(Letter) error) error {
	sum := sha256.Sum256([]byte(j.schema + "\x00" + lane[0].lane()))
	lock := "dead_letters." + hex.EncodeToString(sum[:16]) // a name has at most 64 characters
	var got sql.NullInt64
	if err := j.conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, 0)", lock).Scan(&got); err != nil {
		return fmt.Errorf("lock the letters of %q: %w", lane[0].Key, err)
	}
	if got.Int64 != 1 {
		for _, l := range lane {
			report(l, Busy, "another operator is working on its key")
		}
		return nil
	}
	defer func() {
		// If it fails, the connection is lost, and the lock with it.
		unlocking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_, _ = j.conn.ExecContext(unlocking, "DO RELEASE_LOCK(?)", lock)
	}()
	for _, l := range lane {
		actions, err := j.actions(ctx, kafka.Span{Topic: l.Topic, Partition: l.Partition, From: l.Offset, To: l.Offset + 1})
		if err != nil {
			return err
		}
		l.follow(actions[l.Offset])
		if !slices.Contains(from, l.State) {
			report(l, Changed, "it is "+string(l.State)+" now")
			continue
		}
		if err := do(l); err != nil {
			return err
		}
	}
	return nil
}

// record adds an action. Its attempts are the failures so far; status is nil without an answer.
func (j *Journal) record(ctx context.Context, l Letter, action operations.DeadLetterActionsAction, status *int, detail string) error {
	consumer, source, id := l.identity()
	err := operations.New(j.conn).InsertLetterAction(ctx, operations.InsertLetterActionParams{
		Topic: l.Topic, KafkaPartition: int(l.Partition), KafkaOffset: l.Offset, Consumer: consumer, EventSource: source,
		EventID: id, Action: action, Attempts: l.Failures, Status: status, Detail: oneline.Of(detail, 500), Actor: j.actor,
	})
	if err != nil {
		return fmt.Errorf("record %s of %s: %w", action, l.Place, err)
	}
	return nil
}
