package knative

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The names are what Knative's own function (kmeta.ChildName, as of June 2026) returned for these.
func TestSubjectsAreNamedAsKnativeNamesTheServiceAccountsOfSources(t *testing.T) {
	for _, c := range []struct{ kind, name, account string }{
		{"KafkaSource", "notify", "notify-oidc-sources.knative.dev-kafkasource"},
		{"KafkaSource", "reserve-stock.order.created", "reserve-stock.order.created87ee2807a5ea44a42c72466565612658-oid"},
		{"KafkaSource", "finalize-order.inventory.reserved", "finalize-order.inventory.reserv6a534bf737046e156009109d43f7de3c"},
		{"KafkaSource", "publish-outbox-inventory-sweep", "publish-outbox-inventory-sweep2f5bcd3370712a5b9f506fe996d7d89d"},
		{"KafkaSource", "a123456789012345678901234567890", "a123456789012345678901234567890669bf3c7a321c862a579caf4a29a71de"},
		{"PingSource", "publish-outbox-orders-sweep", "publish-outbox-orders-sweep-oidc-sources.knative.dev-pingsource"},
		{"PingSource", "publish-outbox-inventory-sweep", "publish-outbox-inventory-sweep3a5e843bb27f7748abf345716751da9d"},
		{"PingSource", "finalize-order.inventory.reserved", "finalize-order.inventory.reserv6476bd4c5737fab3a7cb9f8c62909ca6"},
	} {
		assert.Equal(t, "system:serviceaccount:orders:"+c.account, Subject("orders", c.kind, c.name), "%s %s", c.kind, c.name)
	}
}

// TestNobodyElseMaySend checks that a function takes events from its sources in some wiring, from operators if it has dead
// letters, and from nobody else.
func TestNobodyElseMaySend(t *testing.T) {
	senders, said := map[string]map[string]bool{}, map[string][]string{}
	add := func(sink, subject string) {
		if senders[sink] == nil {
			senders[sink] = map[string]bool{}
		}
		senders[sink][subject] = true
	}
	for _, w := range wirings(t) {
		for _, s := range w.Sources {
			add(s.Sink, Subject(s.Namespace, "KafkaSource", s.Name))
			add(s.Sink, "system:serviceaccount:orders:operator")
		}
		for _, p := range w.Pings {
			add(p.Sink, Subject(p.Namespace, "PingSource", p.Name))
		}
		for _, s := range w.Services {
			if text := s.Env["SINK_SUBJECTS"]; text != "" {
				said[s.Name] = strings.Split(text, ", ")
			}
		}
	}
	want := map[string][]string{}
	for sink, subjects := range senders {
		for subject := range subjects {
			want[sink] = append(want[sink], subject)
		}
		slices.Sort(want[sink])
	}
	for _, subjects := range said {
		slices.Sort(subjects)
	}
	assert.Equal(t, want, said)
}

func TestLoadRefusesSendersThatAFunctionDoesNotExpect(t *testing.T) {
	const reserve, relay = "reserve-stock.yaml", "publish-outbox-inventory.yaml"
	const issuer = "            - name: SINK_ISSUER\n              value: https://issuer.example.com\n            - name: SINK_SUBJECTS"
	const checked = "            - name: SINK_AUDIENCE\n              value: orders\n" + issuer
	const subjects = "            - name: SINK_SUBJECTS"
	for name, broken := range map[string]struct{ file, old, replacement, says string }{
		"unknown source":              {reserve, "reserve-stock.order.created87ee2807a5ea44a42c72466565612658-oid", "reserve-stock", "SINK_SUBJECTS lacks system:serviceaccount:orders:reserve-stock.order.created87ee2807a5ea44a42c72466565612658-oid: add it, since that is who sends for KafkaSource reserve-stock.order.created"},
		"unknown ping":                {relay, "inventory-sweep3a5e843bb27f7748abf345716751da9d", "inventory", "who sends for PingSource publish-outbox-inventory-sweep"},
		"account of elsewhere":        {reserve, "system:serviceaccount:orders:operator", "system:serviceaccount:shop:operator", `SINK_SUBJECTS has "system:serviceaccount:shop:operator"`},
		"no account":                  {reserve, "system:serviceaccount:orders:operator", "operator", "give service accounts of the namespace, system:serviceaccount:orders:NAME"},
		"tokens of no audience":       {reserve, subjects, issuer, "SINK_AUDIENCE is missing"},
		"source of no audience":       {reserve, subjects, checked, `KafkaSource reserve-stock.order.created: sink.audience is "": give "orders", the SINK_AUDIENCE of reserve-stock`},
		"audience that nobody checks": {reserve, "  sink:\n", "  sink:\n    audience: orders\n", "reserve-stock checks no tokens"},
		"pokes of no token":           {relay, subjects, checked, "Service publish-outbox-inventory: SINK_TOKEN is missing"},
		"relay that refuses pokes":    {relay, subjects, "            - name: SINK_TOKEN\n              valueFrom:\n                secretKeyRef:\n                  name: orders-relay\n                  key: token\n" + subjects, "Service reserve-stock: OUTBOX_POKE_TOKEN is missing: give the SINK_TOKEN of publish-outbox-inventory"},
	} {
		t.Run(name, func(t *testing.T) {
			wiring, err := Load(edited(t, broken.file, broken.old, broken.replacement))
			assert.ErrorContains(t, err, broken.says)
			assert.Nil(t, wiring)
		})
	}
}
