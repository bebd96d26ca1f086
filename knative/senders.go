package knative

import (
	"crypto/md5" //nolint:gosec // Knative names objects by it; nothing is kept secret with it
	"encoding/hex"
	"slices"
	"strings"
)

// Subjects are the names of the service accounts in whose name a token says who has sent an event.
const (
	subjectPrefix = "system:serviceaccount:"
	// longestName is that of an object's name that is also a label, and longestParent what Knative keeps of its owner's.
	longestName, longestParent = 63, 63 - 2*md5.Size
)

// Subject returns the subject of the tokens that Knative sends for a source: its service account, which Knative creates and
// names after the source. kind is KafkaSource or PingSource.
func Subject(namespace, kind, source string) string {
	return subjectPrefix + namespace + ":" + account(source, "-oidc-sources.knative.dev-"+kind)
}

// account names the service account of an owner as Knative does (kmeta.ChildName): a name that would be too long ends in a
// hash of the whole instead, and in as much of the suffix as fits. The suffixes here are longer than what that rule would leave
// to the owner's name.
func account(owner, suffix string) string {
	if len(owner)+len(suffix) <= longestName {
		return strings.ToLower(owner + suffix)
	}
	hash := md5.Sum([]byte(owner + suffix)) //nolint:gosec // as above
	name := owner[:min(len(owner), longestParent)] + hex.EncodeToString(hash[:])
	name += suffix[:min(len(suffix), longestName-len(name))]
	return strings.ToLower(strings.TrimRight(name, "-."))
}

// sender is what posts events to a Service.
type sender struct {
	header
	sink destination
}

// senders checks that each function names the senders of its events in SINK_SUBJECTS, and that tokens are sent if, and only
// if, they are checked.
func (c *checker) senders(b *base) {
	var all []sender
	for _, m := range b.sources {
		all = append(all, sender{m.header, m.Spec.Sink})
	}
	for _, m := range b.pings {
		all = append(all, sender{m.header, m.Spec.Sink})
	}
	headers := map[string]header{}
	for _, m := range b.services {
		headers[m.Metadata.Name] = m.header
	}
	for _, s := range c.wiring.Services {
		allowed := strings.FieldsFunc(s.Env["SINK_SUBJECTS"], func(r rune) bool { return r == ',' || r == ' ' })
		for _, subject := range allowed {
			c.require(strings.HasPrefix(subject, subjectPrefix+b.namespace+":"), headers[s.Name],
				"SINK_SUBJECTS has %q: give service accounts of the namespace, %s%s:NAME", subject, subjectPrefix, b.namespace)
		}
		for _, each := range all {
			if each.sink.Ref.Name == s.Name {
				subject := Subject(b.namespace, each.Kind, each.Metadata.Name)
				c.require(slices.Contains(allowed, subject), headers[s.Name],
					"SINK_SUBJECTS lacks %s: add it, since that is who sends for %s %s", subject, each.Kind, each.Metadata.Name)
				c.audience(s, headers[s.Name], each)
			}
		}
	}
	c.pokeTokens(headers)
}

// audience checks that a sender and its function agree on whether there are tokens.
func (c *checker) audience(s Service, h header, from sender) {
	want, checks := s.Env["SINK_AUDIENCE"], s.Env["SINK_ISSUER"] != ""
	if checks {
		c.require(want != "", h, "SINK_AUDIENCE is missing: SINK_ISSUER has tokens checked, which are for an audience")
	}
	switch has := from.sink.Audience; {
	case checks:
		c.require(has == want, from.header, "sink.audience is %q: give %q, the SINK_AUDIENCE of %s, or its events are refused", has, want, s.Name)
	default:
		c.require(has == "", from.header, "sink.audience is %q, and %s checks no tokens: set its SINK_ISSUER and SINK_AUDIENCE, or leave the audience out", has, s.Name)
	}
}

// pokeTokens checks that a relay that asks for tokens is poked with one.
func (c *checker) pokeTokens(headers map[string]header) {
	has := func(s Service, name string) bool { return s.Env[name] != "" || slices.Contains(s.Needs, name) }
	asks := map[string]bool{}
	for _, relay := range c.wiring.Services {
		asks[relay.Name] = has(relay, "SINK_ISSUER") || has(relay, "SINK_TOKEN")
		c.require(relay.Outbox() == "" || !has(relay, "SINK_ISSUER") || has(relay, "SINK_TOKEN"), headers[relay.Name],
			"SINK_TOKEN is missing: pokes come from functions, for which Knative sends no tokens")
	}
	for _, s := range c.wiring.Services {
		relay, _, _ := strings.Cut(strings.TrimPrefix(s.Env["OUTBOX_POKE_URL"], "http://"), ".")
		c.require(!asks[relay] || has(s, "OUTBOX_POKE_TOKEN") || has(s, "SINK_TOKEN"), headers[s.Name],
			"OUTBOX_POKE_TOKEN is missing: give the SINK_TOKEN of %s, or it refuses the pokes", relay)
	}
}
