package deployed

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/web/httpbinding"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "orders-deployed-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

func wiring(t testing.TB) *knative.Wiring {
	t.Helper()
	w, err := knative.Load(knative.Base())
	require.NoError(t, err)
	return w
}

// withPayments is the overlay that has all functions.
const withPayments = "payment"

// built builds all functions once.
var built = sync.OnceValues(func() (Binaries, error) {
	w, err := knative.LoadOverlay(knative.Manifests(), withPayments)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute) // below the 10 of go test, which says less
	defer cancel()
	return Build(ctx, filepath.Join("..", "..", "..", ".."), folder, w.Services)
})

// cluster is the environment of the functions: a database server, brokers and the values of the manifests.
type cluster struct {
	binaries Binaries
	wiring   *knative.Wiring
	kafka    kafkatest.Cluster
	server   schema.Server
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs all functions: run without -short")
	}
	binaries, err := built()
	require.NoError(t, err)
	c := &cluster{binaries: binaries, kafka: kafkatest.Start(t), server: mysqltest.Server(t)}
	c.wiring, err = wiring(t).WithTopicPrefix(c.kafka.Prefix)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, kafka.EnsureTopics(ctx, c.kafka.Brokers, c.wiring.Topics))
	return c
}

// environ returns the environment of a Service: the values of its manifest, the servers, and more.
func (c *cluster) environ(service knative.Service, more map[string]string) map[string]string {
	environ := mysqltest.Config(c.server)
	environ["MYSQL_MAX_CONNS"] = "4"
	if strings.HasPrefix(service.Name, "publish-outbox-") {
		environ["KAFKA_BROKERS"] = strings.Join(c.kafka.Brokers, ",")
		environ["KAFKA_TOPIC_PREFIX"] = c.kafka.Prefix
	}
	for _, values := range []map[string]string{service.Env, more} {
		for name, value := range values {
			environ[name] = value
		}
	}
	return environ
}

// mode is how a request contains a CloudEvent.
type mode string

const (
	binary     mode = "binary"
	structured mode = "structured"
)

func (m mode) post(t testing.TB, url string, e event.Event) int {
	t.Helper()
	if m == structured {
		body, err := json.Marshal(e)
		require.NoError(t, err)
		return text(t, http.MethodPost, url, event.ApplicationCloudEventsJSON, string(body))
	}
	request, err := httpbinding.NewRequest(t.Context(), url, e)
	require.NoError(t, err)
	return send(t, request)
}

// text posts a body as it is.
func text(t testing.TB, method, url, contentType, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader([]byte(body)))
	require.NoError(t, err)
	request.Header.Set("Content-Type", contentType)
	return send(t, request)
}

func send(t testing.TB, request *http.Request) int {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}
