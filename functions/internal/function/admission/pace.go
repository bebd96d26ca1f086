package admission

import (
	"math"
	"time"
)

// pace knows how fast orders end, and how many may be under way. By Little's law an order waits for the number before it divided
// by how many end per second. So the limit is what ends within a share of MaxWait. The share is that with which nearly all orders
// end when they are due: the more uneven the system is, the smaller.
type pace struct {
	maxWait time.Duration
	past    []interval // of the last MaxWait, and one before
	speed   float64    // how many orders end per second
	steady  float64    // the speed over a longer time
	best    float64    // the highest steady speed of the last minute
	share   float64    // of MaxWait

	measured bool // whether the speed was that of a system with enough to do
}

// interval is the time between two samples.
type interval struct {
	end   time.Time
	ended int           // how many orders ended in it
	late  int           // and how many of them were not in time
	took  time.Duration // what they took together
	full  bool          // whether an order found no room
}

const (
	// lowest is the lowest limit: so few orders are under way without a queue, too.
	lowest = 64
	// first is the limit before anything is known. A system that ends 100 orders per second keeps a MaxWait of a second
	// even in the first flood.
	first = 100
	// dueAfter is the part of MaxWait within which an accepted order is to end. The rest is for the line before it, and for what
	// follows its end until its client knows.
	dueAfter = 0.6
	// lateShare is the part of the orders that may end later.
	lateShare = 0.01
	// leastShare and mostShare bound the share. A smaller one would leave too little work under way to keep the system busy.
	leastShare, mostShare = 0.25, 0.5
	// keptShare is the share of the best speed below which the limit does not fall.
	keptShare = 0.4
	// shareStep is by how much the share falls if all orders of one MaxWait are late.
	shareStep = 0.3
	// steadySpan and bestSpan are how many times MaxWait the two speeds take to forget all but a third of the past.
	steadySpan, bestSpan = 3, 60
)

func newPace(maxWait time.Duration) pace {
	return pace{maxWait: maxWait, speed: first / (mostShare * maxWait.Seconds()), share: mostShare}
}

// limit returns how many orders may be under way.
func (p *pace) limit() int {
	// Where an order takes long without a queue, as on a machine that others use, a lower limit makes fewer orders end, and would
	// fall with them. The best speed holds that up.
	fits := max(p.share*p.speed, keptShare*p.best) * p.maxWait.Seconds()
	return int(min(max(math.Round(fits), lowest), Highest))
}

// within returns how many orders end in a time.
func (p *pace) within(d time.Duration) int { return int(p.speed * d.Seconds()) }

// due returns the age at which an accepted order is to have ended.
func (p *pace) due() time.Duration { return time.Duration(dueAfter * float64(p.maxWait)) }

// learn adapts the speed and the share to an interval. Only while orders found no room, for most of the last MaxWait, the speed may
// fall: otherwise as many end as arrive, which says nothing about how many could. A pause longer than MaxWait is an outage, and
// says nothing either.
func (p *pace) learn(i interval) {
	for len(p.past) > 1 && i.end.Sub(p.past[1].end) >= p.maxWait {
		p.past = p.past[1:]
	}
	p.past = append(p.past, i)
	var ended, late, full int
	var took time.Duration
	for _, i := range p.past[1:] {
		ended, late, took = ended+i.ended, late+i.late, took+i.took
		if i.full {
			full++
		}
	}
	span, gap := i.end.Sub(p.past[0].end), i.end.Sub(p.past[max(0, len(p.past)-2)].end)
	if ended == 0 || span < p.maxWait/4 {
		return
	}
	rate := float64(ended) / span.Seconds()
	saturated := float64(full) >= 0.8*float64(len(p.past)-1)
	if rate > p.speed || saturated {
		p.speed, p.measured = rate, p.measured || saturated
	}
	rest := func(span float64) float64 { return math.Exp(-gap.Seconds() / (span * p.maxWait.Seconds())) }
	p.steady += (1 - rest(steadySpan)) * (p.speed - p.steady)
	p.best = max(p.steady, p.best*rest(bestSpan))
	if !i.full {
		return
	}
	p.share += shareStep * (lateShare*float64(i.ended) - float64(i.late)) / (p.speed * p.maxWait.Seconds())
	if late == 0 { // fewer under way would only slow the system
		p.share = max(p.share, took.Seconds()/float64(ended)/p.maxWait.Seconds())
	}
	p.share = min(max(p.share, leastShare), mostShare)
}
