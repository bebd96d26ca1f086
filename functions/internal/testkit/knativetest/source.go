// Package knativetest is a stand-in for Knative's data plane in tests: KafkaSource, KafkaSink and PingSource with their
// observed behaviour, between brokers and functions over HTTP. It shares no code with package kafka, which is tested against
// it.
package knativetest

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/twmb/franz-go/pkg/kgo"

	"example.com/orders/knative"
)

// maxPollRecords is max.poll.records of Knative's consumers: a poll returns no more records, and an unordered source polls only
// while fewer are in flight, those that wait for a retry included.
const maxPollRecords = 50

// Source is a KafkaSource: it posts the records of a topic to a function.
type Source struct {
	Brokers []string
	Spec    knative.KafkaSource
	// URL belongs to the function, DeadLetterURL to the KafkaSink of its dead letters.
	URL, DeadLetterURL string
	// CommitEvery is the interval of commits; zero means Knative's five seconds.
	CommitEvery time.Duration
	// Joined, if set, is called at every assignment of partitions.
	Joined func()
}

// Run delivers until ctx ends. It ends like a killed dispatcher: what was acknowledged since the last commit is delivered
// again by the next one.
func (s Source) Run(ctx context.Context) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(s.Brokers...), kgo.ConsumerGroup(s.Spec.Group), kgo.ConsumeTopics(s.Spec.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.FetchMaxWait(250*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) {
			if s.Joined != nil {
				s.Joined()
			}
		}),
	)
	if err != nil {
		return fmt.Errorf("KafkaSource %s: %w", s.Spec.Name, err)
	}
	defer client.Close()
	d := &dispatcher{source: s, partitions: map[int32]*progress{}}
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { d.commit(ctx, client) })
	inFlight := 0
	ended := make(chan struct{}, 2*maxPollRecords)
	for ctx.Err() == nil {
		for inFlight >= maxPollRecords || len(ended) > 0 {
			<-ended
			inFlight--
		}
		client.PollRecords(ctx, maxPollRecords).EachPartition(func(fetched kgo.FetchTopicPartition) {
			p := d.partition(fetched.Partition)
			p.begin(fetched.Records)
			if s.Spec.Ordered {
				p.queue(ctx, &working, fetched.Records, d.handle)
				return
			}
			inFlight += len(fetched.Records)
			for _, record := range fetched.Records {
				working.Go(func() {
					if d.handle(ctx, record) {
						p.finish(record)
					}
					ended <- struct{}{}
				})
			}
		})
	}
	return nil
}

// dispatcher is a running source.
type dispatcher struct {
	source     Source
	mu         sync.Mutex
	partitions map[int32]*progress
}

func (d *dispatcher) partition(n int32) *progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.partitions[n] == nil {
		d.partitions[n] = &progress{finished: map[int64]bool{}}
	}
	return d.partitions[n]
}

func (d *dispatcher) commit(ctx context.Context, client *kgo.Client) {
	every := d.source.CommitEvery
	if every == 0 {
		every = 5 * time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		d.mu.Lock()
		var done []*kgo.Record
		for _, p := range d.partitions {
			if record := p.last(); record != nil {
				done = append(done, record)
			}
		}
		d.mu.Unlock()
		_ = client.CommitRecords(ctx, done...) // uncommitted records are delivered again
	}
}

// progress is how far a partition has been handled.
type progress struct {
	mu       sync.Mutex
	order    []*kgo.Record
	finished map[int64]bool
	done     *kgo.Record // all up to it are finished
	tail     chan struct{}
}

func (p *progress) begin(records []*kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order = append(p.order, records...)
}

// queue handles records one at a time, after those queued before.
func (p *progress) queue(ctx context.Context, working *sync.WaitGroup, records []*kgo.Record, handle func(context.Context, *kgo.Record) bool) {
	before, mine := p.tail, make(chan struct{})
	p.tail = mine
	working.Go(func() {
		defer close(mine)
		if before != nil {
			<-before
		}
		for _, record := range records {
			if !handle(ctx, record) {
				return
			}
			p.finish(record)
		}
	})
}

func (p *progress) finish(record *kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished[record.Offset] = true
	for len(p.order) > 0 && p.finished[p.order[0].Offset] {
		p.done = p.order[0]
		delete(p.finished, p.done.Offset)
		p.order = p.order[1:]
	}
}

func (p *progress) last() *kgo.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// answer is the result of a delivery.
type answer struct {
	status int // 0 without an answer
	header http.Header
	body   []byte
}

// handle delivers a record, with retries, and its dead letter if necessary. It returns false if ctx ended first.
func (d *dispatcher) handle(ctx context.Context, record *kgo.Record) bool {
	s := d.source
	e := Event(record, s.Spec)
	var last answer
	for failures := 0; failures <= s.Spec.Delivery.Retry; failures++ {
		if failures > 0 && !sleep(ctx, backoff(s.Spec.Delivery, failures)) {
			return false
		}
		last = post(ctx, s.URL, e, s.Spec.Delivery.Timeout)
		if last.status >= 200 && last.status < 300 {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if !retried(last.status) {
			break
		}
	}
	letter := e.Clone()
	letter.SetExtension("knativeerrordest", s.URL)
	if last.status != 0 { // without an answer Knative says nothing else
		letter.SetExtension("knativeerrorcode", strconv.Itoa(last.status))
		if len(last.body) > 0 {
			letter.SetExtension("knativeerrordata", base64.StdEncoding.EncodeToString(last.body[:min(len(last.body), 1024)]))
		}
	}
	for name, values := range last.header {
		if extension, ok := strings.CutPrefix(strings.ToLower(name), "kne-"); ok {
			letter.SetExtension(extension, values[0])
		}
	}
	// The record is done whatever the answer: if the dead-letter sink fails too, it is lost.
	post(ctx, s.DeadLetterURL, letter, s.Spec.Delivery.Timeout)
	return ctx.Err() == nil
}

func retried(status int) bool {
	switch status {
	case 0, http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	default:
		return status >= 500
	}
}

func backoff(d knative.Delivery, failures int) time.Duration {
	if d.Exponential {
		return d.Delay << failures
	}
	return d.Delay * time.Duration(failures)
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// client follows no redirects: they are answers like others.
var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 256},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// post sends an event in binary mode. It waits up to timeout for the answer, and lets the function continue after that.
func post(ctx context.Context, url string, e event.Event, timeout time.Duration) answer {
	request, err := cehttp.NewHTTPRequestFromEvent(context.WithoutCancel(ctx), url, e)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	for _, values := range request.Header {
		values[0] = inBytes(values[0])
	}
	if token := os.Getenv("DATA_PLANE_TOKEN"); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answered := make(chan answer, 1)
	go func() {
		response, err := client.Do(request)
		if err != nil {
			answered <- answer{body: []byte(err.Error())}
			return
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(response.Body) // a partial body is enough to report
		answered <- answer{response.StatusCode, response.Header, body}
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case a := <-answered:
		return a
	case <-timer.C:
		return answer{body: []byte("timed out")}
	case <-ctx.Done():
		return answer{body: []byte("the dispatcher ends")}
	}
}

// inBytes returns a header value as Knative writes it: without encoding, one byte per character, and characters beyond
// Latin-1 are lost.
func inBytes(value string) string {
	var written strings.Builder
	for _, r := range value {
		if r > 0xFF {
			r = '?'
		}
		written.WriteByte(byte(r))
	}
	return written.String()
}

// Event returns the event that a KafkaSource makes of a record. A CloudEvent keeps its attributes, and loses the key and the
// other headers; any other record becomes an event with the record's position.
func Event(record *kgo.Record, spec knative.KafkaSource) event.Event {
	e, ok := cloudEvent(record)
	if !ok {
		e = foreign(record, spec)
	}
	e.SetExtension("knativekafkapartition", strconv.Itoa(int(record.Partition)))
	e.SetExtension("knativekafkaoffset", strconv.FormatInt(record.Offset, 10))
	for name, value := range spec.Extensions {
		e.SetExtension(name, value)
	}
	return e
}

func cloudEvent(record *kgo.Record) (event.Event, bool) {
	headers := map[string]string{}
	for _, h := range record.Headers {
		headers[strings.ToLower(h.Key)] = string(h.Value)
	}
	e := event.New()
	if strings.HasPrefix(headers["content-type"], event.ApplicationCloudEventsJSON) {
		return e, e.UnmarshalJSON(record.Value) == nil && e.Validate() == nil
	}
	if headers["ce_specversion"] == "" {
		return e, false
	}
	request := &http.Request{Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(record.Value))}
	for name, value := range headers {
		if attribute, ok := strings.CutPrefix(name, "ce_"); ok {
			request.Header.Set("Ce-"+attribute, value)
		}
	}
	if contentType := headers["content-type"]; contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	decoded, err := cehttp.NewEventFromHTTPRequest(request)
	if err != nil || decoded.Validate() != nil {
		return e, false
	}
	return *decoded, true
}

func foreign(record *kgo.Record, spec knative.KafkaSource) event.Event {
	e := event.New()
	e.SetType("dev.knative.kafka.event")
	e.SetSource(fmt.Sprintf("/apis/v1/namespaces/%s/kafkasources/%s#%s", spec.Namespace, spec.Name, record.Topic))
	e.SetSubject(fmt.Sprintf("partition:%d#%d", record.Partition, record.Offset))
	e.SetID(fmt.Sprintf("partition:%d/offset:%d", record.Partition, record.Offset))
	e.SetTime(record.Timestamp)
	if record.Key != nil {
		e.SetExtension("key", string(record.Key))
		e.SetExtension("partitionkey", string(record.Key))
	}
	for _, h := range record.Headers {
		name := strings.ToLower(h.Key)
		if name == "content-type" {
			e.SetDataContentType(string(h.Value))
			continue
		}
		kept := strings.Map(func(r rune) rune {
			if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
				return r
			}
			return -1
		}, name)
		e.SetExtension("kafkaheader"+kept, string(h.Value))
	}
	if record.Value != nil {
		e.DataEncoded = record.Value
	}
	return e
}
