// Package poke wakes the relay of an outbox after commits. A Poker merges pokes: it delivers one event at a time, which
// names all shards with new rows.
package poke

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/web/direct"
	"example.com/orders/functions/internal/web/httpbinding"
	"example.com/orders/functions/internal/web/identity"
)

// Type is the type of the event that wakes a relay. Its data is {"shards":[…]}.
const Type = "outbox.poke"

// Deliver hands a poke to a relay and returns once the relay has nothing more to send, or has failed.
type Deliver func(context.Context, event.Event) error

// Poker wakes one relay. Pokes that come while the relay is at work become one more round, so there is one event under
// way, however many commits there are.
type Poker struct {
	source  string
	deliver Deliver
	report  func(error) // of every round
	pending atomic.Uint32
	wake    chan struct{}
}

// New returns a poker that does nothing until Run. source is the source of its events. report, which may be nil, gets the
// error of each round: a failed poke is lost, and the relay's sweep finds the rows.
func New(source string, deliver Deliver, report func(error)) *Poker {
	if report == nil {
		report = func(error) {}
	}
	return &Poker{source: source, deliver: deliver, report: report, wake: make(chan struct{}, 1)}
}

// Poke records that shards, each below 32, have new rows. It never blocks.
func (p *Poker) Poke(shards ...uint8) {
	for _, shard := range shards {
		p.pending.Or(1 << shard)
	}
	select {
	case p.wake <- struct{}{}:
	default: // a round is pending anyway
	}
}

// Run delivers pokes until ctx ends. It does not retry a failed one, which would be a tight loop.
func (p *Poker) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		if set := p.pending.Swap(0); set != 0 {
			p.report(p.deliver(ctx, p.event(set)))
		}
	}
}

func (p *Poker) event(set uint32) event.Event {
	var shards []int
	for shard := range 32 {
		if set&(1<<shard) != 0 {
			shards = append(shards, shard)
		}
	}
	e := event.New()
	e.SetType(Type)
	e.SetSource(p.source)
	e.SetID(uuid.NewString())
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded, _ = json.Marshal(map[string][]int{"shards": shards}) // encoding numbers cannot fail
	return e
}

const (
	// patience bounds a poke over HTTP; it is longer than a relay waits for its broker.
	patience = 15 * time.Second
	// slow is the time after which the next poke may follow without an answer: the relay has much to send, or the request is
	// lost.
	slow = time.Second
	// underWay bounds the unanswered pokes.
	underWay = 4
)

// HTTP returns a Deliver that posts pokes to the relay at address, an http or https URL, with a token unless it is nil. It
// returns nil early if the relay does not answer within a second.
func HTTP(address string, token *identity.Token) (Deliver, error) {
	return leaving(address, token, slow)
}

// leaving returns a Deliver that posts pokes, and returns early if one is not answered within the time after.
func leaving(address string, token *identity.Token, after time.Duration) (Deliver, error) {
	if u, err := url.Parse(address); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("the relay's address %q is not a URL like http://publish-outbox-orders", address)
	}
	client := &http.Client{Timeout: patience, Transport: direct.Transport()}
	places := make(chan struct{}, underWay)
	return func(ctx context.Context, e event.Event) error {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("poke the relay: %w", ctx.Err())
		}
		answered := make(chan error, 1)
		go func() {
			answered <- post(ctx, client, address, token, e)
			<-places
		}()
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case err := <-answered:
			return err
		case <-timer.C:
			return nil
		}
	}, nil
}

func post(ctx context.Context, client *http.Client, address string, token *identity.Token, e event.Event) error {
	request, err := httpbinding.NewRequest(ctx, address, e)
	if err != nil {
		return fmt.Errorf("build a poke: %w", err)
	}
	token.Authorize(request)
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("poke the relay: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<16)) // all of it, so that the connection is reused
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("poke the relay at %s: it answers %s: %s", address, response.Status, oneline.Of(string(text), 200))
	}
	return nil
}
