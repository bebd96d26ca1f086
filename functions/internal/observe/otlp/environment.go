package otlp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Endpoint is OpenTelemetry's variable for the destination of spans. Its other variables are honoured as well: those for
// traces alone, such as OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME (default: orders),
// OTEL_TRACES_SAMPLER and so on.
const Endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"

// isOn returns whether spans are exported: an endpoint turns it on, and so does OTEL_TRACES_EXPORTER=otlp, which alone means
// the collector of this machine. OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none turn it off.
func isOn(environ map[string]string) (bool, error) {
	switch disabled := strings.TrimSpace(environ["OTEL_SDK_DISABLED"]); strings.ToLower(disabled) {
	case "", "false":
	case "true":
		return false, nil
	default:
		return false, fmt.Errorf("OTEL_SDK_DISABLED is %q: give true or false", disabled)
	}
	switch exporter := strings.TrimSpace(environ["OTEL_TRACES_EXPORTER"]); exporter {
	case "":
		name, _ := setting(environ, "ENDPOINT")
		return name != "", nil
	case "otlp":
		return true, nil
	case "none":
		return false, nil
	default:
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q: give otlp or none", exporter)
	}
}

// setting returns the exporter variable that applies to traces, and its value; both are empty without one.
func setting(environ map[string]string, what string) (name, value string) {
	for _, prefix := range []string{"OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"} {
		if value := strings.TrimSpace(environ[prefix+what]); value != "" {
			return prefix + what, value
		}
	}
	return "", ""
}

// validate refuses values that OpenTelemetry would ignore or panic about. Its errors do not contain possibly secret values.
func validate(environ map[string]string) error {
	var errs []error
	refuse := func(name, form string) { errs = append(errs, fmt.Errorf("%s: give %s", name, form)) }
	exporting := func(what, form string, valid func(string) bool) {
		if name, value := setting(environ, what); name != "" && !valid(value) {
			refuse(name, form)
		}
	}
	general := func(name, form string, valid func(string) bool) {
		if value := strings.TrimSpace(environ[name]); value != "" && !valid(value) {
			refuse(fmt.Sprintf("%s is %q", name, value), form)
		}
	}

	exporting("ENDPOINT", "a URL with its scheme, such as http://collector:4318 (user and password belong into OTEL_EXPORTER_OTLP_HEADERS)", isEndpoint)
	exporting("PROTOCOL", "http/protobuf or http/json, which a collector takes at port 4318; traces are not sent by gRPC", among("http/protobuf", "http/json"))
	exporting("COMPRESSION", "gzip or none", among("gzip", "none"))
	exporting("TIMEOUT", "milliseconds, from 1 to 1000000", within(1, 1e6))
	exporting("HEADERS", pairsForm, isPairs)
	exporting("CERTIFICATE", "a file with certificates in PEM", isCertificates)
	exporting("INSECURE", "what the scheme of the endpoint says, true for http, or leave it out", func(text string) bool {
		_, endpoint := setting(environ, "ENDPOINT")
		plain := endpoint == "" || strings.HasPrefix(strings.ToLower(endpoint), "http:")
		return strings.ToLower(text) == strconv.FormatBool(plain)
	})
	certificate, certificateFile := setting(environ, "CLIENT_CERTIFICATE")
	key, keyFile := setting(environ, "CLIENT_KEY")
	if names := strings.TrimSpace(certificate + " " + key); names != "" {
		if _, err := tls.LoadX509KeyPair(certificateFile, keyFile); err != nil {
			refuse(names, "the files of a certificate and of its key in PEM, both or none")
		}
	}

	general("OTEL_RESOURCE_ATTRIBUTES", pairsForm, isPairs)
	samplers := []string{"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}
	general("OTEL_TRACES_SAMPLER", "one of "+strings.Join(samplers, ", "), among(samplers...))
	if strings.HasSuffix(strings.TrimSpace(environ["OTEL_TRACES_SAMPLER"]), "traceidratio") {
		general("OTEL_TRACES_SAMPLER_ARG", "the share of the traces, from 0 to 1", isShare)
	}
	for _, name := range []string{"SCHEDULE_DELAY", "EXPORT_TIMEOUT", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"} {
		general("OTEL_BSP_"+name, "a number from 1 to 1000000", within(1, 1e6))
	}
	for _, name := range []string{"ATTRIBUTE_VALUE_LENGTH", "ATTRIBUTE_COUNT", "SPAN_ATTRIBUTE_VALUE_LENGTH", "SPAN_ATTRIBUTE_COUNT",
		"SPAN_EVENT_COUNT", "EVENT_ATTRIBUTE_COUNT", "SPAN_LINK_COUNT", "LINK_ATTRIBUTE_COUNT"} {
		general("OTEL_"+name+"_LIMIT", "a number, -1 for no limit", within(-1, 1e6))
	}
	return errors.Join(errs...)
}

const pairsForm = "name=value,name=value, the values percent-encoded"

// isEndpoint accepts URLs that the exporter uses completely: it would drop a user, a password and a query.
func isEndpoint(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.RawQuery == ""
}

func among(values ...string) func(string) bool {
	return func(text string) bool { return slices.Contains(values, text) }
}

func within(least, most int) func(string) bool {
	return func(text string) bool {
		n, err := strconv.Atoi(text)
		return err == nil && n >= least && n <= most
	}
}

func isShare(text string) bool {
	share, err := strconv.ParseFloat(text, 64)
	return err == nil && share >= 0 && share <= 1
}

func isPairs(text string) bool {
	for pair := range strings.SplitSeq(text, ",") {
		name, value, found := strings.Cut(pair, "=")
		if _, err := url.PathUnescape(value); err != nil || !found || strings.TrimSpace(name) == "" {
			return false
		}
	}
	return true
}

func isCertificates(path string) bool {
	text, err := os.ReadFile(path)
	return err == nil && x509.NewCertPool().AppendCertsFromPEM(text)
}
