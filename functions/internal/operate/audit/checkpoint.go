package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Checkpoint is what an audit without a breach has seen, so that the next one needs to read only what has changed since. It
// takes 16 bytes for each order, and some more for those that are under way.
type Checkpoint struct {
	// At is the time of its audit, and FullAt of the last one that has read everything.
	At, FullAt time.Time
	// Stack has the names of the schemas and the topics that it is of.
	Stack string
	// Newest is one of the orders that it knows, by which the stack is recognized; empty without any.
	Newest   string
	NewestAt time.Time

	// Outboxes has for each outbox the row up to which all rows are known: there are none before it that were not committed yet.
	Outboxes map[string]int64
	// Rows are known rows that may change: those that are not sent, or not handled by every consumer group.
	Rows []OpenRow
	// Topics says how far the topics were read.
	Topics []TopicEnd
	// Orders are the orders that are under way, or that an exception explains.
	Orders []string
	// After is the id after which every order counts as new.
	After string
	// Held has for each SKU the units that the settled orders hold.
	Held map[string]int64

	Known *knownTable
}

// OpenRow is a row of an outbox that may change.
type OpenRow struct {
	Outbox string
	ID     int64
	Event  uint64 // the stable hash of its event
}

// TopicEnd is how far a partition was read. Records from Keep on are read again: they may be of rows that are.
type TopicEnd struct {
	Topic     string
	Partition int32
	Read      int64
	Keep      int64
}

// ErrCheckpoint means that a checkpoint cannot be used.
var ErrCheckpoint = errors.New("the checkpoint cannot be used")

const (
	// fullEvery is how long only changes are audited. What an incremental audit cannot see, the next full one finds.
	fullEvery = 24 * time.Hour
	// A checkpoint with more than these would save nothing.
	maxOpenRows, maxOpenOrders = 10_000, 100_000
)

// format begins a file with a checkpoint; the checksum of the rest follows.
const format = "orders audit checkpoint 1\n"

// Save writes the checkpoint to a file, which has either the old contents or the new ones whatever happens.
func (c *Checkpoint) Save(path string) error {
	var body bytes.Buffer
	if err := gob.NewEncoder(&body).Encode(c); err != nil {
		return fmt.Errorf("encode the checkpoint: %w", err)
	}
	sum := sha256.Sum256(body.Bytes())
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write the checkpoint: %w", err)
	}
	for _, part := range [][]byte{[]byte(format), sum[:], body.Bytes()} {
		if err == nil {
			_, err = file.Write(part)
		}
	}
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the checkpoint: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}

// LoadCheckpoint reads a checkpoint from a file; nil if there is none.
func LoadCheckpoint(path string) (*Checkpoint, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint: %w", err)
	}
	damaged := fmt.Errorf("%w: %s is damaged, or was not written by this program: remove it, and the next audit is a full one that writes it anew", ErrCheckpoint, path)
	rest, known := bytes.CutPrefix(text, []byte(format))
	if !known || len(rest) < sha256.Size {
		return nil, damaged
	}
	sum, body := [sha256.Size]byte(rest), rest[sha256.Size:]
	if sha256.Sum256(body) != sum {
		return nil, damaged
	}
	c := &Checkpoint{}
	if err := gob.NewDecoder(bytes.NewReader(body)).Decode(c); err != nil {
		return nil, fmt.Errorf("%w: %w", damaged, err)
	}
	return c, nil
}

// stackOf names what an audit reads.
func stackOf(o Options) string {
	names := []string{o.Server.Prefix, o.TopicPrefix, strconv.FormatBool(len(o.Brokers) > 0)}
	names = append(names, o.Wiring.Outboxes()...)
	for _, topic := range o.Wiring.Topics {
		names = append(names, topic.Name)
	}
	for _, source := range o.Wiring.Sources {
		names = append(names, source.Group)
	}
	return strings.Join(names, " ")
}

// unusable returns why a full audit is due instead; empty if none is. It fails if the checkpoint is of another stack.
func (c *Checkpoint) unusable(o Options, at time.Time) (why string, err error) {
	switch {
	case c.Stack != stackOf(o):
		return "", c.foreign("its schemas and topics have other names")
	case at.Before(c.At):
		return "the checkpoint is of a later time", nil
	case at.Sub(c.FullAt) >= fullEvery:
		return fmt.Sprintf("the last full audit was at %s", c.FullAt.Format(time.RFC3339)), nil
	case at.Sub(c.At) >= o.SentRetention/2:
		return fmt.Sprintf("the checkpoint is of %s, and rows may have been purged since", c.At.Format(time.RFC3339)), nil
	}
	return "", nil
}

// foreign is the error for a checkpoint of another stack, or of a state to which this one was never brought back.
func (c *Checkpoint) foreign(why string) error {
	return fmt.Errorf("%w: it is of another stack, or this one was restored from an earlier time: %s: name another file, or remove it, and the next audit is a full one", ErrCheckpoint, why)
}

// known returns the facts of a source about an order that are in the checkpoint, if there is one.
func (c *Checkpoint) known(source, order string) uint32 {
	if c == nil {
		return 0
	}
	return c.Known.factsOf(source, order)
}

// rows returns the open rows of an outbox.
func (c *Checkpoint) rows(outbox string) (ids []int64) {
	if c == nil {
		return nil
	}
	for _, row := range c.Rows {
		if row.Outbox == outbox {
			ids = append(ids, row.ID)
		}
	}
	return ids
}

// open returns the events of the open rows.
func (c *Checkpoint) open() map[uint64]bool {
	events := make(map[uint64]bool, len(c.Rows))
	for _, row := range c.Rows {
		events[row.Event] = true
	}
	return events
}

// ends returns how far each partition was read.
func (c *Checkpoint) ends() map[place]TopicEnd {
	ends := make(map[place]TopicEnd, len(c.Topics))
	for _, end := range c.Topics {
		ends[place{end.Topic, end.Partition}] = end
	}
	return ends
}
