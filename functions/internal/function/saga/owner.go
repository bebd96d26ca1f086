package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/sql/orders"
)

// CheckOwner returns nil if the principal of ctx may see and change an order; for operators and the open principal without a
// look, so that the order may not exist. It returns ErrUnknownOrder for an order of somebody else as for one that does not
// exist, by the same read, so that nobody learns which ids exist.
func CheckOwner(ctx context.Context, db orders.DBTX, orderID string) error {
	if p := identity.From(ctx); p.Operator || p.Open {
		return nil
	}
	owner, err := orders.New(db).GetOwner(ctx, orderID)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read the owner of order %s: %w", orderID, err)
	}
	if err != nil || owner == nil || !identity.Owns(ctx, *owner) {
		return fmt.Errorf("order %s: %w", orderID, ErrUnknownOrder)
	}
	return nil
}
