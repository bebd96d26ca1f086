package servertest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/go-sql-driver/mysql"
)

// Session is a connection as the server sees it.
type Session struct {
	ID int64
	// Statement is the running statement, empty when idle.
	Statement string
}

// Sessions returns the sessions of the schema of db, without its own. Any goroutine may call it.
func Sessions(ctx context.Context, db *sql.DB) ([]Session, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return sessions(ctx, conn)
}

// Cut kills the wanted sessions of the schema of db, and returns their number. Any goroutine may call it.
func Cut(ctx context.Context, db *sql.DB, wanted func(Session) bool) (ended int, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	all, err := sessions(ctx, conn)
	if err != nil {
		return 0, err
	}
	const unknownSession = 1094
	for _, s := range all {
		if !wanted(s) {
			continue
		}
		_, err := conn.ExecContext(ctx, "KILL CONNECTION ?", s.ID)
		if refused := (*mysql.MySQLError)(nil); errors.As(err, &refused) && refused.Number == unknownSession {
			continue // it has ended by itself
		}
		if err != nil {
			return ended, fmt.Errorf("kill session %d: %w", s.ID, err)
		}
		ended++
	}
	return ended, nil
}

// sessions reads SHOW PROCESSLIST. The tables with sessions are unusable: innodb_trx is cached while it is queried often,
// and processlist fails on MySQL while any session runs a statement with binary data.
func sessions(ctx context.Context, conn *sql.Conn) (all []Session, err error) {
	var own int64
	var schema sql.NullString
	if err := conn.QueryRowContext(ctx, "SELECT CONNECTION_ID(), DATABASE()").Scan(&own, &schema); err != nil {
		return nil, err
	}
	rows, err := conn.QueryContext(ctx, "SHOW FULL PROCESSLIST")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		// Id, User, Host, db, Command, Time, State, Info, and on MariaDB one more.
		var id int64
		values := make([]sql.NullString, len(columns))
		into := []any{&id}
		for i := range values[1:] {
			into = append(into, &values[i+1])
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		if values[3] != schema || id == own {
			continue
		}
		s := Session{ID: id}
		if values[4].String == "Query" {
			s.Statement = values[7].String
		}
		all = append(all, s)
	}
	return all, rows.Err()
}
