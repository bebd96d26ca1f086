package console

import (
	"context"

	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/operate/gauge"
)

// OpenLetters counts the dead letters that wait for an operator, for metrics, from the console's index. Those that no source
// has written have no consumer.
func (c *Console) OpenLetters(ctx context.Context) (map[gauge.Letters]int, error) {
	if err := c.refreshLetters(ctx, indexedWithin); err != nil {
		return nil, err
	}
	return c.countOpen(), nil
}

// countOpen is OpenLetters by the index as it is.
func (c *Console) countOpen() map[gauge.Letters]int {
	counts := map[gauge.Letters]int{}
	c.letters.Each(deadletter.Filter{State: deadletter.Open}, func(l *deadletter.Summary) {
		consumer := l.Consumer
		if l.Forged {
			consumer = ""
		}
		counts[gauge.Letters{Topic: l.Origin.Topic, Consumer: consumer}]++
	})
	return counts
}
