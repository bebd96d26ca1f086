package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
	"example.com/orders/sql/transaction"
)

// unreliable is a broker with faults. Its log has the stored events, acknowledged or not.
type unreliable struct {
	db *sql.DB

	mu  sync.Mutex
	log map[string][]string // aggregate -> the ids of its events, in the order in which they were stored
}

var errTimeout = errors.New("timed out")

func (u *unreliable) Publish(ctx context.Context, batch []event.Event) []outbox.Outcome {
	if rand.N(100) < 3 {
		// The server drops one connection: of a writer, of a relay, or an idle one.
		u.dropOne(ctx)
	}
	outcomes := make([]outbox.Outcome, len(batch))
	for i, e := range batch {
		chance := rand.N(100)
		switch {
		case chance < 10:
			outcomes[i].Err = errTimeout // and it was not stored
			continue
		case chance < 12:
			outcomes[i].Err = outbox.ErrRefused
			continue
		case chance < 22:
			outcomes[i].Err = errTimeout // but it was stored
		}
		u.mu.Lock()
		u.log[e.Subject()] = append(u.log[e.Subject()], e.ID())
		u.mu.Unlock()
	}
	return outcomes
}

// firsts returns the events of an aggregate in the order in which they were stored for the first time.
func (u *unreliable) firsts(aggregate string) (ids []string) {
	seen := map[string]bool{}
	for _, id := range u.log[aggregate] {
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

// dropOne ignores its result: another call may drop the connection that it asks on.
func (u *unreliable) dropOne(ctx context.Context) {
	all, err := servertest.Sessions(ctx, u.db)
	if err == nil && len(all) > 0 {
		_, _ = u.db.ExecContext(ctx, "KILL ?", all[rand.N(len(all))].ID)
	}
}

func (*unreliable) Close() error { return nil }

func TestFirstDeliveriesOfAnAggregateAreInOrder(t *testing.T) {
	const relays, writers, aggregates, facts = 8, 4, 160, 8
	server := mysqltest.Server(t)
	db, err := server.Open(schema.Orders, 16)
	require.NoError(t, err)
	defer func() { _ = db.Close() }()      // it may report a killed connection
	quiet := mysqltest.Pool(t, server, "") // outside of the schema, so that its connections are not killed
	u := &unreliable{db: db, log: map[string][]string{}}

	writing, written := context.WithCancel(t.Context())
	var all, writes sync.WaitGroup
	for w := range writers {
		writes.Go(func() {
			for n := 1; n <= facts; n++ {
				for a := w; a < aggregates; a += writers {
					_, err := outbox.Store{DB: db, Now: time.Now}.Transact(t.Context(), func(context.Context, *transaction.Tx) ([]event.Event, error) {
						return []event.Event{fact(fmt.Sprint("order-", a), n)}, nil
					})
					assert.NoError(t, err)
				}
			}
		})
	}
	for range relays {
		all.Go(func() {
			for {
				last := writing.Err() != nil // nothing is written after this sweep has begun
				_, err := relay(db, u).Sweep(t.Context())
				var waiting int
				if last && err == nil {
					err = quiet.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+server.Prefix+"orders.outbox WHERE status <> 'SENT'").Scan(&waiting)
					if err == nil && waiting == 0 {
						return
					}
				}
				if t.Context().Err() != nil {
					return
				}
			}
		})
	}
	writes.Wait()
	written()
	all.Wait()

	for a := range aggregates {
		name := fmt.Sprint("order-", a)
		want := make([]string, facts)
		for n := range facts {
			want[n] = fact(name, n+1).ID()
		}
		require.Equal(t, want, u.firsts(name))
	}
	assert.Zero(t, mysqltest.Count(t, quiet, "SELECT COUNT(*) FROM "+server.Prefix+"orders.outbox WHERE status <> 'SENT'"))
}
