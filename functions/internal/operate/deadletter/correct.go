package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/registry"
	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/sql/operations"
)

// Correction is a corrected copy of a letter's value.
type Correction struct {
	Value  []byte
	Reason string
}

// MaxCorrection is the size of the largest corrected value, in bytes: that of the largest record of a topic.
const MaxCorrection = 1 << 20

// Check returns an error unless the letter with the corrected value is an event that its consumer can read. It decodes it as
// strictly as the consumer does: with the attributes of the letter, which a correction keeps, since they identify the event.
func (c Correction) Check(l Letter) error {
	if len(c.Value) > MaxCorrection {
		return fmt.Errorf("the corrected value has %d bytes: give at most %d", len(c.Value), MaxCorrection)
	}
	if bytes.Equal(c.Value, l.Record.Value) || bytes.Equal(c.Value, l.Readable) {
		return errors.New("the value is the same: replay the letter instead")
	}
	if err := events.Check(c.of(l)); err != nil {
		return fmt.Errorf("a function would refuse the corrected event: %w", err)
	}
	return nil
}

// of returns the event of a letter with the corrected value, which is JSON even if the letter is in Avro.
func (c Correction) of(l Letter) event.Event {
	e := l.Event.Clone()
	e.DataEncoded, e.DataBase64 = c.Value, false
	if e.DataMediaType() == registry.MediaType {
		e.SetDataContentType(event.ApplicationJSON)
	}
	return e
}

// Correct replays a letter with a corrected value. It records both versions before the delivery starts. The letter itself
// stays as it is: another replay sends the original.
func (r Replay) Correct(ctx context.Context, l Letter, c Correction) error {
	url, result, err := r.target(l, true)
	if err != nil {
		r.Report(l.Summary, result, err.Error())
		return nil
	}
	if err := c.Check(l); err != nil {
		return err
	}
	lanes, err := r.Journal.claim(ctx, [][]Summary{{l.Summary}}, r.States, r.Report)
	if err != nil || len(lanes) == 0 {
		return err
	}
	corrected := Letter{Summary: lanes[0][0], Event: c.of(l), Record: l.Record}
	delivered := r.deliver(ctx, []*sending{{letter: corrected, url: url, correction: &c}}, map[[2]string]bool{})
	return errors.Join(delivered, r.Journal.release(ctx, lanes))
}

// note begins the recorded details of the delivery of a corrected copy.
func (s *sending) note() string {
	if s.correction == nil {
		return ""
	}
	return correctedNote
}

// correctedNote begins the details of the actions that sent a corrected copy.
const correctedNote = "corrected copy: "

// WasCorrected returns whether an action sent a corrected copy.
func WasCorrected(a operations.DeadLetterAction) bool {
	return strings.HasPrefix(a.Detail, correctedNote)
}

// recordCorrection records both versions of a letter's value.
func (j *Journal) recordCorrection(ctx context.Context, l Letter, c Correction) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	consumer, source, id := l.identity()
	err := operations.New(j.conn).InsertLetterCorrection(ctx, operations.InsertLetterCorrectionParams{
		Topic: l.Topic, KafkaPartition: int(l.Partition), KafkaOffset: l.Offset, Consumer: consumer, EventSource: source, EventID: id,
		Original: append([]byte{}, l.Record.Value...), Corrected: c.Value, Reason: oneline.Of(c.Reason, 500), Actor: j.actor,
	})
	if err != nil {
		return fmt.Errorf("record the corrected copy of %s: %w", l.Place, err)
	}
	return nil
}

// Corrections returns the corrected copies of a letter, oldest first.
func Corrections(ctx context.Context, db operations.DBTX, l Summary) ([]operations.DeadLetterCorrection, error) {
	rows, err := operations.New(db).ListLetterCorrections(ctx, operations.ListLetterCorrectionsParams{
		Topic: l.Topic, KafkaPartition: int(l.Partition), KafkaOffset: l.Offset,
	})
	if err != nil {
		return nil, fmt.Errorf("read the corrected copies of %s: %w", l.Place, err)
	}
	var about []operations.DeadLetterCorrection
	for _, row := range rows {
		if l.isAbout(row.Consumer, row.EventSource, row.EventID) {
			about = append(about, row)
		}
	}
	return about, nil
}
