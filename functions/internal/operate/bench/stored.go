package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"example.com/orders/events"
)

// handled is the line of a log about an event that a function has handled.
type handled struct {
	Time     time.Time `json:"time"`
	Function string    `json:"function"`
	OrderID  string    `json:"order_id"`
	Outcome  string    `json:"outcome"`
}

// readStored finds out from the logs when the confirmations of the orders were committed. begin is the start of the load.
func (s samples) readStored(logs []string, begin time.Time) error {
	at := map[string]time.Time{}
	for _, path := range logs {
		if err := readConfirmations(path, at); err != nil {
			return fmt.Errorf("read when orders were confirmed from the log of the harness: %w", err)
		}
	}
	for n := range s {
		if committed, found := at[s[n].id]; found {
			s[n].stored = committed.Sub(begin)
		}
	}
	return nil
}

// readConfirmations adds the times of a log at which finalize-order has confirmed orders. Lines that are not JSON, such as those of a
// panic, are skipped.
func readConfirmations(path string, at map[string]time.Time) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	outcome := fmt.Appendf(nil, `"outcome":%q`, events.OrderConfirmedType)
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // what follows the last line is being written
		}
		if err != nil {
			return err
		}
		var h handled
		if !bytes.Contains(line, outcome) || json.Unmarshal(line, &h) != nil || h.Function != "finalize-order" {
			continue
		}
		if _, again := at[h.OrderID]; !again {
			at[h.OrderID] = h.Time
		}
	}
}
