// Package kafkasink publishes events through the KafkaSinks of Knative. Its Publisher is an outbox.Publisher that posts each
// event over HTTP, as a CloudEvent, to the KafkaSink of its type.
package kafkasink

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/web/direct"
	"example.com/orders/functions/internal/web/httpbinding"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/secret"
)

const (
	// parallel bounds the requests in flight. No two of them are of one order, since a batch has one event per aggregate: a
	// KafkaSink may reorder concurrent requests.
	parallel = 64
	// largest is the size of the largest data that a KafkaSink takes, in bytes. Its producer sends requests up to 1 MiB, and
	// answers larger ones with the same 503 as an outage of the broker, so the relay would retry them forever.
	largest = 1<<20 - 16<<10
	// unknown stands for the partition and the offset of a record, which a KafkaSink does not return.
	unknown = -1
)

// Publisher posts events to KafkaSinks.
type Publisher struct {
	template  string
	tokenFile string
	client    *http.Client

	mu     sync.Mutex
	tokens map[string]*identity.Token // by event type
}

// New returns a publisher to the KafkaSinks at template, an http or https URL in which {topic} stands for the type of the
// event. tokenFile, unless it is empty, is the file of the token for a KafkaSink, with {topic} in it as well: each has its own
// audience. It neither connects nor reads a file yet.
func New(template, tokenFile string) (*Publisher, error) {
	u, err := url.Parse(strings.ReplaceAll(template, "{topic}", "topic"))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || !strings.Contains(template, "{topic}") {
		return nil, fmt.Errorf("the KafkaSinks' address %q is not a URL with {topic} in it, like http://kafka-sink-ingress.knative-eventing.svc.cluster.local/orders/{topic}", template)
	}
	transport := direct.Transport()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = parallel, parallel, parallel
	return &Publisher{template: template, tokenFile: tokenFile, tokens: map[string]*identity.Token{}, client: &http.Client{
		Transport: transport,
		// Following a redirect would drop the body, and take the answer for the broker's.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Publish posts a batch: see outbox.Publisher. If ctx ends before an answer, the fate of the event is unknown: the KafkaSink
// may still write it.
func (p *Publisher) Publish(ctx context.Context, batch []event.Event) []outbox.Outcome {
	outcomes := make([]outbox.Outcome, len(batch))
	var group sync.WaitGroup
	places := make(chan struct{}, parallel)
	for i, e := range batch {
		places <- struct{}{}
		group.Go(func() {
			outcomes[i] = outbox.Outcome{Partition: unknown, Offset: unknown, Err: p.post(ctx, e)}
			<-places
		})
	}
	group.Wait()
	return outcomes
}

func (p *Publisher) post(ctx context.Context, e event.Event) error {
	if err := e.Validate(); err != nil {
		return fmt.Errorf("%w: %w", outbox.ErrRefused, err)
	}
	if size := len(e.Data()); size > largest {
		return fmt.Errorf("%w: the data has %d bytes, a KafkaSink takes %d", outbox.ErrTooLarge, size, largest)
	}
	request, err := httpbinding.NewRequest(ctx, strings.ReplaceAll(p.template, "{topic}", url.PathEscape(e.Type())), e)
	if err != nil {
		return fmt.Errorf("%w: %w", outbox.ErrRefused, err)
	}
	token, err := p.token(e.Type())
	if err != nil {
		return fmt.Errorf("read the token for the KafkaSink of %s: %w", e.Type(), err)
	}
	token.Authorize(request)
	response, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("post to the KafkaSink of %s: %w", e.Type(), err)
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 200)) // only for the message
	return judge(response, text)
}

// token returns the token for the KafkaSink of an event type, nil without tokens.
func (p *Publisher) token(eventType string) (*identity.Token, error) {
	if p.tokenFile == "" {
		return nil, nil //nolint:nilnil // the nil token is no token
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if token, ok := p.tokens[eventType]; ok {
		return token, nil
	}
	token, err := identity.NewToken(map[string]string{
		tokenName + secret.FileSuffix: strings.ReplaceAll(p.tokenFile, "{topic}", eventType),
	}, tokenName)
	if err == nil {
		p.tokens[eventType] = token
	}
	return token, err
}

// tokenName is the variable of the tokens, which exists for files only.
const tokenName = "KAFKA_SINK_TOKEN" //nolint:gosec // a name, not a token

// judge maps an answer to an outcome: 202 follows Kafka's acknowledgement; 400 and 413 are about the event itself; 404 means
// that the KafkaSink does not exist yet, and all others are about brokers and the network.
func judge(response *http.Response, text []byte) error {
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		return nil
	}
	answer := fmt.Errorf("the KafkaSink at %s answers %s: %.200s", response.Request.URL.Path, response.Status, text)
	switch response.StatusCode {
	case http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: %w", outbox.ErrTooLarge, answer)
	case http.StatusBadRequest:
		return fmt.Errorf("%w: %w", outbox.ErrRefused, answer)
	default:
		return answer
	}
}

// Close closes the connections. It may be called twice.
func (p *Publisher) Close() error {
	p.client.CloseIdleConnections()
	return nil
}
