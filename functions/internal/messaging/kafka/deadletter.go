package kafka

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/functions/internal/observe/oneline"
)

// The headers that a dead letter has in addition to those of the original record. They look like extensions of a CloudEvent,
// so that CloudEvents tools show them.
const (
	HeaderConsumer  = "ce_consumer"            // the function that failed
	HeaderTopic     = "ce_deadlettertopic"     // the position of the record
	HeaderPartition = "ce_deadletterpartition" //
	HeaderOffset    = "ce_deadletteroffset"    //
	HeaderAttempts  = "ce_deadletterattempts"  // deliveries, the first included
	HeaderError     = "ce_deadlettererror"     // the error of the last one, on one line
	HeaderTime      = "ce_deadlettertime"      // when the dead letter was written, RFC 3339
	HeaderStatus    = "ce_knativeerrorcode"    // the status of the last delivery
	HeaderCut       = "ce_deadlettercut"       // how much of the record is missing, if it was too large for the topic
	maxErrorText    = 500
)

// failure describes why a record becomes a dead letter.
type failure struct {
	consumer string
	attempts int
	status   int
	err      error
	at       time.Time
}

// reason returns the label of the failure in the metrics.
func (f failure) reason() string {
	switch {
	case delivery.Judge(f.status) == delivery.Retry:
		return metrics.Exhausted
	case f.status == http.StatusUnprocessableEntity:
		return metrics.Poison
	default:
		return fmt.Sprintf("rejected_%dxx", f.status/100)
	}
}

// deadLetter returns the dead letter of a failed record: key, value and headers are unchanged, and headers that describe the
// failure are added. They replace those of an earlier failure.
func deadLetter(topic string, m *sarama.ConsumerMessage, f failure) *sarama.ProducerMessage {
	added := []sarama.RecordHeader{
		header(HeaderConsumer, f.consumer),
		header(HeaderTopic, m.Topic),
		header(HeaderPartition, strconv.Itoa(int(m.Partition))),
		header(HeaderOffset, strconv.FormatInt(m.Offset, 10)),
		header(HeaderAttempts, strconv.Itoa(f.attempts)),
		header(HeaderError, oneLine(f.err)),
		header(HeaderTime, f.at.UTC().Format(time.RFC3339Nano)),
		header(HeaderStatus, strconv.Itoa(f.status)),
	}
	letter := &sarama.ProducerMessage{Topic: topic, Timestamp: f.at}
	for _, h := range m.Headers {
		if !slices.ContainsFunc(added, func(a sarama.RecordHeader) bool { return string(a.Key) == string(h.Key) }) {
			letter.Headers = append(letter.Headers, *h)
		}
	}
	letter.Headers = append(letter.Headers, added...)
	if m.Key != nil {
		letter.Key = sarama.ByteEncoder(m.Key)
	}
	if m.Value != nil {
		letter.Value = sarama.ByteEncoder(m.Value)
	}
	return letter
}

// cutLetter returns the dead letter of a record whose full dead letter is too large. It keeps at most n bytes of the
// record's key, headers and value; HeaderCut says what is missing. The other headers say where the whole record is, for as
// long as its topic keeps it.
func cutLetter(topic string, m *sarama.ConsumerMessage, f failure, n int) *sarama.ProducerMessage {
	cut := *m
	if cut.Headers = smallest(m.Headers, n/2); len(m.Key) > n/4 {
		cut.Key = nil
	}
	cut.Value = nil
	if left := n - sizeOf(&cut); m.Value != nil {
		cut.Value = m.Value[:max(0, min(left, len(m.Value)))]
	}
	letter := deadLetter(topic, &cut, f)
	letter.Headers = append(letter.Headers, header(HeaderCut, fmt.Sprintf("%d of %d bytes of the value are left, %d of %d headers, %d of %d bytes of the key",
		len(cut.Value), len(m.Value), len(cut.Headers), len(m.Headers), len(cut.Key), len(m.Key))))
	return letter
}

// smallest returns headers that fit into n bytes together, in their original order. It prefers small ones, so that one large
// header does not displace the others.
func smallest(headers []*sarama.RecordHeader, n int) []*sarama.RecordHeader {
	size := func(h *sarama.RecordHeader) int { return len(h.Key) + len(h.Value) }
	bySize := slices.SortedStableFunc(slices.Values(headers), func(a, b *sarama.RecordHeader) int { return cmp.Compare(size(a), size(b)) })
	left := map[*sarama.RecordHeader]bool{}
	for _, h := range bySize {
		if n -= size(h); n < 0 {
			break
		}
		left[h] = true
	}
	return slices.DeleteFunc(slices.Clone(headers), func(h *sarama.RecordHeader) bool { return !left[h] })
}

// sizeOf returns the size of a record's key, headers and value in bytes.
func sizeOf(m *sarama.ConsumerMessage) int {
	n := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

func header(key, value string) sarama.RecordHeader {
	return sarama.RecordHeader{Key: []byte(key), Value: []byte(value)}
}

// oneLine returns the text of an error, bounded and without control characters.
func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return oneline.Of(err.Error(), maxErrorText)
}
