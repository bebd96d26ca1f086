package deadletter

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Lanes sorts letters into the order of a replay: by key, the key with the oldest letter first. Within a key they are sorted
// by the order's version, the n of an id like key#n, if all have one source; versions of different sources cannot be
// compared, so otherwise they are sorted by the positions of the original records. A letter without a key is alone.
func Lanes(letters []Summary) [][]Summary {
	lanes := map[string][]Summary{}
	for _, l := range letters {
		lanes[l.lane()] = append(lanes[l.lane()], l)
	}
	ordered := make([][]Summary, 0, len(lanes))
	for _, lane := range lanes {
		slices.SortFunc(lane, byOrigin)
		if versions, ok := versionsOf(lane); ok {
			slices.SortStableFunc(lane, func(a, b Summary) int { return cmp.Compare(versions[a.Place], versions[b.Place]) })
		}
		ordered = append(ordered, lane)
	}
	slices.SortFunc(ordered, func(a, b []Summary) int {
		return cmp.Or(oldest(a).At.Compare(oldest(b).At), byOrigin(a[0], b[0]))
	})
	return ordered
}

// lane returns the key of letters that must be replayed in order.
func (s *Summary) lane() string {
	if s.Key == "" {
		return "place " + s.String()
	}
	return "key " + s.Key
}

func oldest(letters []Summary) Summary {
	return slices.MinFunc(letters, func(a, b Summary) int { return a.At.Compare(b.At) })
}

func byOrigin(a, b Summary) int {
	return cmp.Or(
		cmp.Compare(a.Origin.Topic, b.Origin.Topic), cmp.Compare(a.Origin.Partition, b.Origin.Partition),
		cmp.Compare(a.Origin.Offset, b.Origin.Offset), byPlace(a.Place, b.Place),
	)
}

func byPlace(a, b Place) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
}

// versionsOf returns the n of each letter's id, or nil if one has none or they have several sources.
func versionsOf(lane []Summary) (map[Place]int, bool) {
	versions := map[Place]int{}
	for _, l := range lane {
		_, n, ok := strings.Cut(l.EventID, "#")
		version, err := strconv.Atoi(n)
		if !ok || err != nil || l.EventSource != lane[0].EventSource {
			return nil, false
		}
		versions[l.Place] = version
	}
	return versions, true
}
