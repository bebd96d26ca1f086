package console

import (
	"context"
	"slices"
	"sync"
	"time"
)

// The history of the arrows has a point every historyEvery, for historyLength.
const (
	historyEvery  = 10 * time.Second
	historyLength = 15 * time.Minute
)

// recorder keeps the history, watched or not: what led to an incident was before somebody looked.
type recorder struct {
	take func(context.Context) (point, bool)

	mu     sync.Mutex
	points []point
	ended  sync.WaitGroup
	end    context.CancelFunc
}

// point has the numbers of all arrows at a time.
type point struct {
	at      time.Time
	topics  map[string]float64 // the rate
	sources map[string]measured
}

type measured struct {
	rate float64
	lag  int64
	// millis is the mean time that the function took over an event of any topic; nil if it had none.
	millis *float64
}

// newRecorder starts to record; after each point it calls changed.
func newRecorder(take func(context.Context) (point, bool), changed func()) *recorder {
	ctx, end := context.WithCancel(context.Background())
	r := &recorder{take: take, end: end}
	r.ended.Go(func() {
		for {
			if p, ok := r.take(ctx); ok {
				r.add(p)
				changed()
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(historyEvery):
			}
		}
	})
	return r
}

func (r *recorder) add(p point) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := slices.IndexFunc(r.points, func(other point) bool { return p.at.Sub(other.at) <= historyLength })
	if old < 0 {
		old = len(r.points)
	}
	r.points = append(r.points[old:], p)
}

// course is the history of a consumer, by point.
type course struct {
	Rate   []float64  `json:"rate"`
	Lag    []int64    `json:"lag"`
	Millis []*float64 `json:"millis"`
}

// read returns the history. While Kafka is away there are no points.
func (r *recorder) read(context.Context) (any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := struct {
		At      []int64              `json:"at"` // Unix seconds
		Topics  map[string][]float64 `json:"topics"`
		Sources map[string]*course   `json:"sources"`
	}{At: []int64{}, Topics: map[string][]float64{}, Sources: map[string]*course{}}
	for _, p := range r.points {
		answer.At = append(answer.At, p.at.Unix())
		for topic, rate := range p.topics {
			answer.Topics[topic] = append(answer.Topics[topic], rate)
		}
		for group, m := range p.sources {
			if answer.Sources[group] == nil {
				answer.Sources[group] = &course{}
			}
			all := answer.Sources[group]
			all.Rate, all.Lag, all.Millis = append(all.Rate, m.rate), append(all.Lag, m.lag), append(all.Millis, m.millis)
		}
	}
	return answer, nil
}

func (r *recorder) close() {
	r.end()
	r.ended.Wait()
}

// newHistory returns a func that measures all arrows since its last call. The first call only remembers where they are.
func (c *Console) newHistory() func(context.Context) (point, bool) {
	var before sample
	steps := c.o.Metrics.Steps()
	return func(ctx context.Context) (point, bool) {
		now, lags, err := c.takeSample(ctx)
		if err != nil {
			return point{}, false // the flow has the error
		}
		stepsNow := c.o.Metrics.Steps()
		p := point{at: now.at, topics: map[string]float64{}, sources: map[string]measured{}}
		for _, topic := range c.topology.Topics {
			p.topics[topic.Name] = rate(before.at, now.at, before.topics[topic.Name], now.topics[topic.Name])
		}
		for _, h := range c.topology.Handles {
			m := measured{rate: rate(before.at, now.at, before.handled[h.Group], now.handled[h.Group]), lag: lags[h.Group]}
			if events := stepsNow[h.Function].Events - steps[h.Function].Events; events > 0 {
				millis := float64(int64((stepsNow[h.Function].Seconds-steps[h.Function].Seconds)*1e4/float64(events)+.5)) / 10
				m.millis = &millis
			}
			p.sources[h.Group] = m
		}
		first := before.at.IsZero()
		before, steps = now, stepsNow
		return p, !first
	}
}
