package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Scenario says how a simulated gateway behaves. What happens to an order follows from the hash of its id or from its amount,
// so a run with the same orders repeats. The rates are shares of the orders, from 0 to 1.
type Scenario struct {
	Decline float64 // authorizations that are declined as card_declined
	Timeout float64 // authorizations and refunds whose first answer is lost, after they took effect
	Unknown float64 // authorizations and refunds that fail at first, half of them after they took effect

	Latency time.Duration // of each call
	Jitter  time.Duration // up to this is added to it

	// PlainAmounts ends the outcomes that amounts force.
	PlainAmounts bool
}

// ParseScenario reads a scenario like decline=0.05,latency=20ms:5ms,timeout=0.01,unknown=0.01,amounts=plain, in which every
// part may be left out.
func ParseScenario(text string) (s Scenario, err error) {
	if strings.TrimSpace(text) == "" {
		return s, nil
	}
	for item := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
		rates := map[string]*float64{"decline": &s.Decline, "timeout": &s.Timeout, "unknown": &s.Unknown}
		switch {
		case rates[name] != nil:
			n, err := strconv.ParseFloat(value, 64)
			if err != nil || !(n >= 0 && n <= 1) { // NaN is neither
				return s, fmt.Errorf("the rate of %s is %q: give a number from 0 to 1", name, value)
			}
			*rates[name] = n
		case name == "latency":
			latency, jitter, both := strings.Cut(value, ":")
			if s.Latency, err = readLatency(latency); err == nil && both {
				s.Jitter, err = readLatency(jitter)
			}
			if err != nil {
				return s, err
			}
		case name == "amounts" && (value == "plain" || value == "forced"):
			s.PlainAmounts = value == "plain"
		default:
			return s, fmt.Errorf("%q is none of decline=RATE, timeout=RATE, unknown=RATE, latency=TIME[:JITTER] and amounts=plain", item)
		}
	}
	return s, nil
}

// maxLatency is far above the usual time-out of a caller. The bank cuts a connection off after ten seconds in any case.
const maxLatency = time.Minute

func readLatency(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxLatency {
		return 0, fmt.Errorf("the latency is %q: give a time up to %s, as in latency=20ms or latency=20ms:5ms", text, maxLatency)
	}
	return d, nil
}

// Reasons of declined authorizations.
const (
	cardDeclined      = "card_declined"
	insufficientFunds = "insufficient_funds"
)

// slowness is the latency that an amount forces.
const slowness = 2 * time.Second

// fate is what happens to the first call with a key.
type fate struct {
	decline string // the reason; empty if it is not declined
	latency time.Duration
	mishap  mishap
}

// mishap is what goes wrong with the first call with a key. Later ones go well.
type mishap int

const (
	none        mishap = iota
	losesAnswer        // the effect happens, and the caller gets no answer
	failsBefore        // the gateway fails before any effect
	failsAfter         // the gateway fails after the effect
)

// authorization returns the fate of an authorization.
func (s Scenario) authorization(a Authorization) fate {
	f := s.call(a.Key, a.Amount)
	if share("decline", a.OrderID) < s.Decline && (s.PlainAmounts || !forces(a.Amount)) {
		f.decline = cardDeclined
	}
	if !s.PlainAmounts {
		switch a.Amount % 100 {
		case 1:
			f.decline = cardDeclined
		case 2:
			f.decline = insufficientFunds
		}
	}
	return f
}

// forces returns whether an amount forces an outcome.
func forces(amount int64) bool { return amount%100 >= 1 && amount%100 <= 6 }

// call returns what an authorization or a refund have in common.
func (s Scenario) call(key string, amount int64) fate {
	f := fate{latency: s.Latency + time.Duration(share("jitter", key)*float64(s.Jitter))}
	if !s.PlainAmounts && forces(amount) {
		switch amount % 100 {
		case 3:
			f.mishap = losesAnswer
		case 4:
			f.mishap = failsBefore
		case 5:
			f.mishap = failsAfter
		case 6:
			f.latency += slowness
		}
		return f
	}
	switch at := share("mishap", key); {
	case at < s.Timeout:
		f.mishap = losesAnswer
	case at < s.Timeout+s.Unknown/2:
		f.mishap = failsBefore
	case at < s.Timeout+s.Unknown:
		f.mishap = failsAfter
	}
	return f
}

// share returns a number from 0 to below 1 that follows from a text; different purposes are independent of each other.
func share(purpose, text string) float64 {
	sum := sha256.Sum256([]byte(purpose + " " + text))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}
