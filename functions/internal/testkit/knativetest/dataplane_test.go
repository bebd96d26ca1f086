package knativetest

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/knative"
)

// TestDataPlaneOfACluster is the data plane of a test cluster, as a pod in it: it runs the wiring between the brokers in
// DATA_PLANE_BROKERS and the Services, with DATA_PLANE_TOKEN, until it is stopped. .ci/cluster runs it.
func TestDataPlaneOfACluster(t *testing.T) {
	brokers := strings.Split(os.Getenv("DATA_PLANE_BROKERS"), ",")
	if brokers[0] == "" {
		t.Skip("DATA_PLANE_BROKERS names no brokers: .ci/cluster runs it")
	}
	wiring, err := knative.Load(knative.Base())
	require.NoError(t, err)
	require.NoError(t, kafka.EnsureTopics(t.Context(), brokers, wiring.Topics))
	services, topics := map[string]string{}, map[string]string{}
	for _, s := range wiring.Services {
		services[s.Name] = "http://" + s.Name + ".orders.svc.cluster.local"
	}
	for _, s := range wiring.Sinks {
		topics[s.Name] = s.Topic
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	Start(t, brokers, wiring, services, StartSink(t, brokers, topics))
	t.Log("all sources read")
	<-ctx.Done()
}
