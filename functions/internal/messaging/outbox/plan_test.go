package outbox_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/schema"
)

func TestEveryQueryOfTheRelayFindsItsRowsByAnIndex(t *testing.T) {
	sizes := map[string]int{"few rows": 10, "many rows": 20_000}
	for size, n := range sizes {
		t.Run(size, func(t *testing.T) {
			db := mysqltest.Open(t, schema.Orders)
			fill(t, db, n)
			for _, table := range []string{"outbox", "outbox_shards", "inbox"} {
				exec(t, db, "ANALYZE TABLE "+table)
			}
			p := mysqltest.NewPlanner(t, db)
			q := messaging.New(p)
			reason, before := "refused", time.Now()
			queries := map[string]func() error{
				"ListPendingShards": func() error {
					_, err := q.ListPendingShards(t.Context(), []uint8{0, 1, 2})
					return err
				},
				"ClaimShards": func() error { _, err := q.ClaimShards(t.Context(), []uint8{1, 3}); return err },
				"ListDue": func() error {
					_, err := q.ListDue(t.Context(), messaging.ListDueParams{Shard: 3, Limit: 500})
					return err
				},
				"ListHolders": func() error { _, err := q.ListHolders(t.Context(), []string{"filled-1", "a"}); return err },
				"ListNew": func() error {
					_, err := q.ListNew(t.Context(), messaging.ListNewParams{Shard: 3, After: 5, Limit: 500})
					return err
				},
				"MarkSent": func() error {
					return q.MarkSent(t.Context(), []messaging.Sent{{ID: 2}, {ID: 3}, {ID: 4}})
				},
				"RecordRefusal": func() error {
					return q.RecordRefusal(t.Context(), messaging.RecordRefusalParams{ID: 2, LastError: &reason, WaitMicros: 1})
				},
				"Park":       func() error { return q.Park(t.Context(), messaging.ParkParams{ID: 2, LastError: &reason}) },
				"FirstEvent": func() error { _, err := q.FirstEvent(t.Context()); return err },
				"LastOfRange": func() error {
					_, err := q.LastOfRange(t.Context(), messaging.LastOfRangeParams{ID: 1, Limit: 1000})
					return err
				},
				"DeleteSentRange": func() error {
					_, err := q.DeleteSentRange(t.Context(), messaging.DeleteSentRangeParams{FirstID: 1, LastID: 5, SentBefore: &before})
					return err
				},
			}
			for name, run := range queries {
				require.NoError(t, run(), name)
				require.NotEmpty(t, p.Lookups, name)
				for _, l := range p.Lookups {
					switch l.Table {
					case "outbox", "o", "n", "e", "outbox_shards", "s":
						if name == "MarkSent" && l.Table == "s" { // the list of sent rows
							continue
						}
						assert.NotEmpty(t, l.Index, "%s scans the table: %v", name, fmt.Sprint(p.Lookups))
						assert.NotEqual(t, "ALL", l.Access, "%s: %v", name, p.Lookups)
					}
				}
			}
		})
	}
}
