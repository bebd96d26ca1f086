package kafka

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/delivery"
	"example.com/orders/functions/internal/metrics"
	"example.com/orders/functions/internal/oneline"
)

// The headers that a dead letter has beside those of the original record. They read as extensions of a CloudEvent, so
// that tools for CloudEvents show them.
const (
	HeaderConsumer  = "ce_consumer"            // the function that failed
	HeaderTopic     = "ce_deadlettertopic"     // where the record was
	HeaderPartition = "ce_deadletterpartition" //
	HeaderOffset    = "ce_deadletteroffset"    //
	HeaderAttempts  = "ce_deadletterattempts"  // deliveries, the first included
	HeaderError     = "ce_deadlettererror"     // what the last one ended with, on one line
	HeaderTime      = "ce_deadlettertime"      // when it was set aside, RFC 3339
	HeaderStatus    = "ce_knativeerrorcode"    // the status of the last delivery
	maxErrorText    = 500
)

// failure is what is known of a record that is set aside.
type failure struct {
	consumer string
	attempts int
	status   int
	err      error
	at       time.Time
}

// reason is why the record was set aside, for the metrics.
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

// deadLetter is the record that is written for one that failed: key, value and headers are untouched, and what is known
// of the failure is added. Of a record that failed before, the older failure is replaced.
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

func header(key, value string) sarama.RecordHeader {
	return sarama.RecordHeader{Key: []byte(key), Value: []byte(value)}
}

// oneLine is the text of an error, bounded and without control characters.
func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return oneline.Of(err.Error(), maxErrorText)
}
