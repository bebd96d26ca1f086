package deployed

import (
	"maps"
	"testing"
)

// TestAnUnresolvedReferenceIsNoValue starts functions with the references that func leaves in their images if the
// cluster does not set the variables: Start waits until they are ready.
func TestAnUnresolvedReferenceIsNoValue(t *testing.T) {
	c := newCluster(t)
	for name, image := range map[string]map[string]string{
		"notify":                {"SMTP_ADDR": "{{ configMap:orders-mail:smtp-addr }}", "SMTP_FROM": "{{ configMap:orders-mail:smtp-from }}"},
		"publish-outbox-orders": {"KAFKA_BROKERS": "{{ secret:orders-kafka:brokers }}", "KAFKA_SINK_URL": "http://127.0.0.1:1/orders/{topic}"},
	} {
		for _, service := range c.wiring.Services {
			if service.Name == name {
				environ := c.environ(service, nil)
				maps.Copy(environ, image)
				c.binaries.Start(t, name, environ)
			}
		}
	}
}
