package personal

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// slice is the number of rows that one query reads at most, so that it neither holds up the server nor times out.
const slice = 5000

// row is a row that tells about the customer: its key, its personal columns, and its order's id.
type row struct {
	key      []any
	values   []*string
	linked   bool
	order    string
	underWay *string
}

// search is what to look for.
type search struct {
	ids   map[string]bool // of the customer's orders
	words words
	// hashes are those of the addresses and owners.
	hashes [][]byte
	// byAddress is whether rows of other orders are looked through for the addresses, too.
	byAddress bool
}

// narrow returns a condition that leaves out most rows of a large table, which the server then does not send: it keeps those of
// the customer's orders, and those with an address of the customer, in capital letters or not.
func (s search) narrow(t table) (condition string, arguments []any) {
	if t.order == "" || t.prefix {
		return "TRUE", nil // what operators did: few rows
	}
	some := []string{"FALSE"}
	if len(s.ids) > 0 {
		some = append(some, t.order+" IN ("+strings.Repeat(", ?", len(s.ids))[2:]+")")
		for id := range s.ids {
			arguments = append(arguments, id)
		}
	}
	if s.byAddress {
		for _, name := range t.personal() {
			for _, spelling := range s.words.spellings {
				if t.columns[name] != Owner && t.columns[name] != Key {
					some, arguments = append(some, "INSTR("+name+", ?) > 0"), append(arguments, spelling)
				}
			}
		}
	}
	return "(" + strings.Join(some, " OR ") + ")", arguments
}

// walk calls visit with the rows of a table that tell about the customer, or belong to an order that is under way.
func (t table) walk(ctx context.Context, db *sql.DB, s search, visit func(row) error) error {
	columns, first := t.personal(), t.key[0]
	selected := slices.Concat(t.key, columns)
	link, underWay := "''", "NULL"
	if t.order != "" {
		link = t.order
	}
	if t.underWay != "" {
		underWay = t.underWay
	}
	// The names are those of this package, so nothing needs quoting.
	query := "SELECT " + strings.Join(append(slices.Clone(selected), link, underWay), ", ") + " FROM " + t.name + " FORCE INDEX (PRIMARY)"
	narrow, arguments := s.narrow(t)
	return inSlices(ctx, db, t.name, first, func(condition string, bounds []any) error {
		rows, err := db.QueryContext(ctx, query+" WHERE "+condition+" AND "+narrow, slices.Concat(bounds, arguments)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			r := row{key: make([]any, len(t.key)), values: make([]*string, len(columns))}
			targets := make([]any, 0, len(selected)+2)
			for i := range r.key {
				r.key[i] = new(string)
				targets = append(targets, r.key[i])
			}
			for i := range r.values {
				targets = append(targets, &r.values[i])
			}
			var linked sql.NullString
			if err := rows.Scan(append(targets, &linked, &r.underWay)...); err != nil {
				return err
			}
			if r.order = linked.String; t.prefix {
				r.order, _, _ = strings.Cut(r.order, "#")
			}
			r.linked = s.ids[r.order]
			if r.linked || t.order == "" || s.byAddress {
				if err := visit(r); err != nil {
					return err
				}
			}
		}
		return rows.Err()
	})
}

// inSlices calls read with the conditions that split a table by its key into slices, in order.
func inSlices(ctx context.Context, db *sql.DB, table, key string, read func(condition string, bounds []any) error) error {
	condition, bounds := "TRUE", []any(nil)
	for {
		var last string
		err := db.QueryRowContext(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY %s LIMIT 1 OFFSET %d", key, table, condition, key, slice-1), bounds...).Scan(&last)
		end := errors.Is(err, sql.ErrNoRows)
		if err != nil && !end {
			return err
		}
		if end {
			return read(condition, bounds)
		}
		if err := read(condition+" AND "+key+" <= ?", append(slices.Clone(bounds), last)); err != nil {
			return err
		}
		condition, bounds = key+" > ?", []any{last}
	}
}

// left returns the assignments to the columns of a row that say something about the customer, and what is left of each.
func (t table) left(w words, r row) (sets []string, arguments []any) {
	for i, name := range t.personal() {
		value := w.forget(t.columns[name], r.values[i], r.linked)
		if value != nil && *value != *r.values[i] {
			sets, arguments = append(sets, name+" = ?"), append(arguments, *value)
		}
	}
	return sets, arguments
}

// tells returns whether a row still says something about the customer.
func (t table) tells(w words, r row) bool {
	sets, _ := t.left(w, r)
	return len(sets) > 0
}

// change writes what is left of a row, and returns whether it changed.
func (t table) change(ctx context.Context, db *sql.DB, w words, r row) (bool, error) {
	sets, arguments := t.left(w, r)
	if len(sets) == 0 {
		return false, nil
	}
	where := []string{cmp.Or(t.guard, "TRUE")}
	for i, name := range t.key {
		where, arguments = append(where, name+" = ?"), append(arguments, r.key[i])
	}
	result, err := db.ExecContext(ctx, "UPDATE "+t.name+" SET "+strings.Join(sets, ", ")+" WHERE "+strings.Join(where, " AND "), arguments...) //nolint:gosec // the names are those of columns.go
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// hashed calls do with the condition on the rows of a table that have one of these hashes.
func (t table) hashed(hashes [][]byte, do func(condition string, arguments []any) error) error {
	if t.hash() == "" || len(hashes) == 0 {
		return nil
	}
	arguments := make([]any, len(hashes))
	for i, hash := range hashes {
		arguments[i] = hash
	}
	return do(t.hash()+" IN ("+strings.Repeat(", ?", len(hashes))[2:]+")", arguments)
}
