package audit

import "context"

// chosen are the orders of a page, whether there are such or not: a range of ids, or those of a list.
type chosen struct {
	between struct{ AfterID, LastID string } // without the first, and with the last
	list    []string                         // nil for a range
}

// read reads the rows of a range with one statement, or those of a list with another one, which selects the same columns.
func read[P ~struct{ AfterID, LastID string }, R, L any](
	ctx context.Context, c chosen, ofRange func(context.Context, P) ([]R, error), ofList func(context.Context, []string) ([]L, error), as func(L) R,
) ([]R, error) {
	if c.list == nil {
		return ofRange(ctx, P(c.between))
	}
	listed, err := ofList(ctx, c.list)
	rows := make([]R, len(listed))
	for i, row := range listed {
		rows[i] = as(row)
	}
	return rows, err
}
