package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"

	"example.com/orders/events"
	"example.com/orders/events/avro"
)

// State is what the registry has of a schema of this program.
type State struct {
	File    string `json:"file"`
	Subject string `json:"subject"`
	// ID is the schema's id, and Version its number under the subject; both are 0 while it is not registered.
	ID      int `json:"id,omitempty"`
	Version int `json:"version,omitempty"`
	// Refused is whether the registry would not take it, as far as it was asked; Problems says why not.
	Refused  bool     `json:"refused,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

// ErrIncompatible means that the registry refuses a schema.
var ErrIncompatible = errors.New("the schema registry refuses a schema")

// Register registers the schemas of all versions of all facts, each unless it is there, and sets the compatibility of each
// subject to BACKWARD_TRANSITIVE: whoever reads with a schema can read all that was written with the ones before it. It stops
// at the first error; ErrIncompatible says that the registry refuses a schema.
func (r *Registry) Register(ctx context.Context) (all []State, err error) {
	for _, schema := range avro.Schemas() {
		s := r.state(schema)
		if s.ID, err = r.client.RegisterSchema(ctx, s.Subject, schemaOf(schema), -1, -1); err != nil {
			return all, refused(s, err)
		}
		set := r.client.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatBackwardTransitive}, s.Subject)
		if err := set[0].Err; err != nil {
			return all, fmt.Errorf("set the compatibility of %s: %w", s.Subject, err)
		}
		if s, err = r.lookup(ctx, schema); err != nil {
			return all, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Unregister deletes the subjects of all facts for good: nothing that was written with their schemas can be read any more.
func (r *Registry) Unregister(ctx context.Context) error {
	var errs []error
	for _, eventType := range events.Types() {
		subject := r.Subject(eventType)
		for _, how := range []sr.DeleteHow{sr.SoftDelete, sr.HardDelete} {
			if _, err := r.client.DeleteSubject(ctx, subject, how); err != nil && !isNotFound(err) {
				errs = append(errs, fmt.Errorf("delete the subject %s: %w", subject, err))
			}
		}
	}
	return errors.Join(errs...)
}

// refused returns the error of a registration.
func refused(s State, err error) error {
	var answer *sr.ResponseError
	if errors.As(err, &answer) && (answer.StatusCode == http.StatusConflict || answer.StatusCode == http.StatusUnprocessableEntity) {
		return fmt.Errorf("%w: %s under %s: %w", ErrIncompatible, s.File, s.Subject, err)
	}
	return fmt.Errorf("register %s under %s: %w", s.File, s.Subject, err)
}

// List returns what the registry has of each schema.
func (r *Registry) List(ctx context.Context) (all []State, err error) {
	for _, schema := range avro.Schemas() {
		s, err := r.lookup(ctx, schema)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Check returns whether the registry would take each schema, and registers nothing.
func (r *Registry) Check(ctx context.Context) (all []State, err error) {
	for _, schema := range avro.Schemas() {
		s, err := r.lookup(ctx, schema)
		if err != nil {
			return nil, err
		}
		if s.ID == 0 {
			result, err := r.client.CheckCompatibility(sr.WithParams(ctx, sr.Verbose), s.Subject, everyVersion, schemaOf(schema))
			switch {
			case isNotFound(err): // it would be the first of its subject
			case err != nil:
				return nil, fmt.Errorf("check %s under %s: %w", s.File, s.Subject, err)
			default:
				s.Refused, s.Problems = !result.Is, result.Messages
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// everyVersion makes a check against all versions of the subject.
const everyVersion = -2

func (r *Registry) state(schema avro.Schema) State {
	return State{File: avro.File(schema.Contract), Subject: r.Subject(schema.Type)}
}

func (r *Registry) lookup(ctx context.Context, schema avro.Schema) (State, error) {
	s := r.state(schema)
	found, err := r.client.LookupSchema(ctx, s.Subject, schemaOf(schema))
	switch {
	case isNotFound(err):
		return s, nil
	case err != nil:
		return s, fmt.Errorf("look for %s under %s: %w", s.File, s.Subject, err)
	}
	s.ID, s.Version = found.ID, found.Version
	return s, nil
}

func isNotFound(err error) bool {
	var answer *sr.ResponseError
	return errors.As(err, &answer) && notFound[answer.ErrorCode]
}

// String returns the state as a line for an operator.
func (s State) String() string {
	switch {
	case s.ID > 0:
		return fmt.Sprintf("%s: version %d of %s, id %d", s.File, s.Version, s.Subject, s.ID)
	case s.Refused:
		return fmt.Sprintf("%s: refused under %s: %s", s.File, s.Subject, strings.Join(s.Problems, "; "))
	default:
		return fmt.Sprintf("%s: not registered under %s", s.File, s.Subject)
	}
}
