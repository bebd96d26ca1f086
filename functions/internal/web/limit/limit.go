// Package limit bounds the rate of requests per client. A request above the rate gets a 429 that says when to come back.
//
// The client is the principal of the request, and without one its address. The buckets belong to one function in one process:
// with several replicas a client has as many times the rate.
package limit

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"example.com/orders/functions/internal/web/rest"
)

// The variables that New reads.
const (
	RequestsVariable = "RATE_LIMIT"        // of all requests of a client
	WritesVariable   = "RATE_LIMIT_WRITES" // of those that change something, which also count as requests
	ProxiesVariable  = "TRUSTED_PROXIES"   // how many proxies in front each append to X-Forwarded-For
)

const (
	// maxRate and maxBurst are the highest settings: more is a typing error.
	maxRate, maxBurst = 1e6, 1_000_000
	// maxProxies is the longest chain of trusted proxies.
	maxProxies = 10
)

// Limiter admits requests at a rate per client. A nil Limiter admits all.
type Limiter struct {
	mu               sync.Mutex
	requests, writes *buckets // nil without that limit
	proxies          int
}

// New reads RATE_LIMIT and RATE_LIMIT_WRITES, each as requests per second and the burst like 50/100, and TRUSTED_PROXIES. It
// returns nil without a limit.
func New(config map[string]string) (*Limiter, error) {
	l := &Limiter{}
	var err error
	if l.requests, err = parseRate(config, RequestsVariable); err != nil {
		return nil, err
	}
	if l.writes, err = parseRate(config, WritesVariable); err != nil {
		return nil, err
	}
	if text := config[ProxiesVariable]; text != "" {
		if l.proxies, err = strconv.Atoi(text); err != nil || l.proxies < 0 || l.proxies > maxProxies {
			return nil, fmt.Errorf("%s is %q: give the number of proxies in front that append to X-Forwarded-For, from 0 to %d", ProxiesVariable, text, maxProxies)
		}
	}
	if l.requests == nil && l.writes == nil {
		return nil, nil //nolint:nilnil // a nil Limiter is one without limits
	}
	return l, nil
}

// parseRate reads requests per second and burst from a variable; nil if it is not set.
func parseRate(config map[string]string, name string) (*buckets, error) {
	text := config[name]
	if text == "" {
		return nil, nil //nolint:nilnil // no limit
	}
	perSecond, most, _ := strings.Cut(text, "/")
	r, rateErr := strconv.ParseFloat(perSecond, 64)
	burst, burstErr := strconv.Atoi(most)
	if rateErr != nil || burstErr != nil || !(r > 0 && r <= maxRate) || burst < 1 || burst > maxBurst {
		return nil, fmt.Errorf("%s is %q: give the requests per second of a client and how many may come at once, like 50/100", name, text)
	}
	return newBuckets(rate.Limit(r), burst, maxClients), nil
}

// Admit counts a request of the client in ctx (see With) at a time. Above the rate its error is a *rest.Problem with status
// 429, and the request counts for nothing. A call in-process, without a client in ctx, is admitted.
func (l *Limiter) Admit(ctx context.Context, now time.Time, write bool) error {
	if l == nil {
		return nil
	}
	key := l.key(ctx)
	if key == "" {
		return nil
	}
	// One after the other: rate.Reservation.Cancel does not return the tokens if another request has reserved since.
	l.mu.Lock()
	defer l.mu.Unlock()
	var taking []*rate.Limiter
	for _, rule := range []*buckets{l.writes, l.requests} {
		if rule == nil || rule == l.writes && !write {
			continue
		}
		tokens := rule.of(key)
		if missing := 1 - tokens.TokensAt(now); missing > 0 {
			return refusal(rule, time.Duration(missing/float64(rule.rate)*float64(time.Second)), rule == l.writes)
		}
		taking = append(taking, tokens)
	}
	for _, tokens := range taking {
		tokens.AllowN(now, 1)
	}
	return nil
}

func refusal(b *buckets, wait time.Duration, write bool) *rest.Problem {
	wait = max(time.Second, time.Duration(math.Ceil(wait.Seconds()))*time.Second)
	what := "requests"
	if write {
		what = "requests that change something"
	}
	return rest.TooMany(fmt.Sprintf("a client may make %g %s per second, and %d at once: send this request again after %s, and fewer of them",
		float64(b.rate), what, b.burst, wait), wait)
}
