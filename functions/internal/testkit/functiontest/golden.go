package functiontest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

// Golden makes the n-th fact about a new order, with the data of the golden file of its type.
func Golden(t testing.TB, eventType string, n int) event.Event {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), "events", "testdata", eventType+".v1.json"))
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

// root is the folder of the module that a test is in.
func root(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder
		}
		above := filepath.Dir(folder)
		require.NotEqual(t, folder, above, "the test is in no module")
		folder = above
	}
}
