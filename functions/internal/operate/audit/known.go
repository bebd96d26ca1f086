package audit

import (
	"encoding/binary"
	"slices"

	"example.com/orders/events"
)

// knownOrder is what earlier audits have seen of an order: 16 bytes.
type knownOrder struct {
	order uint64 // its stable hash; zero in a free slot
	// facts has for each of the sources counted bit n for the fact n. Facts of another source have an entry of their own.
	facts [3]uint16
	state knownState
}

type knownState uint16

const (
	settled knownState = 1 << iota // it has ended, and nothing about it was missing
	holding                        // and it holds its lines, else nothing
)

// knownTable has the orders that earlier audits have seen: see factTable.
type knownTable struct {
	slots []knownOrder
	used  int
}

// stable is the hash of an order, or of a source's facts about it, in all audits: FNV-1a, of 64 bits.
func stable(parts ...string) uint64 {
	sum := uint64(14695981039346656037)
	for _, part := range parts {
		for i := range len(part) {
			sum = (sum ^ uint64(part[i])) * 1099511628211
		}
		sum *= 1099511628211 // a zero byte ends each part
	}
	return max(1, sum) // zero is a free slot
}

// spread is where the search for an order begins: the low bits of FNV alone differ too little between ids that differ in their
// last characters.
func spread(order uint64) uint64 { return (order ^ order>>32) * 0x9e3779b97f4a7c15 >> 20 }

func (t *knownTable) slot(order uint64) *knownOrder {
	last := uint64(len(t.slots) - 1)
	for at := spread(order) & last; ; at = (at + 1) & last {
		if s := &t.slots[at]; s.order == order || s.order == 0 {
			return s
		}
	}
}

// find returns what is known of an order; the zero value if it was never seen. A nil table knows none.
func (t *knownTable) find(order uint64) knownOrder {
	if t == nil || len(t.slots) == 0 {
		return knownOrder{}
	}
	return *t.slot(order)
}

// of returns the entry of an order, which may be changed until the next call.
func (t *knownTable) of(order uint64) *knownOrder {
	if 4*(t.used+1) > 3*len(t.slots) {
		old := t.slots
		t.slots = make([]knownOrder, max(1024, 2*len(old)))
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

func (t *knownTable) clone() *knownTable {
	if t == nil {
		return &knownTable{}
	}
	return &knownTable{slices.Clone(t.slots), t.used}
}

// entryOf returns the key and the index under which the facts of a source about an order are known.
func entryOf(source, order string) (key uint64, index int) {
	if index := slices.Index(counted, source); index >= 0 {
		return stable(order), index
	}
	return stable(source, order), 0
}

// factsOf returns the facts of a source about an order that are known.
func (t *knownTable) factsOf(source, order string) uint32 {
	if t == nil {
		return 0
	}
	key, index := entryOf(source, order)
	return uint32(t.find(key).facts[index])
}

// add records a fact.
func (t *knownTable) add(source, order string, n int) {
	key, index := entryOf(source, order)
	t.of(key).facts[index] |= 1 << n
}

// knows returns whether a fact is known, by the id of its event.
func (t *knownTable) knows(source, id string) bool {
	order, n, err := events.ParseID(id)
	return err == nil && n <= maxFact && t.factsOf(source, order)&(1<<n) != 0
}

const knownSize = 16

// MarshalBinary lists the entries.
func (t *knownTable) MarshalBinary() ([]byte, error) {
	all := make([]byte, 0, knownSize*t.used)
	for _, s := range t.slots {
		if s.order == 0 {
			continue
		}
		all = binary.LittleEndian.AppendUint64(all, s.order)
		for _, mask := range s.facts {
			all = binary.LittleEndian.AppendUint16(all, mask)
		}
		all = binary.LittleEndian.AppendUint16(all, uint16(s.state))
	}
	return all, nil
}

// UnmarshalBinary is the inverse of MarshalBinary.
func (t *knownTable) UnmarshalBinary(all []byte) error {
	for ; len(all) >= knownSize; all = all[knownSize:] {
		s := t.of(binary.LittleEndian.Uint64(all))
		for i := range s.facts {
			s.facts[i] = binary.LittleEndian.Uint16(all[8+2*i:])
		}
		s.state = knownState(binary.LittleEndian.Uint16(all[14:]))
	}
	return nil
}
