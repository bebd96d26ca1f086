package audit

import (
	"encoding/binary"
	"slices"

	"example.com/orders/events"
)

// knownOrder is what earlier audits have seen of an order: 16 bytes with its key.
type knownOrder struct {
	// facts has for each of the sources counted bit n for the fact n. Facts of another source have an entry of their own.
	facts [3]uint16
	state knownState
}

type knownState uint16

const (
	settled knownState = 1 << iota // it has ended, and nothing about it was missing
	holding                        // and it holds its lines, else nothing
)

// knownTable has the orders that earlier audits have seen, by their stable hash.
type knownTable struct{ table[knownOrder] }

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

// find returns what is known of an order; the zero value if it was never seen. A nil table knows none.
func (t *knownTable) find(order uint64) knownOrder {
	if t == nil || len(t.slots) == 0 {
		return knownOrder{}
	}
	return t.slot(order).value
}

func (t *knownTable) clone() *knownTable {
	if t == nil {
		return &knownTable{}
	}
	return &knownTable{table[knownOrder]{slices.Clone(t.slots), t.used}}
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
		if s.key == 0 {
			continue
		}
		all = binary.LittleEndian.AppendUint64(all, s.key)
		for _, mask := range s.value.facts {
			all = binary.LittleEndian.AppendUint16(all, mask)
		}
		all = binary.LittleEndian.AppendUint16(all, uint16(s.value.state))
	}
	return all, nil
}

// UnmarshalBinary is the inverse of MarshalBinary.
func (t *knownTable) UnmarshalBinary(all []byte) error {
	// All at once: the entries come in the order of their slots, which a smaller table would put side by side.
	t.grow(len(all) / knownSize)
	for ; len(all) >= knownSize; all = all[knownSize:] {
		s := t.of(binary.LittleEndian.Uint64(all))
		for i := range s.facts {
			s.facts[i] = binary.LittleEndian.Uint16(all[8+2*i:])
		}
		s.state = knownState(binary.LittleEndian.Uint16(all[14:]))
	}
	return nil
}
