package deadletter

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
	"unique"
)

// Filter selects letters of an index; a zero field selects all.
type Filter struct {
	State State
	// Group is the ID of a Group.
	Group    string
	Consumer string
	// Topic is the full name of a dead-letter topic.
	Topic string
	// Key is the key of the original record.
	Key string
}

// Group is the letters that a function failed to handle in the same way.
type Group struct {
	ID       string
	Consumer string
	// Pattern is the error, with … in place of ids and numbers.
	Pattern     string
	Count       int
	First, Last time.Time
}

// Page is a part of the letters that a filter selects, the newest first, and what there is besides.
type Page struct {
	Letters []Summary
	// Total is the number of letters that the filter selects.
	Total int
	// States has the numbers of letters that the filter selects without its state.
	States map[State]int
	// Groups are those that the filter selects without its group, the largest first.
	Groups []Group
	// Consumers are all functions that have letters.
	Consumers []string
	// Beyond is the number of older letters that the index leaves out.
	Beyond int64
}

// Page returns up to n of the letters that f selects, after the first skip ones.
func (x *Index) Page(f Filter, skip, n int) Page {
	x.mu.RLock()
	defer x.mu.RUnlock()
	page := Page{States: map[State]int{}, Beyond: x.beyond}
	groups := grouping{}
	consumers := map[string]bool{}
	grouped := f.grouped()
	var selected []*entry
	x.each(func(e *entry) {
		consumers[e.Consumer] = true
		if !f.selectsBut(e) {
			return
		}
		inGroup := grouped(e)
		if inGroup {
			page.States[e.State]++
		}
		if f.State != "" && f.State != e.State {
			return
		}
		groups.add(e.group.Value(), e.At)
		if inGroup {
			selected = append(selected, e)
		}
	})
	page.Groups = groups.sorted()
	for consumer := range consumers {
		page.Consumers = append(page.Consumers, consumer)
	}
	slices.Sort(page.Consumers)
	slices.SortFunc(selected, func(a, b *entry) int { return cmp.Or(b.At.Compare(a.At), byPlace(b.Place, a.Place)) })
	page.Total = len(selected)
	for _, e := range selected[min(skip, len(selected)):min(skip+n, len(selected))] {
		page.Letters = append(page.Letters, e.Summary)
	}
	return page
}

// Select returns all letters that f selects.
func (x *Index) Select(f Filter) (selected []Summary) {
	x.Each(f, func(l *Summary) { selected = append(selected, *l) })
	return selected
}

// Each calls do for all letters that f selects, without copying them. do must neither change nor keep a letter, nor use the
// index.
func (x *Index) Each(f Filter, do func(*Summary)) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	grouped := f.grouped()
	x.each(func(e *entry) {
		if f.selectsBut(e) && (f.State == "" || f.State == e.State) && grouped(e) {
			do(&e.Summary)
		}
	})
}

// At returns the letters at places, as far as they exist.
func (x *Index) At(places []Place) (found []Summary) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, p := range places {
		if e := x.entry(p); e != nil {
			found = append(found, e.Summary)
		}
	}
	return found
}

// OfOrder returns the letters with an order id as their key or in the id of their event.
func (x *Index) OfOrder(id string) (found []Summary) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.each(func(e *entry) {
		if e.Key == id || strings.HasPrefix(e.EventID, id+"#") {
			found = append(found, e.Summary)
		}
	})
	return found
}

// Count returns the number of letters in a state.
func (x *Index) Count(state State) (n int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.each(func(e *entry) {
		if e.State == state {
			n++
		}
	})
	return n
}

// each calls do for all letters, for a caller that holds mu.
func (x *Index) each(do func(*entry)) {
	for _, s := range x.shelfs {
		for _, e := range s.entries {
			do(e)
		}
	}
}

// selectsBut returns whether f selects a letter, apart from its state and its group.
func (f Filter) selectsBut(e *entry) bool {
	return (f.Consumer == "" || f.Consumer == e.Consumer) && (f.Topic == "" || f.Topic == e.Topic) && (f.Key == "" || f.Key == e.Key)
}

// grouped returns a func that returns whether f selects the group of a letter.
func (f Filter) grouped() func(*entry) bool {
	selects := map[unique.Handle[groupKey]]bool{}
	return func(e *entry) bool {
		if f.Group == "" {
			return true
		}
		yes, known := selects[e.group]
		if !known {
			yes = f.Group == groupID(e.group.Value())
			selects[e.group] = yes
		}
		return yes
	}
}

// grouping adds letters up to groups.
type grouping map[groupKey]*Group

func (g grouping) add(key groupKey, at time.Time) {
	group, ok := g[key]
	if !ok {
		group = &Group{ID: groupID(key), Consumer: key.consumer, Pattern: key.pattern, First: at, Last: at}
		g[key] = group
	}
	group.Count++
	if at.Before(group.First) {
		group.First = at
	}
	if at.After(group.Last) {
		group.Last = at
	}
}

// sorted returns the groups, the largest first.
func (g grouping) sorted() (all []Group) {
	for _, group := range g {
		all = append(all, *group)
	}
	slices.SortFunc(all, func(a, b Group) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.ID, b.ID)) })
	return all
}

// Groups returns the groups of letters, the largest first.
func Groups(letters []Summary) []Group {
	groups := grouping{}
	for _, l := range letters {
		groups.add(keyOf(l), l.At)
	}
	return groups.sorted()
}

// GroupOf returns the ID of a letter's group.
func GroupOf(l Summary) string { return groupID(keyOf(l)) }

func keyOf(l Summary) groupKey { return groupKey{l.Consumer, Pattern(l.Error)} }

// groupID returns a short name of a group for addresses.
func groupID(key groupKey) string {
	sum := sha256.Sum256([]byte(key.consumer + "\x00" + key.pattern))
	return hex.EncodeToString(sum[:6])
}
