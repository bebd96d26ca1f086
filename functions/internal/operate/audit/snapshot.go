package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"example.com/orders/sql/schema"
)

// snapshot reads all schemas at one moment.
type snapshot struct {
	conn   *sql.Conn
	server schema.Server
	pool   *sql.DB
}

// take begins a transaction that reads the state of this moment. It uses one connection: the queries name no schema, and use
// selects it.
func take(ctx context.Context, server schema.Server) (*snapshot, error) {
	pool, err := server.Open("", 1)
	if err != nil {
		return nil, err
	}
	s := &snapshot{server: server, pool: pool}
	if s.conn, err = pool.Conn(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the database server: %w", err), pool.Close())
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

// use selects the schema of the following queries.
func (s *snapshot) use(ctx context.Context, name string) error {
	// The name is one of schema.All after a prefix that Config has checked.
	if _, err := s.conn.ExecContext(ctx, "USE `"+s.server.Prefix+name+"`"); err != nil {
		return fmt.Errorf("read schema %s: %w", s.server.Prefix+name, err)
	}
	return nil
}

// end closes the connection and with it the transaction, even if ctx has ended.
func (s *snapshot) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, _ = s.conn.ExecContext(ctx, "ROLLBACK") // closing the connection does it, too
	return errors.Join(s.conn.Close(), s.pool.Close())
}
