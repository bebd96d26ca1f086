package payments

import (
	"context"

	"example.com/orders/sql/bulk"
)

// OpenPayments ensures with one statement that several orders have their rows.
func (q *Queries) OpenPayments(ctx context.Context, rows []OpenPaymentParams) error {
	return bulk.Insert(ctx, q.db, openPayment, rows, func(r OpenPaymentParams) []any {
		return []any{r.OrderID, r.Amount, r.Currency, r.Items, r.Cause, r.CreatedAt, r.UpdatedAt}
	})
}

// PostponeRequests postpones several requests with one statement.
func (q *Queries) PostponeRequests(ctx context.Context, rows []PostponeRequestParams) error {
	return bulk.Insert(ctx, q.db, postponeRequest, rows, func(r PostponeRequestParams) []any {
		return []any{r.OrderID, r.LastError, r.WaitMicros}
	})
}

// EndRequests records the outcomes of several requests with one statement.
func (q *Queries) EndRequests(ctx context.Context, rows []EndRequestParams) error {
	return bulk.Insert(ctx, q.db, endRequest, rows, func(r EndRequestParams) []any {
		return []any{r.OrderID, r.Status, r.Reference, r.Reason, r.Version, r.Settled, r.UpdatedAt}
	})
}

// InsertPaymentLogs logs several changes with one statement.
func (q *Queries) InsertPaymentLogs(ctx context.Context, rows []InsertPaymentLogParams) error {
	return bulk.Insert(ctx, q.db, insertPaymentLog, rows, func(r InsertPaymentLogParams) []any {
		return []any{r.OrderID, r.Entry, r.Amount, r.Currency, r.Reference, r.Reason, r.Actor, r.CreatedAt}
	})
}
