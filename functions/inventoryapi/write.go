package inventoryapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events/strictjson"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/transaction"
)

// maxLevel is the highest level of a SKU, in units, and maxReason the longest reason, in characters.
const (
	maxLevel  = 1_000_000_000_000
	maxReason = 64
)

// put answers PUT /api/inventory/{sku}: it sets the available units to availableQty.
func (f *Function) put(w http.ResponseWriter, r *http.Request) error {
	return f.change(w, r, func(o *strictjson.Object) request {
		target := o.Int("availableQty")
		if target < 0 || target > maxLevel {
			o.Fail("availableQty", fmt.Sprintf("must be 0 to %d", int64(maxLevel)))
		}
		return request{
			reason:  "set",
			content: fmt.Sprint("put ", target),
			delta:   func(available int64) int64 { return target - available },
			create:  true,
		}
	})
}

// adjust answers POST /api/inventory/{sku}/adjustments: it adds or removes units.
func (f *Function) adjust(w http.ResponseWriter, r *http.Request) error {
	return f.change(w, r, func(o *strictjson.Object) request {
		delta, reason := o.Int("delta"), o.String("reason")
		if delta == 0 || delta < -maxLevel || delta > maxLevel {
			o.Fail("delta", fmt.Sprintf("must be -%d to %d and not 0", int64(maxLevel), int64(maxLevel)))
		}
		if !validReason(reason) {
			o.Fail("reason", fmt.Sprintf("must be 1 to %d printable characters", maxReason))
		}
		return request{
			reason:  reason,
			content: fmt.Sprint("adjust ", delta, " ", reason),
			delta:   func(int64) int64 { return delta },
		}
	})
}

func validReason(reason string) bool {
	n := utf8.RuneCountInString(reason)
	return n >= 1 && n <= maxReason && !strings.ContainsFunc(reason, func(r rune) bool { return !unicode.IsPrint(r) })
}

// request is a change of the level of a SKU.
type request struct {
	sku           string
	reason        string
	content       string                      // the same for requests that are equal after decoding
	delta         func(available int64) int64 // the change of the available units
	create        bool                        // whether the request may create the SKU
	ifMatch       []string
	ifNoneMatch   []string
	key           []byte
	actor         string // who sent it, see identity.Principal.Account
	correlationID string
}

func (c request) hash() [sha256.Size]byte { return sha256.Sum256([]byte(c.content)) }

// change reads a request, applies it once, and answers with the resulting level.
func (f *Function) change(w http.ResponseWriter, r *http.Request, parse func(*strictjson.Object) request) error {
	sku, err := rest.PathSKU(r)
	if err != nil {
		return err
	}
	key, err := rest.IdempotencyKey(r)
	if err != nil {
		return err
	}
	body, err := rest.Body(w, r)
	if err != nil {
		return err
	}
	o, err := strictjson.Parse(body)
	if err != nil {
		return rest.Invalid(err)
	}
	c := parse(o)
	if err := o.Done(); err != nil {
		return rest.Invalid(err)
	}
	c.sku, c.correlationID = sku, w.Header().Get(rest.CorrelationHeader)
	c.ifMatch, c.ifNoneMatch = r.Header.Values("If-Match"), r.Header.Values("If-None-Match")
	own := key == ""
	if own {
		// A generated key, so that a commit of unknown outcome is not applied twice.
		key = f.NewID()
	}
	c.actor = identity.From(r.Context()).Account()
	c.key = rest.KeyHash(r.Method, r.URL.Path, c.actor, key)
	done, err := f.apply(r.Context(), c)
	if err != nil {
		return err
	}
	if done.replayed && !own {
		w.Header().Set(rest.ReplayedHeader, "true")
	}
	if done.created {
		w.Header().Set("Location", "/api/inventory/"+sku)
		return done.after.write(w, http.StatusCreated)
	}
	return done.after.write(w, http.StatusOK)
}

// outcome is the result of a request: the level after it, whether it created the SKU, and whether it had been applied
// before.
type outcome struct {
	after             level
	created, replayed bool
}

// apply changes the level under the lock of its row and logs the change in stock_log.
func (f *Function) apply(ctx context.Context, c request) (done outcome, err error) {
	err = f.Transact(ctx, func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		q := inventory.New(tx)
		before, isNew, err := f.lock(ctx, q, c)
		if err != nil {
			return nil, err
		}
		// Look under the lock, since the first request with the key may have held it until now. Look before checking the
		// request: a repeated request gets the first answer, whatever has happened to the level since.
		first, err := q.GetStockLogByKey(ctx, c.key)
		switch {
		case err == nil:
			done, err = again(first, c)
		case errors.Is(err, sql.ErrNoRows):
			done, err = f.write(ctx, q, c, before, isNew)
		default:
			err = fmt.Errorf("look for an earlier request: %w", err)
		}
		return nil, err
	})
	if err == nil && !done.replayed {
		f.Log.InfoContext(ctx, "stock changed", "function", f.Name, "sku", c.sku, "available", done.after.AvailableQty, "by", c.actor, "correlation_id", c.correlationID)
	}
	return done, err
}

// lock locks the SKU's row, and creates it if the request may.
func (f *Function) lock(ctx context.Context, q *inventory.Queries, c request) (before inventory.LockStockRow, isNew bool, err error) {
	before, err = q.LockStock(ctx, c.sku)
	if errors.Is(err, sql.ErrNoRows) {
		if !c.create {
			return before, false, unknown(c.sku)
		}
		if len(c.ifMatch) > 0 {
			return before, false, stale() // RFC 9110, 13.1.1: no representation matches
		}
		made, err := q.EnsureStock(ctx, inventory.EnsureStockParams{Sku: c.sku, UpdatedAt: f.Now()})
		if err != nil {
			return before, false, fmt.Errorf("create the SKU %s: %w", c.sku, err)
		}
		isNew = made == 1
		before, err = q.LockStock(ctx, c.sku)
		if err != nil {
			return before, false, fmt.Errorf("lock the stock of %s: %w", c.sku, err)
		}
		return before, isNew, nil
	}
	if err != nil {
		return before, false, fmt.Errorf("lock the stock of %s: %w", c.sku, err)
	}
	return before, false, nil
}

// again returns the outcome of a request whose key exists: that of the first one.
func again(first inventory.GetStockLogByKeyRow, c request) (outcome, error) {
	if content := c.hash(); !bytes.Equal(first.RequestHash, content[:]) {
		return outcome{}, rest.NewProblem(http.StatusUnprocessableEntity, "this "+rest.KeyHeader+" was used before with another body: use a new key for another change")
	}
	after := level{SKU: first.Sku, AvailableQty: first.AvailableAfter, ReservedQty: first.ReservedAfter, version: first.VersionAfter}
	return outcome{after: after, created: first.Created, replayed: true}, nil
}

// write changes a level whose row is locked, if the request's ETags and the available units allow it.
func (f *Function) write(ctx context.Context, q *inventory.Queries, c request, before inventory.LockStockRow, isNew bool) (outcome, error) {
	etag := newLevel(inventory.GetStockRow(before)).etag()
	if len(c.ifMatch) > 0 && !names(c.ifMatch, etag) {
		return outcome{}, stale()
	}
	if !isNew && names(weak(c.ifNoneMatch), etag) {
		return outcome{}, rest.NewProblem(http.StatusPreconditionFailed, "the SKU "+c.sku+" exists already: leave out If-None-Match to change it")
	}
	now, delta := f.Now(), c.delta(before.AvailableQty)
	available := before.AvailableQty + delta
	if available < 0 || available > maxLevel {
		return outcome{}, rest.NewProblem(http.StatusConflict, fmt.Sprintf("%d units are available: the level would become %d", before.AvailableQty, available))
	}
	if _, err := q.AdjustStock(ctx, inventory.AdjustStockParams{Sku: c.sku, Delta: delta, UpdatedAt: now}); err != nil {
		return outcome{}, fmt.Errorf("change the stock of %s by %d: %w", c.sku, delta, err)
	}
	after := level{SKU: c.sku, AvailableQty: available, ReservedQty: before.ReservedQty, version: before.Version + 1}
	content := c.hash()
	if err := q.InsertStockLog(ctx, inventory.InsertStockLogParams{
		Sku: c.sku, Delta: delta, Reason: c.reason, AvailableAfter: after.AvailableQty, ReservedAfter: after.ReservedQty,
		VersionAfter: after.version, Created: isNew, IdempotencyKeyHash: c.key, RequestHash: content[:],
		CorrelationID: c.correlationID, Actor: &c.actor, CreatedAt: now,
	}); err != nil {
		return outcome{}, fmt.Errorf("log the change of %s: %w", c.sku, err)
	}
	return outcome{after: after, created: isNew}, nil
}

func stale() *rest.Problem {
	return rest.NewProblem(http.StatusPreconditionFailed, "the level has changed: GET it again and send its ETag as If-Match")
}

// names returns whether one of the entity tags of If-Match or If-None-Match equals etag by the strong comparison.
func names(tags []string, etag string) bool {
	for _, tag := range strings.Split(strings.Join(tags, ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == etag {
			return true
		}
	}
	return false
}

// weak turns the strong comparison of tags into the weak one that If-None-Match needs (RFC 9110, 13.1.2).
func weak(tags []string) []string {
	return strings.Split(strings.ReplaceAll(strings.Join(tags, ","), `W/"`, `"`), ",")
}
