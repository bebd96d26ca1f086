package limit

import (
	"container/list"

	"golang.org/x/time/rate"
)

// maxClients is how many clients have a bucket at a time, some 300 bytes each. The one that came last the longest ago loses
// its bucket to a new one, and starts with a full burst when it is back: more clients than this at once are not bounded.
const maxClients = 16384

// buckets are the token buckets of the clients that came last. A caller holds the Limiter's lock.
type buckets struct {
	rate  rate.Limit
	burst int
	most  int

	recent *list.List // of *bucket, the client that came last first
	byKey  map[string]*list.Element
}

type bucket struct {
	key    string
	tokens *rate.Limiter
}

func newBuckets(r rate.Limit, burst, most int) *buckets {
	return &buckets{rate: r, burst: burst, most: most, recent: list.New(), byKey: map[string]*list.Element{}}
}

// of returns the tokens of a client.
func (b *buckets) of(key string) *rate.Limiter {
	if found, ok := b.byKey[key]; ok {
		b.recent.MoveToFront(found)
		return found.Value.(*bucket).tokens //nolint:forcetypeassert // the list has nothing else
	}
	if len(b.byKey) >= b.most {
		oldest := b.recent.Back()
		delete(b.byKey, b.recent.Remove(oldest).(*bucket).key) //nolint:forcetypeassert // the list has nothing else
	}
	added := &bucket{key, rate.NewLimiter(b.rate, b.burst)}
	b.byKey[key] = b.recent.PushFront(added)
	return added.tokens
}
