package audit

import "iter"

// emittedFacts records which facts of an order have outbox rows: bit n for the fact n.
type emittedFacts struct {
	row  int64  // one of the rows, to name it in a breach
	mask uint32 // zero once they are taken
}

// factTable has the emitted facts of a source, by the hash of the order.
type factTable struct{ table[emittedFacts] }

// take returns the mask of an order's facts, and forgets them. A nil table has none.
func (t *factTable) take(order uint64) (mask uint32) {
	if t == nil {
		return 0
	}
	facts := &t.slot(order).value
	mask, facts.mask = facts.mask, 0
	return mask
}

// left iterates over the facts that were not taken, by the hash of the order.
func (t *factTable) left() iter.Seq2[uint64, emittedFacts] {
	return func(yield func(uint64, emittedFacts) bool) {
		for _, s := range t.slots {
			if s.value.mask != 0 && !yield(s.key, s.value) {
				return
			}
		}
	}
}
