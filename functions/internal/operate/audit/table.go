package audit

// table is a map for keys that are hashes already, each found in one place of the memory: a Go map took a sixth of an audit's time.
type table[V any] struct {
	slots []slot[V] // their number is a power of two, and a quarter of them or more are free
	used  int
}

type slot[V any] struct {
	key   uint64 // zero in a free slot
	value V
}

// spread is where the search for a key begins: the low bits of FNV alone differ too little between ids that differ in their
// last characters.
func spread(key uint64) uint64 { return (key ^ key>>32) * 0x9e3779b97f4a7c15 >> 20 }

// slot returns the slot of a key, or the free one for it.
func (t *table[V]) slot(key uint64) *slot[V] {
	last := uint64(len(t.slots) - 1)
	for at := spread(key) & last; ; at = (at + 1) & last {
		if s := &t.slots[at]; s.key == key || s.key == 0 {
			return s
		}
	}
}

// of returns the value of a key, zero at first. It may be changed until the next call.
func (t *table[V]) of(key uint64) *V {
	t.grow(t.used + 1)
	s := t.slot(key)
	if s.key == 0 {
		s.key = key
		t.used++
	}
	return &s.value
}

// grow makes room for n keys.
func (t *table[V]) grow(n int) {
	size := max(1024, len(t.slots))
	for 4*n > 3*size {
		size *= 2
	}
	if size == len(t.slots) {
		return
	}
	old := t.slots
	t.slots = make([]slot[V], size)
	for _, s := range old {
		if s.key != 0 {
			*t.slot(s.key) = s
		}
	}
}
