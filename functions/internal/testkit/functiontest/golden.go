package functiontest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

// Golden makes the n-th fact about a new order, with the data of the golden file of its type's newest version.
func Golden(t testing.TB, eventType string, n int) event.Event {
	t.Helper()
	contracts := events.Contracts()
	at := slices.IndexFunc(contracts, func(c events.Contract) bool { return c.Type == eventType && c.Newest })
	require.GreaterOrEqual(t, at, 0, "no fact has the type %q", eventType)
	data, err := fs.ReadFile(events.Examples(), contracts[at].File)
	require.NoError(t, err)
	var golden struct{ OrderID string }
	require.NoError(t, json.Unmarshal(data, &golden))
	id := OrderID()
	e := event.New()
	e.SetID(fmt.Sprintf("%s#%d", id, n))
	e.SetSource(events.SourceOf(eventType))
	e.SetType(eventType)
	e.SetSubject(id)
	e.SetTime(time.Now())
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = bytes.ReplaceAll(data, []byte(golden.OrderID), []byte(id))
	e.SetExtension("partitionkey", id)
	e.SetExtension("correlationid", CorrelationID)
	e.SetExtension("causationid", "cause-1")
	return e
}
