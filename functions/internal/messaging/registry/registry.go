// Package registry puts the data of events into Avro and reads it again, by the schemas in a schema registry that has the API
// of Confluent's. The value of a record is in the wire format of that registry: a zero byte, the schema's id as four bytes,
// big-endian, and the data in Avro's binary encoding. Its content type is MediaType, and its attributes are those of the same
// event in JSON.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"example.com/orders/events/avro"
	"example.com/orders/functions/internal/observe/health"
	"example.com/orders/functions/internal/web/direct"
	"example.com/orders/functions/internal/web/secret"
)

// MediaType is the content type of data in the wire format. It is not avro/binary or application/avro: five bytes stand before
// the data, without which no reader of those would get along.
const MediaType = "application/vnd.confluent.avro"

// ErrNotConfigured means that the configuration names no registry.
var ErrNotConfigured = errors.New("SCHEMA_REGISTRY_URL is not set: give the schema registry as http://host:8081")

// failureKept is how long no other request is made after one to which the registry gave no answer.
const failureKept = 500 * time.Millisecond

// longest bounds a request of an operator; events wait no longer than health.Within.
const longest = 30 * time.Second

// Registry is a client of the schema registry. Many goroutines may use it. It makes one request at a time, since its users
// keep what they learn.
type Registry struct {
	client      *sr.Client
	address     string
	topicPrefix string

	mu     sync.Mutex
	failed time.Time // when the registry last gave no answer
	err    error     // that failure
}

// Open reads SCHEMA_REGISTRY_URL (several are separated by commas), SCHEMA_REGISTRY_USER, SCHEMA_REGISTRY_PASSWORD (or its file) and
// KAFKA_TOPIC_PREFIX, which is part of the subjects' names. It does not connect. It returns ErrNotConfigured without a URL.
func Open(config map[string]string) (*Registry, error) {
	text := config["SCHEMA_REGISTRY_URL"]
	if text == "" {
		return nil, ErrNotConfigured
	}
	urls := strings.Split(text, ",")
	for _, address := range urls {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			return nil, fmt.Errorf("SCHEMA_REGISTRY_URL is %q: give http://host:8081, and a login as SCHEMA_REGISTRY_USER and SCHEMA_REGISTRY_PASSWORD", redacted(address))
		}
	}
	user := config["SCHEMA_REGISTRY_USER"]
	password, err := secret.Read(config, "SCHEMA_REGISTRY_PASSWORD")
	if err != nil {
		return nil, err
	}
	if (user == "") != (password == "") {
		return nil, errors.New("only one of SCHEMA_REGISTRY_USER and SCHEMA_REGISTRY_PASSWORD is set: give both, or none")
	}
	options := []sr.ClientOpt{
		sr.URLs(urls...),
		sr.HTTPClient(&http.Client{Transport: secret.Masking{RoundTripper: direct.Transport(), User: user, Secret: password}, Timeout: longest}),
		sr.UserAgent("orders"),
	}
	if user != "" {
		options = append(options, sr.BasicAuth(user, password))
	}
	client, err := sr.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("schema registry at %s: %w", text, err)
	}
	return &Registry{client: client, address: text, topicPrefix: config["KAFKA_TOPIC_PREFIX"]}, nil
}

// redacted returns an address without the login in it.
func redacted(address string) string {
	if scheme, rest, found := strings.Cut(address, "://"); found {
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			return scheme + "://…@" + rest[at+1:]
		}
	}
	return address
}

// Subject returns the subject of a type's schemas: that of its topic, since a topic has the events of one type.
func (r *Registry) Subject(eventType string) string { return r.topicPrefix + eventType + "-value" }

// ErrAway means that the registry gave no answer, or one about itself: nothing is known about the schema.
var ErrAway = errors.New("the schema registry gives no answer")

// notFound are the codes by which a registry says that it has no such subject, version or schema.
var notFound = map[int]bool{
	sr.ErrSubjectNotFound.Code: true, sr.ErrVersionNotFound.Code: true, sr.ErrSchemaNotFound.Code: true,
	sr.ErrSubjectSoftDeleted.Code: true, sr.ErrSchemaVersionSoftDeleted.Code: true,
}

// errNotFound means that the registry has no such subject or schema. A bare 404 does not say so: it may come from a proxy.
var errNotFound = errors.New("the schema registry does not have it")

// ask makes a request, and tells whether its failure is about what was asked for, or about the registry. After a failure of
// the registry others fail at once for a while, so that a batch does not wait for each of its events.
func (r *Registry) ask(ctx context.Context, request func(context.Context) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.failed) < failureKept {
		return r.err
	}
	ctx, cancel := context.WithTimeout(ctx, health.Within)
	defer cancel()
	err := request(ctx)
	var answer *sr.ResponseError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer) && notFound[answer.ErrorCode]:
		return fmt.Errorf("%w: %w", errNotFound, err)
	case errors.As(err, &answer):
		err = fmt.Errorf("%w: %s answers %d: %.200s", ErrAway, r.address, answer.StatusCode, answer.Error())
	default:
		err = fmt.Errorf("%w: %w", ErrAway, err)
	}
	r.failed, r.err = time.Now(), err
	return err
}

// schemaOf returns a schema in the form of the client.
func schemaOf(s avro.Schema) sr.Schema { return sr.Schema{Schema: s.Text, Type: sr.TypeAvro} }
