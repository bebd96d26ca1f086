package audit

import "iter"

// emittedFacts records which facts of an order have outbox rows: bit n for the fact n.
type emittedFacts struct {
	order uint64 // its hash; zero in a free slot
	row   int64  // one of the rows, to name it in a breach
	mask  uint32 // zero once they are taken
}

// factTable has the emitted facts of a source, by the hash of the order. It is a map for keys that are hashes already, each found
// in one place of the memory: a Go map took a sixth of an audit's time.
type factTable struct {
	slots []emittedFacts // their number is a power of two, and a quarter of them or more are free
	used  int
}

// slot returns the slot of an order, or the free one for it.
func (t *factTable) slot(order uint64) *emittedFacts {
	last := uint64(len(t.slots) - 1)
	for at := order & last; ; at = (at + 1) & last {
		if s := &t.slots[at]; s.order == order || s.order == 0 {
			return s
		}
	}
}

// of returns the facts of an order, none at first. They may be changed until the next call.
func (t *factTable) of(order uint64) *emittedFacts {
	if 4*(t.used+1) > 3*len(t.slots) {
		old := t.slots
		t.slots = make([]emittedFacts, max(1024, 2*len(old)))
		for _, s := range old {
			if s.order != 0 {
				*t.slot(s.order) = s
			}
		}
	}
	s := t.slot(order)
	if s.order == 0 {
		s.order = order
		t.used++
	}
	return s
}

// take returns the mask of an order's facts, and forgets them. A nil table has none.
func (t *factTable) take(order uint64) (mask uint32) {
	if t == nil {
		return 0
	}
	s := t.slot(order)
	mask, s.mask = s.mask, 0
	return mask
}

// left iterates over the facts that were not taken.
func (t *factTable) left() iter.Seq[emittedFacts] {
	return func(yield func(emittedFacts) bool) {
		for _, s := range t.slots {
			if s.mask != 0 && !yield(s) {
				return
			}
		}
	}
}
