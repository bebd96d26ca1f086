package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/orders/sql/schema"
)

// snapshot reads all schemas: at one moment if they share a server, else each server at a moment of its own. The server with
// the schema orders is the last, so that it has every order that the others know.
type snapshot struct {
	sessions []*session
}

// session reads the schemas of a server at one moment.
type session struct {
	schema.Part

	conn *sql.Conn
	pool *sql.DB
}

// take begins a transaction on each server that reads the state of this moment.
func take(ctx context.Context, server schema.Server) (*snapshot, error) {
	parts, err := server.Parts()
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(parts, func(p schema.Part) bool { return slices.Contains(p.Schemas, schema.Orders) })
	parts = append(slices.Delete(slices.Clone(parts), at, at+1), parts[at])
	s := &snapshot{}
	for _, part := range parts {
		one, err := begin(ctx, part)
		if err != nil {
			return nil, errors.Join(err, s.end(ctx))
		}
		s.sessions = append(s.sessions, one)
	}
	return s, nil
}

// begin uses one connection: the queries name no schema, and use selects it.
func begin(ctx context.Context, part schema.Part) (*session, error) {
	pool, err := part.Open("", 1)
	if err != nil {
		return nil, err
	}
	s := &session{Part: part, pool: pool}
	if s.conn, err = pool.Conn(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the database server of %s: %w", part.From(), err), pool.Close())
	}
	for _, statement := range []string{
		"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
		"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
	} {
		if _, err := s.conn.ExecContext(ctx, statement); err != nil {
			return nil, errors.Join(fmt.Errorf("take a snapshot: %w", err), s.end(ctx))
		}
	}
	return s, nil
}

// whole returns whether all schemas are read at the same moment.
func (s *snapshot) whole() bool { return len(s.sessions) == 1 }

// use returns the connection for queries of a schema, until the next use.
func (s *snapshot) use(ctx context.Context, name string) (*sql.Conn, error) {
	for _, one := range s.sessions {
		if !s.whole() && !slices.Contains(one.Schemas, name) { // one server also has the schemas that only a wiring knows
			continue
		}
		// The name is one of schema.All after a prefix that Config has checked.
		if _, err := one.conn.ExecContext(ctx, "USE `"+one.Prefix+name+"`"); err != nil {
			return nil, fmt.Errorf("read schema %s: %w", one.Prefix+name, err)
		}
		return one.conn, nil
	}
	return nil, fmt.Errorf("the schema %s is none of %v, which servers have", name, schema.All)
}

// end closes the connections and with them the transactions, even if ctx has ended.
func (s *snapshot) end(ctx context.Context) error {
	var errs []error
	for _, one := range s.sessions {
		errs = append(errs, one.end(ctx))
	}
	return errors.Join(errs...)
}

func (s *session) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, _ = s.conn.ExecContext(ctx, "ROLLBACK") // closing the connection does it, too
	return errors.Join(s.conn.Close(), s.pool.Close())
}
