package events

import (
	"cmp"
	"slices"
	"strconv"
)

// Contract is one published version of a fact. Neither its schema nor its bounds ever change: another version does.
type Contract struct {
	Type    string
	Version int
	Source  string
	// File is the name of its JSON Schema in Schemas, and of its example in Examples.
	File string
	// URI is the dataschema of its events, and the $id of its JSON Schema.
	URI string
	// Newest is true for the version that Decode returns; the others are read and upcast.
	Newest bool
}

// Contracts returns the contracts of all facts, sorted by type and version.
func Contracts() []Contract {
	all := make([]Contract, len(facts))
	for n, fact := range facts {
		_, superseded := fact.(older)
		all[n] = Contract{
			Type: fact.Type(), Version: fact.Version(), Source: fact.Source(),
			File: schemaFile(fact), URI: schemaURI(fact), Newest: !superseded,
		}
	}
	slices.SortFunc(all, func(a, b Contract) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Version, b.Version))
	})
	return all
}

// older is implemented by the data of a version that has a successor.
type older interface {
	Data
	// upcast returns the data as the next version. A field that this version does not have is left empty, if no value would
	// be right for every event: the next version's type says what an empty one means.
	upcast() Data
}

// upcastTo returns d as the version of want, which must not be older than d.
func upcastTo(want, d Data) Data {
	for d.Version() != want.Version() {
		d = d.(older).upcast() //nolint:forcetypeassert // a test checks that every version but the newest is older
	}
	return d
}

// version returns the fact of a type in a version, nil when this program does not know it.
func version(eventType string, number int64) Data {
	for _, fact := range facts {
		if fact.Type() == eventType && int64(fact.Version()) == number {
			return fact
		}
	}
	return nil
}

// newest returns the fact of a type in its newest version, nil when there is no such type.
func newest(eventType string) Data {
	for _, fact := range facts {
		if _, superseded := fact.(older); fact.Type() == eventType && !superseded {
			return fact
		}
	}
	return nil
}

func schemaFile(d Data) string { return d.Type() + ".v" + strconv.Itoa(d.Version()) + ".json" }

func schemaURI(d Data) string { return "https://example.com/orders/schemas/" + schemaFile(d) }
