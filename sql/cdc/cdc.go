// Package cdc prepares outboxes for change data capture by Debezium, which reads them in the binary log of MySQL.
package cdc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"example.com/orders/sql/schema"
)

// column is a generated column of an outbox. It is virtual: the table does not store it, and the binary log has it.
type column struct{ name, expression string }

// columns has one column for each header of an event's record, which a router of Kafka Connect can only take from columns,
// and ce_route. Headers of all events have their own columns already: the type, and the id of the aggregate, which is
// ce_subject, ce_partitionkey and the key. They are text, since a generated value that is too long would fail the insert.
var columns = []column{
	{"ce_id", attribute("$.id")},
	{"ce_source", attribute("$.source")},
	{"ce_specversion", "'1.0'"},
	{"ce_time", attribute("$.time")},
	{"ce_datacontenttype", attribute("$.datacontenttype")},
	{"ce_dataschema", attribute("$.dataschema")},
	{"ce_correlationid", attribute("$.extensions.correlationid")},
	{"ce_causationid", attribute("$.extensions.causationid")},
	{"ce_traceparent", attribute("$.extensions.traceparent")},
	{"ce_tracestate", attribute("$.extensions.tracestate")},
	{"ce_route", route},
}

func attribute(path string) string {
	return "JSON_UNQUOTE(JSON_EXTRACT(headers, '" + path + "'))"
}

// route is - for an event that the columns cannot express: with an extension of its own, with another subject or key than its
// aggregate, with a time that is not in UTC, or without data.
const route = `CASE WHEN NOT JSON_CONTAINS_PATH(headers, 'all', '$.id', '$.source', '$.subject', '$.time', '$.datacontenttype', '$.extensions.partitionkey')
    OR JSON_UNQUOTE(JSON_EXTRACT(headers, '$.subject')) <> aggregate_id
    OR JSON_UNQUOTE(JSON_EXTRACT(headers, '$.extensions.partitionkey')) <> aggregate_id
    OR JSON_LENGTH(headers, '$.extensions') <> 1 + (ce_correlationid IS NOT NULL) + (ce_causationid IS NOT NULL) + (ce_traceparent IS NOT NULL) + (ce_tracestate IS NOT NULL)
    OR ce_time NOT LIKE '%Z' OR payload = ''
  THEN '-'
  ELSE CONCAT(type, '~',
    IF(ce_dataschema IS NULL, 'dataschema~', ''), IF(ce_correlationid IS NULL, 'correlationid~', ''), IF(ce_causationid IS NULL, 'causationid~', ''),
    IF(ce_traceparent IS NULL, 'traceparent~', ''), IF(ce_tracestate IS NULL, 'tracestate~', ''))
  END`

// ErrNoBinlog means that the server keeps no binary log from which rows can be captured.
var ErrNoBinlog = errors.New("the server keeps no binary log of whole rows")

// Check returns ErrNoBinlog unless the server logs whole rows.
func Check(ctx context.Context, db *sql.DB) error {
	var on bool
	var format, image string
	if err := db.QueryRowContext(ctx, "SELECT @@log_bin, @@binlog_format, @@binlog_row_image").Scan(&on, &format, &image); err != nil {
		return fmt.Errorf("read how the server logs: %w", err)
	}
	if !on || format != "ROW" || image != "FULL" {
		return fmt.Errorf("%w: log_bin is %t, binlog_format %s, binlog_row_image %s: start it with log_bin, ROW and FULL, which are the defaults of MySQL", ErrNoBinlog, on, format, image)
	}
	return nil
}

// Missing lists the columns that the outbox of db lacks.
func Missing(ctx context.Context, db *sql.DB) (missing []string, err error) {
	there, err := existing(ctx, db)
	for _, c := range columns {
		if !there[c.name] {
			missing = append(missing, c.name)
		}
	}
	return missing, err
}

func existing(ctx context.Context, db *sql.DB) (map[string]bool, error) {
	rows, err := db.QueryContext(ctx, "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'outbox'")
	if err != nil {
		return nil, fmt.Errorf("list the columns of the outbox: %w", err)
	}
	defer rows.Close()
	there := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("list the columns of the outbox: %w", err)
		}
		there[name] = true
	}
	return there, rows.Err()
}

// AddColumns adds the missing columns to the outbox of db, while functions and relays use it: no row is written.
func AddColumns(ctx context.Context, db *sql.DB) (added int, err error) {
	there, err := existing(ctx, db)
	if err != nil {
		return 0, err
	}
	var parts []string
	for _, c := range columns {
		if !there[c.name] {
			parts = append(parts, "ADD COLUMN "+c.name+" TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin GENERATED ALWAYS AS ("+c.expression+") VIRTUAL")
		}
	}
	return len(parts), alter(ctx, db, parts)
}

// RemoveColumns removes the columns again. No connector may read the outbox any more.
func RemoveColumns(ctx context.Context, db *sql.DB) (removed int, err error) {
	there, err := existing(ctx, db)
	if err != nil {
		return 0, err
	}
	var parts []string
	for i := len(columns) - 1; i >= 0; i-- { // ce_route depends on the others
		if there[columns[i].name] {
			parts = append(parts, "DROP COLUMN "+columns[i].name)
		}
	}
	return len(parts), alter(ctx, db, parts)
}

func alter(ctx context.Context, db *sql.DB, parts []string) error {
	if len(parts) == 0 {
		return nil
	}
	if _, err := db.ExecContext(ctx, "ALTER TABLE outbox "+strings.Join(parts, ", ")+", ALGORITHM=INSTANT"); err != nil {
		return fmt.Errorf("change the columns of the outbox: %w", err)
	}
	return nil
}

// Statements returns the statements that create the user of the connectors, or give an existing one the password, with no
// rights but those that they need: to follow the binary log, and to read the structure of the outboxes.
func Statements(server schema.Server, user, password string, schemas []string) []string {
	name := schema.Quoted(user) + "@'%'"
	all := []string{
		"CREATE USER IF NOT EXISTS " + name,
		"ALTER USER " + name + " IDENTIFIED BY " + schema.Quoted(password),
		"GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO " + name,
	}
	for _, s := range schemas {
		all = append(all, "GRANT SELECT ON `"+server.Prefix+s+"`.outbox TO "+name)
	}
	return all
}

// Grant executes Statements, for which the user of admin needs the right to create users and to grant these rights.
func Grant(ctx context.Context, admin *sql.DB, server schema.Server, user, password string, schemas []string) error {
	for _, statement := range Statements(server, user, password, schemas) {
		if _, err := admin.ExecContext(ctx, statement); err != nil {
			var refused *mysql.MySQLError
			if errors.As(err, &refused) { // the statement may hold the password
				return fmt.Errorf("create the user %s of the connectors: error %d: %s", user, refused.Number, refused.Message)
			}
			return fmt.Errorf("create the user %s of the connectors: %w", user, err)
		}
	}
	return nil
}
