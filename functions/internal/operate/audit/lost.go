package audit

import (
	"context"
	"fmt"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/schema"
)

// maxLosses bounds the number of losses that are read; each is any number of records.
const maxLosses = 10_000

// checkLost checks for records that were removed before their consumers had handled them: those that consumers reported, and
// those that a consumer has not reached yet. It skips reports older than the retention of sent rows: nothing is left that
// could explain them.
func (a *auditor) checkLost(ctx context.Context) error {
	conn, err := a.snapshot.use(ctx, schema.Operations)
	if err != nil {
		return err
	}
	found, err := operations.New(conn).ListLostSince(ctx, operations.ListLostSinceParams{At: a.at.Add(-a.o.SentRetention), Limit: maxLosses})
	if err != nil {
		return fmt.Errorf("read which records were lost: %w", err)
	}
	type begin struct {
		place
		consumer string
		offset   int64
	}
	known := map[begin]bool{}
	for _, l := range found {
		loss := kafka.Loss{Topic: l.Topic, Partition: int32(l.KafkaPartition), Consumer: l.Consumer, From: l.FirstOffset, To: l.NextOffset}
		known[begin{place{loss.Topic, loss.Partition}, loss.Consumer, loss.From}] = true
		a.lose(loss)
	}
	for _, loss := range a.ahead {
		if !known[begin{place{loss.Topic, loss.Partition}, loss.Consumer, loss.From}] {
			a.lose(loss)
		}
	}
	return nil
}

func (a *auditor) lose(l kafka.Loss) {
	n := int(l.To - l.From)
	a.lost.breachBy(n, "%d records of %s/%d, offsets %d to %d, were removed before %s had handled them", n, l.Topic, l.Partition, l.From, l.To-1, l.Consumer)
}
