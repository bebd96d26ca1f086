package personal

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/orders/events"
	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/knative"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// Person is a customer, by one of these.
type Person struct {
	// Email is an address; capital letters do not count.
	Email string
	// Owner is the issuer and the subject of the customer's tokens, with a space between them.
	Owner string
}

// Desk removes personal data.
type Desk struct {
	// DB has a pool of each schema.
	DB map[string]*sql.DB
	// Reader reads the topics of Wiring.
	Reader Reader
	Wiring *knative.Wiring
	// Actor is recorded as who did it.
	Actor string
}

// Found is what there is about a customer.
type Found struct {
	// Orders are the ids of the orders that say who the customer is, the oldest first.
	Orders []string
	// Rows has the numbers of rows that would change, by schema and table. A row that says the same twice counts once.
	Rows map[string]int
	// UnderWay says of each order that cannot be forgotten yet what it waits for.
	UnderWay []string
	// Topics has the topics with records about the customer.
	Topics []Topic

	search search
}

// ErrUnderWay means that nothing was removed: an event that is still to be sent or handled would bring the address back.
var ErrUnderWay = errors.New("orders are under way")

// Find looks for a customer in every table and topic. It changes nothing.
func (d Desk) Find(ctx context.Context, p Person) (found Found, err error) {
	found.Rows = map[string]int{}
	if err := d.findOrders(ctx, p, &found); err != nil {
		return found, fmt.Errorf("find the orders of the customer: %w", err)
	}
	err = d.each(ctx, found.search, func(_ context.Context, _ *sql.DB, name string, t table, r row) error {
		if r.linked && r.underWay != nil {
			found.UnderWay = append(found.UnderWay, "order "+r.order+": "+*r.underWay)
		}
		if t.tells(found.search.words, r) {
			found.Rows[name]++
		}
		return nil
	})
	if err != nil {
		return found, err
	}
	err = d.eachHashed(found.search, func(db *sql.DB, name string, t table, condition string, arguments []any) error {
		var n int
		err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+t.name+" WHERE "+condition, arguments...).Scan(&n)
		if n > 0 {
			found.Rows[name] += n
		}
		return err
	})
	if err != nil {
		return found, err
	}
	return found, d.findRecords(ctx, &found)
}

// findOrders finds the orders and addresses of a customer.
func (d Desk) findOrders(ctx context.Context, p Person, found *Found) error {
	found.search = search{ids: map[string]bool{}, byAddress: p.Owner == ""}
	db, said := d.DB[schema.Orders], map[string]bool{cmp.Or(p.Email, p.Owner): true} // addresses, and owners, which texts may quote, too
	collect := func(query string, arguments ...any) error {
		rows, err := db.QueryContext(ctx, query, arguments...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id, email, owner string
			if err := rows.Scan(&id, &email, &owner); err != nil {
				return err
			}
			// The column's collation takes more for equal than capital letters.
			if p.Owner == "" && !strings.EqualFold(email, p.Email) {
				continue
			}
			found.search.ids[id] = true
			for _, text := range []string{email, owner} {
				if text != "" && text != events.Forgotten {
					said[text] = true
				}
			}
		}
		return rows.Err()
	}
	var err error
	if p.Owner != "" {
		err = collect("SELECT id, customer_email, owner FROM orders WHERE owner = ? ORDER BY id", p.Owner)
	} else {
		err = inSlices(ctx, db, "orders", "id", func(condition string, bounds []any) error {
			return collect("SELECT id, customer_email, COALESCE(owner, '') FROM orders FORCE INDEX (PRIMARY) WHERE "+condition+" AND customer_email = ?", append(slices.Clone(bounds), p.Email)...)
		})
	}
	found.Orders = slices.Sorted(maps.Keys(found.search.ids))
	found.search.words = newWords(slices.Sorted(maps.Keys(said)))
	for text := range said {
		found.search.hashes = append(found.search.hashes, orders.CustomerHash(text, ""), orders.CustomerHash("", text))
	}
	return err
}

// each calls visit with every row of every table that may tell about the customer.
func (d Desk) each(ctx context.Context, s search, visit func(context.Context, *sql.DB, string, table, row) error) error {
	for _, name := range sequence {
		for _, t := range tables[name] {
			if len(t.personal()) == 0 {
				continue
			}
			full := name + "." + t.name
			if err := t.walk(ctx, d.DB[name], s, func(r row) error { return visit(ctx, d.DB[name], full, t, r) }); err != nil {
				return fmt.Errorf("look through %s (harness migrate creates it): %w", full, err)
			}
		}
	}
	return nil
}

// eachHashed calls visit with every table that has hashes of addresses or owners, and the condition on the rows of the customer.
func (d Desk) eachHashed(s search, visit func(db *sql.DB, name string, t table, condition string, arguments []any) error) error {
	for _, name := range sequence {
		for _, t := range tables[name] {
			full := name + "." + t.name
			err := t.hashed(s.hashes, func(condition string, arguments []any) error {
				return visit(d.DB[name], full, t, condition, arguments)
			})
			if err != nil {
				return fmt.Errorf("look through %s (harness migrate creates it): %w", full, err)
			}
		}
	}
	return nil
}

// forgetPage bounds the orders of one statement.
const forgetPage = 500

// Forget removes what Find has found, and returns the numbers of changed rows. It changes row by row, and the orders last, so
// that it can be repeated after it was interrupted. It records who did it, and never whose data it was.
func (d Desk) Forget(ctx context.Context, p Person, found Found, reason string) (changed map[string]int, err error) {
	if len(found.UnderWay) > 0 {
		return nil, ErrUnderWay
	}
	q, known := operations.New(d.DB[schema.Operations]), operations.ForgetActionsKnownEMAIL
	if p.Owner != "" {
		known = operations.ForgetActionsKnownOWNER
	}
	id, err := q.InsertForgetAction(ctx, operations.InsertForgetActionParams{
		Known: known, Orders: int64(len(found.Orders)), Detail: oneline.Of(*found.search.words.forget(Text, &reason, true), 500), Actor: oneline.Of(d.Actor, 320),
	})
	if err != nil {
		return nil, fmt.Errorf("record that a customer is forgotten (harness migrate creates the schema): %w", err)
	}
	changed = map[string]int{}
	err = d.each(ctx, found.search, func(ctx context.Context, db *sql.DB, name string, t table, r row) error {
		if t.name == "orders" {
			return nil
		}
		done, err := t.change(ctx, db, found.search.words, r)
		if done {
			changed[name]++
		}
		return err
	})
	if err == nil {
		err = d.eachHashed(found.search, func(db *sql.DB, name string, t table, condition string, arguments []any) error {
			result, err := db.ExecContext(ctx, "DELETE FROM "+t.name+" WHERE "+condition, arguments...) //nolint:gosec // the names are those of columns.go
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if n > 0 {
				changed[name] += int(n)
			}
			return err
		})
	}
	for page := range slices.Chunk(found.Orders, forgetPage) {
		if err != nil {
			break
		}
		var n int64
		n, err = orders.New(d.DB[schema.Orders]).ForgetOrders(ctx, orders.ForgetOrdersParams{Forgotten: events.Forgotten, Ids: page})
		changed[schema.Orders+".orders"] += int(n)
	}
	total := 0
	for _, n := range changed {
		total += n
	}
	outcome := fmt.Sprintf("%d rows changed", total)
	if err != nil {
		outcome = oneline.Of(outcome+", then it failed", 500)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return changed, errors.Join(err, q.SetForgetOutcome(ctx, operations.SetForgetOutcomeParams{Outcome: &outcome, ID: id}))
}
