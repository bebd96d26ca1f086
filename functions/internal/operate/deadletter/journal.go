package deadletter

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

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
	j := &Journal{conn: conn, actor: oneline.Of(actor, operations.MaxActor)}
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
	Gone     Result = "gone"              // its topic no longer keeps it
	Unclear  Result = "unclear"           // the replay ended before the result was known or recorded; the letter stays open
)

// Report gets the result of each letter, with an explanation.
type Report func(l Summary, r Result, detail string)

// Park holds back open letters, for a reason.
func (j *Journal) Park(ctx context.Context, letters []Summary, reason string, report Report) error {
	return j.mark(ctx, letters, []State{Open}, operations.DeadLetterActionsActionPARKED, reason, report)
}

// Discard gives up open or parked letters, for a reason.
func (j *Journal) Discard(ctx context.Context, letters []Summary, reason string, report Report) error {
	return j.mark(ctx, letters, []State{Open, Parked}, operations.DeadLetterActionsActionDISCARDED, reason, report)
}

// marked bounds the keys whose letters are marked together.
const marked = 100

// mark records an action on letters, many keys at a time. Between them it stops if ctx has ended.
func (j *Journal) mark(ctx context.Context, letters []Summary, from []State, action operations.DeadLetterActionsAction, reason string, report Report) error {
	for lanes := range slices.Chunk(Lanes(letters), marked) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		claimed, err := j.claim(ctx, lanes, from, report)
		if err != nil {
			return err
		}
		var actions []operations.InsertLetterActionParams
		for _, l := range slices.Concat(claimed...) {
			actions = append(actions, j.action(l, action, nil, reason))
		}
		if err := errors.Join(j.record(ctx, actions), j.release(ctx, claimed)); err != nil {
			return err
		}
		for _, l := range slices.Concat(claimed...) {
			report(l, Done, "")
		}
	}
	return nil
}

// statementTime bounds a statement of the journal. What was begun is recorded, though the operator has stopped the action.
const statementTime = 30 * time.Second

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), statementTime)
}

// claim locks the keys of lanes, so that no other operator works on their letters, reads the states of these again, and
// returns the lanes with the letters in one of the states. It reports the other letters.
func (j *Journal) claim(ctx context.Context, lanes [][]Summary, from []State, report Report) ([][]Summary, error) {
	locked, err := j.lock(ctx, lanes)
	if err != nil {
		return nil, err
	}
	var places []operations.LetterPlace
	for i, lane := range lanes {
		for _, l := range lane {
			if !locked[i] {
				report(l, Busy, "another operator is working on its key")
				continue
			}
			places = append(places, operations.LetterPlace(l.Place))
		}
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	actions, err := actionsOf(ctx, j.conn, places)
	if err != nil {
		return nil, err
	}
	var claimed, empty [][]Summary
	for i, lane := range lanes {
		if !locked[i] {
			continue
		}
		var left []Summary
		for _, l := range lane {
			now := Letter{Summary: l}
			now.Follow(actions[l.Place])
			if slices.Contains(from, now.State) {
				left = append(left, now.Summary)
			} else {
				report(now.Summary, Changed, "it is "+string(now.State)+" now")
			}
		}
		if left == nil {
			empty = append(empty, lane)
		} else {
			claimed = append(claimed, left)
		}
	}
	return claimed, j.release(ctx, empty)
}

// lock tries to lock the keys of lanes, with one statement, and returns which it has locked.
func (j *Journal) lock(ctx context.Context, lanes [][]Summary) ([]bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	rows, err := j.conn.QueryContext(ctx, "SELECT n, GET_LOCK(name, 0) FROM JSON_TABLE(?, '$[*]' COLUMNS (n FOR ORDINALITY, name VARCHAR(64) PATH '$')) keys_of_letters", j.locks(lanes))
	if err != nil {
		return nil, fmt.Errorf("lock the keys of letters: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err has the reason
	locked := make([]bool, len(lanes))
	for rows.Next() {
		var n int
		var got sql.NullInt64
		if err := rows.Scan(&n, &got); err != nil {
			return nil, fmt.Errorf("lock the keys of letters: %w", err)
		}
		locked[n-1] = got.Int64 == 1
	}
	return locked, rows.Err()
}

// locks returns the names of the locks of lanes, as JSON.
func (j *Journal) locks(lanes [][]Summary) string {
	names := make([]string, len(lanes))
	for i, lane := range lanes {
		sum := sha256.Sum256([]byte(j.schema + "\x00" + lane[0].lane()))
		names[i] = "dead_letters." + hex.EncodeToString(sum[:16]) // a name has at most 64 characters
	}
	list, _ := json.Marshal(names) // encoding strings cannot fail
	return string(list)
}

// release unlocks the keys of lanes.
func (j *Journal) release(ctx context.Context, lanes [][]Summary) error {
	if len(lanes) == 0 {
		return nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	var released sql.NullInt64
	err := j.conn.QueryRowContext(ctx, "SELECT SUM(RELEASE_LOCK(name)) FROM JSON_TABLE(?, '$[*]' COLUMNS (name VARCHAR(64) PATH '$')) keys_of_letters", j.locks(lanes)).Scan(&released)
	if err != nil {
		return fmt.Errorf("unlock the keys of letters: %w", err)
	}
	return nil
}

// action returns the row of an action. Its attempts are the failures so far; status is nil without an answer.
func (j *Journal) action(l Summary, action operations.DeadLetterActionsAction, status *int, detail string) operations.InsertLetterActionParams {
	consumer, source, id := l.identity()
	return operations.InsertLetterActionParams{
		Topic: l.Topic, KafkaPartition: int(l.Partition), KafkaOffset: l.Offset, Consumer: consumer, EventSource: source,
		EventID: id, Action: action, Attempts: l.Failures, Status: status, Detail: oneline.Of(detail, 500), Actor: j.actor,
	}
}

// record adds actions with one statement.
func (j *Journal) record(ctx context.Context, actions []operations.InsertLetterActionParams) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := operations.New(j.conn).InsertLetterActions(ctx, actions); err != nil {
		return fmt.Errorf("record actions on dead letters: %w", err)
	}
	return nil
}
