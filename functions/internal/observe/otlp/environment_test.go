package otlp_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/observe/otlp"
	"example.com/orders/functions/internal/observe/tracing"
)

// startWith starts with an environment, which the exporter reads from the process.
func startWith(t *testing.T, environ map[string]string) (stop func(context.Context) error, err error) {
	t.Helper()
	for name, value := range environ {
		t.Setenv(name, value)
	}
	return otlp.Start(t.Context(), environ, slog.New(slog.DiscardHandler))
}

func TestStartRefusesWhatItCannotDoAndSaysTheForm(t *testing.T) {
	const (
		general   = "OTEL_EXPORTER_OTLP_"
		endpoint  = general + "ENDPOINT"
		traces    = general + "TRACES_ENDPOINT"
		collector = "http://127.0.0.1:4318"
		scheme    = "a URL with its scheme, such as http://collector:4318"
		number    = "from 1 to 1000000"
		pairs     = "name=value,name=value"
	)
	absent := filepath.Join(t.TempDir(), "absent.pem")
	cases := map[string]struct {
		environ map[string]string
		says    string
	}{
		"no scheme":                     {map[string]string{endpoint: "collector:4318"}, endpoint + ": give " + scheme},
		"no scheme, an address":         {map[string]string{endpoint: "127.0.0.1:4318"}, scheme},
		"no scheme, for traces":         {map[string]string{traces: "localhost:4318/v1/traces"}, traces + ": give " + scheme},
		"a host only":                   {map[string]string{endpoint: "collector"}, scheme},
		"no host":                       {map[string]string{endpoint: "http://:4318"}, scheme},
		"the scheme of gRPC":            {map[string]string{endpoint: "grpc://collector:4317"}, scheme},
		"no URL":                        {map[string]string{endpoint: "http://[::1"}, scheme},
		"a password":                    {map[string]string{endpoint: "http://me:secret@collector:4318"}, "OTEL_EXPORTER_OTLP_HEADERS"},
		"gRPC":                          {map[string]string{endpoint: collector, general + "PROTOCOL": "grpc"}, "not sent by gRPC"},
		"gRPC, for traces":              {map[string]string{endpoint: collector, general + "PROTOCOL": "http/protobuf", general + "TRACES_PROTOCOL": "grpc"}, general + "TRACES_PROTOCOL"},
		"compression":                   {map[string]string{endpoint: collector, general + "COMPRESSION": "zstd"}, "gzip or none"},
		"a timeout with a unit":         {map[string]string{endpoint: collector, general + "TIMEOUT": "10s"}, general + "TIMEOUT: give milliseconds"},
		"headers":                       {map[string]string{endpoint: collector, general + "HEADERS": "Authorization: secret"}, general + "HEADERS: give " + pairs},
		"headers that are not encoded":  {map[string]string{endpoint: collector, general + "HEADERS": "key=secret%zz"}, pairs},
		"no certificates":               {map[string]string{endpoint: "https://collector", general + "CERTIFICATE": absent}, general + "CERTIFICATE"},
		"a certificate without a key":   {map[string]string{endpoint: "https://collector", general + "CLIENT_CERTIFICATE": absent}, "both or none"},
		"a scheme that is contradicted": {map[string]string{endpoint: "https://collector", general + "INSECURE": "true"}, general + "INSECURE"},
		"a timeout of nothing":          {map[string]string{endpoint: collector, general + "TIMEOUT": "0"}, number},
		"attributes":                    {map[string]string{endpoint: collector, "OTEL_RESOURCE_ATTRIBUTES": "broken"}, `OTEL_RESOURCE_ATTRIBUTES is "broken": give ` + pairs},
		"a sampler":                     {map[string]string{endpoint: collector, "OTEL_TRACES_SAMPLER": "some"}, "parentbased_always_on"},
		"a sampler's share":             {map[string]string{endpoint: collector, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10%"}, "from 0 to 1"},
		"a queue of no size":            {map[string]string{endpoint: collector, "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, number},
		"batches of no size":            {map[string]string{endpoint: collector, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "-1"}, number},
		"a queue of any size":           {map[string]string{endpoint: collector, "OTEL_BSP_MAX_QUEUE_SIZE": "9223372036854775807"}, number},
		"no pause":                      {map[string]string{endpoint: collector, "OTEL_BSP_SCHEDULE_DELAY": "0"}, number},
		"a pause with a unit":           {map[string]string{endpoint: collector, "OTEL_BSP_SCHEDULE_DELAY": "5s"}, number},
		"a limit":                       {map[string]string{endpoint: collector, "OTEL_SPAN_EVENT_COUNT_LIMIT": "many"}, "-1 for no limit"},
		"another exporter":              {map[string]string{"OTEL_TRACES_EXPORTER": "jaeger"}, "OTEL_TRACES_EXPORTER is \"jaeger\": give otlp or none"},
		"neither disabled nor not":      {map[string]string{endpoint: collector, "OTEL_SDK_DISABLED": "yes"}, "OTEL_SDK_DISABLED is \"yes\": give true or false"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := startWith(t, c.environ)
			require.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), "secret")
			assert.Nil(t, tracing.Provider())
		})
	}
}

func TestNothingIsTracedUnlessTheEnvironmentAsksForIt(t *testing.T) {
	cases := map[string]map[string]string{
		"nothing set":         {},
		"disabled":            {otlp.Endpoint: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "TRUE"},
		"disabled, a mistake": {otlp.Endpoint: "127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"},
		"no exporter":         {otlp.Endpoint: "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"},
		"for metrics":         {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:4318"},
	}
	for name, environ := range cases {
		t.Run(name, func(t *testing.T) {
			stop, err := startWith(t, environ)
			require.NoError(t, err)
			assert.Nil(t, tracing.Provider())
			require.NoError(t, stop(t.Context()))
		})
	}
}

func TestSpansGoWhereTheEnvironmentSays(t *testing.T) {
	paths := make(chan string, 1)
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { paths <- r.URL.Path })
	server := httptest.NewServer(handler)
	defer server.Close()
	type destination struct {
		environ map[string]string
		path    string
	}
	cases := map[string]destination{
		"for all signals":             {map[string]string{otlp.Endpoint: server.URL, "OTEL_SDK_DISABLED": "false"}, "/v1/traces"},
		"for traces":                  {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": server.URL + "/mine"}, "/mine"},
		"what is for traces decides":  {map[string]string{otlp.Endpoint: "grpc://nowhere", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": server.URL + "/mine"}, "/mine"},
		"all that there is to be set": {map[string]string{otlp.Endpoint: server.URL + "/", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_TIMEOUT": "1000", "OTEL_EXPORTER_OTLP_HEADERS": "a=b%20c,d=", "OTEL_EXPORTER_OTLP_INSECURE": "True", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1.0", "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_RESOURCE_ATTRIBUTES": "a=b,c=d", "OTEL_SPAN_LINK_COUNT_LIMIT": "-1"}, "/v1/traces"},
	}
	if listener, err := net.Listen("tcp", "127.0.0.1:4318"); err == nil { // if this machine has no other collector
		local := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}}
		local.Start()
		defer local.Close()
		cases["to the collector of this machine"] = destination{map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, "/v1/traces"}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			stop, err := startWith(t, c.environ)
			require.NoError(t, err)
			_, span := tracing.Provider().Tracer("test").Start(t.Context(), "step")
			span.End()
			require.NoError(t, stop(t.Context()))
			assert.Equal(t, c.path, <-paths)
			assert.Nil(t, tracing.Provider())
		})
	}
}
