package connect_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/connect"
)

// worker answers as a worker of Kafka Connect does.
type worker struct {
	answers map[string]string // by method and path
	refused int               // how many requests are answered as during a rebalance
	asked   []string          // requests with their bodies
}

func (w *worker) ServeHTTP(a http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // the test compares it
	request := r.Method + " " + r.URL.RequestURI()
	w.asked = append(w.asked, request+" "+string(body))
	answer, known := w.answers[request]
	switch {
	case w.refused > 0:
		w.refused--
		http.Error(a, `{"error_code":409,"message":"Cannot complete request momentarily due to stale configuration"}`, http.StatusConflict)
	case !known:
		http.Error(a, `{"error_code":404,"message":"not found"}`, http.StatusNotFound)
	case answer == "refuse":
		http.Error(a, `{"error_code":400,"message":"the position is of another partition"}`, http.StatusBadRequest)
	default:
		_, _ = io.WriteString(a, answer)
	}
}

func start(t *testing.T, answers map[string]string) (*connect.Client, *worker) {
	t.Helper()
	w := &worker{answers: answers}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	c, err := connect.New(server.URL + "/")
	require.NoError(t, err)
	return c, w
}

func TestTheStateIsThatOfTheTaskOnceTheConnectorRuns(t *testing.T) {
	for answer, want := range map[string]connect.State{
		`{"connector":{"state":"RUNNING","worker_id":"w:1"},"tasks":[{"id":0,"state":"RUNNING"}]}`:            connect.Running,
		`{"connector":{"state":"RUNNING","worker_id":"w:1"},"tasks":[{"id":0,"state":"FAILED","trace":"x"}]}`: connect.Failed,
		`{"connector":{"state":"RUNNING","worker_id":"w:1"},"tasks":[]}`:                                      connect.Absent,
		`{"connector":{"state":"STOPPED","worker_id":"w:1"},"tasks":[]}`:                                      connect.Stopped,
		`{"connector":{"state":"PAUSED","worker_id":"w:1"},"tasks":[{"id":0,"state":"PAUSED"}]}`:              connect.Paused,
	} {
		c, _ := start(t, map[string]string{"GET /connectors/a%2Fb/status": answer})
		s, err := c.Status(t.Context(), "a/b")
		require.NoError(t, err)
		assert.Equal(t, want, s.State(), answer)
	}
	c, _ := start(t, nil)
	s, err := c.Status(t.Context(), "none")
	require.NoError(t, err)
	assert.Equal(t, connect.Absent, s.State())
}

func TestTheReasonIsTheInnermostCause(t *testing.T) {
	s := connect.Status{Trace: "org.Outer: An exception occurred\n\tat a.b\nCaused by: org.Inner: the log is no longer there\n\tat c.d\n"}
	assert.Equal(t, "org.Inner: the log is no longer there", s.Reason())
	assert.Equal(t, "org.Only: it broke", connect.Status{Trace: "org.Only: it broke\n\tat a.b"}.Reason())
	assert.Empty(t, connect.Status{}.Reason())
}

// Kafka Connect says that it cannot create a topic; that the topic is missing is what an operator has to know.
func TestTheReasonNamesATopicThatIsMissing(t *testing.T) {
	for name, trace := range map[string]string{
		"with too many replicas": "org.apache.kafka.connect.errors.ConnectException: Unable to create topic(s) 'order.confirmed': Unable to replicate the partition 32767 time(s)\n\tat a.b\nCaused by: org.Inner: Unable to replicate the partition 32767 time(s)",
		"without the right":      "org.apache.kafka.connect.errors.ConnectException: Task failed to create new topic (name=order.confirmed, numPartitions=1, replicationFactor=32767, replicasAssignments=null, configs={}). Ensure that the task is authorized to create topics or that the topic exists and restart the task\n\tat a.b",
	} {
		assert.Equal(t, "the topic order.confirmed does not exist: create it, then resume the connector", connect.Status{Trace: trace}.Reason(), name)
	}
}

func TestARequestIsRepeatedDuringARebalance(t *testing.T) {
	c, w := start(t, map[string]string{"PUT /connectors/a/config": "{}"})
	w.refused = 2
	require.NoError(t, c.Put(t.Context(), "a", map[string]string{"x": "1"}))
	assert.Equal(t, []string{`PUT /connectors/a/config {"x":"1"}`, `PUT /connectors/a/config {"x":"1"}`, `PUT /connectors/a/config {"x":"1"}`}, w.asked)
}

func TestAPositionIsReadAndMoved(t *testing.T) {
	const offsets = `{"offsets":[{"partition":{"server":"cdc"},"offset":{"file":"binlog.000002","pos":157,"gtids":"a:1-9"}}]}`
	c, w := start(t, map[string]string{"GET /connectors/a/offsets": offsets, "PATCH /connectors/a/offsets": "{}"})
	at, err := c.Position(t.Context(), "a")
	require.NoError(t, err)
	assert.Equal(t, "binlog.000002:157 (a:1-9)", at.String())
	require.NoError(t, c.Move(t.Context(), "a", at))
	assert.Contains(t, w.asked[1], `{"offsets":[{"partition":{"server":"cdc"},"offset":{"file":"binlog.000002",`)

	c, _ = start(t, map[string]string{"GET /connectors/a/offsets": `{"offsets":[]}`, "PATCH /connectors/a/offsets": "refuse"})
	none, err := c.Position(t.Context(), "a")
	require.NoError(t, err)
	assert.Equal(t, "none", none.String())
	require.ErrorContains(t, c.Move(t.Context(), "a", at), "the position is of another partition")
}

func TestErrorsSayWhereKafkaConnectIsLookedFor(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:8083", "ftp://x"} {
		_, err := connect.New(address)
		assert.ErrorContains(t, err, "give the address of Kafka Connect, such as http://127.0.0.1:8083", address)
	}
	c, err := connect.New("http://127.0.0.1:1")
	require.NoError(t, err)
	_, err = c.Status(t.Context(), "a")
	require.ErrorContains(t, err, "CONNECT_URL says where it is")
	c, _ = start(t, nil)
	require.ErrorIs(t, c.Stop(t.Context(), "a"), connect.ErrUnknown)
}
