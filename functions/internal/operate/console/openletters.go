package console

import (
	"context"

	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/operate/gauge"
)

// OpenLetters counts the dead letters that wait for an operator, for metrics. Those that no source has written have no consumer.
func (c *Console) OpenLetters(ctx context.Context) (map[gauge.Letters]int, error) {
	counts := map[gauge.Letters]int{}
	return counts, c.withBox(ctx, "", func(box deadletter.Box) error {
		found, err := box.Find(ctx, deadletter.Selector{States: []deadletter.State{deadletter.Open}})
		for _, l := range found {
			consumer := l.Consumer
			if l.Forged {
				consumer = ""
			}
			counts[gauge.Letters{Topic: l.Origin.Topic, Consumer: consumer}]++
		}
		return err
	})
}
