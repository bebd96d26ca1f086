package bench

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// database reads the state of the stack's servers.
type database struct {
	servers []server
	prefix  string

	outboxes []string // the schemas with an outbox
}

// server is one of the stack's servers.
type server struct {
	db      *sql.DB // without a schema
	schemas []string
}

// openDatabase connects to the servers of a stack.
func openDatabase(target Target) (database, error) {
	d := database{prefix: target.Server.Prefix, outboxes: target.Outboxes}
	parts, err := target.Server.Parts()
	if err != nil {
		return d, err
	}
	for _, part := range parts {
		db, err := part.Open("", 2)
		if err != nil {
			return d, errors.Join(err, d.close())
		}
		d.servers = append(d.servers, server{db, part.Schemas})
	}
	return d, nil
}

func (d database) close() error {
	var errs []error
	for _, s := range d.servers {
		errs = append(errs, s.db.Close())
	}
	return errors.Join(errs...)
}

// of returns the pool of the server that has a schema.
func (d database) of(name string) *sql.DB {
	for _, s := range d.servers {
		if slices.Contains(s.schemas, name) {
			return s.db
		}
	}
	return d.servers[0].db // each schema is on one: see schema.Server.Parts
}

// describe returns the configuration of the stack.
func (d database) describe(ctx context.Context, target Target) (Stack, error) {
	s := Stack{API: strings.Join(target.APIs, ","), Members: len(target.APIs), Brokers: target.Brokers, MaxConns: target.MaxConns, Started: target.Started}
	for _, p := range target.Processes {
		if p.Function != "" {
			s.Functions++
		}
	}
	var versions []string
	for i, one := range d.servers {
		version, flush, sync, binlog, err := one.settings(ctx)
		if err != nil {
			return s, err
		}
		if i > 0 && (flush != s.Flush || sync != s.SyncBinlog || binlog != s.Binlog) {
			return s, fmt.Errorf("the database servers of %s and of %s differ in innodb_flush_log_at_trx_commit, sync_binlog or log_bin: set them alike, so that the report can say what was measured",
				strings.Join(d.servers[0].schemas, ", "), strings.Join(one.schemas, ", "))
		}
		s.Flush, s.SyncBinlog, s.Binlog = flush, sync, binlog
		if !slices.Contains(versions, version) {
			versions = append(versions, version)
		}
	}
	s.Database = strings.Join(versions, " and ")
	if len(d.servers) > 1 {
		s.Database = fmt.Sprintf("%d servers, %s", len(d.servers), s.Database)
	}
	return s, nil
}

// settings returns the version of a server, and how durable its commits are.
func (s server) settings(ctx context.Context) (version string, flush, sync int, binlog bool, err error) {
	var comment string
	err = s.db.QueryRowContext(ctx, "SELECT VERSION(), @@version_comment, @@innodb_flush_log_at_trx_commit, @@sync_binlog, @@log_bin").
		Scan(&version, &comment, &flush, &sync, &binlog)
	if err != nil {
		return "", 0, 0, false, fmt.Errorf("ask the database server of %s for its version: %w", strings.Join(s.schemas, ", "), err)
	}
	return version + " (" + comment + ")", flush, sync, binlog, nil
}

// counted are the counters of a server that MySQL and MariaDB share. They include all its clients.
var counted = []string{
	"Questions", "Com_begin", "Com_commit", "Com_rollback", "Com_set_option", "Com_select", "Com_insert", "Com_update", "Com_delete",
	"Handler_commit", "Handler_write", "Handler_update", "Handler_delete", "Innodb_rows_inserted", "Innodb_rows_updated", "Innodb_rows_read", "Innodb_data_fsyncs",
	"Innodb_os_log_written", "Bytes_received", "Bytes_sent",
}

// counters has the counters of the servers, added up, and their statistics of each statement.
type counters struct {
	status     map[string]float64
	statements map[string]Statement
}

func (d database) counters(ctx context.Context) (counters, error) {
	c := counters{status: map[string]float64{}, statements: map[string]Statement{}}
	for _, one := range d.servers {
		if err := one.status(ctx, c.status); err != nil {
			return c, fmt.Errorf("read the counters of the database server: %w", err)
		}
		if err := one.statements(ctx, d.prefix, c.statements); err != nil {
			return c, err
		}
	}
	return c, nil
}

// status adds the counters of a server.
func (s server) status(ctx context.Context, into map[string]float64) (err error) {
	rows, err := s.db.QueryContext(ctx, "SHOW GLOBAL STATUS")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return err
		}
		if value, err := strconv.ParseFloat(text, 64); err == nil && slices.Contains(counted, name) {
			into[name] += value
		}
	}
	return rows.Err()
}

// denied is the number of the error of a user without the right to read a table.
const denied = 1142

// statements reads how often each statement ran in the server's schemas and how long it took. It returns nothing if the
// performance schema is off, which is MariaDB's default, or the user may not read it.
func (s server) statements(ctx context.Context, prefix string, into map[string]Statement) (err error) {
	names := make([]any, len(s.schemas))
	for i, name := range s.schemas {
		names[i] = prefix + name
	}
	//nolint:gosec // only placeholders are added
	rows, err := s.db.QueryContext(ctx, `SELECT SCHEMA_NAME, DIGEST, DIGEST_TEXT, COUNT_STAR, SUM_TIMER_WAIT / 1e9
		FROM performance_schema.events_statements_summary_by_digest
		WHERE DIGEST IS NOT NULL AND SCHEMA_NAME IN (?`+strings.Repeat(", ?", len(names)-1)+`)`, names...)
	if refused := (*mysql.MySQLError)(nil); errors.As(err, &refused) && refused.Number == denied {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the statements that the database server has run: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name, digest string
		var one Statement
		if err := rows.Scan(&name, &digest, &one.Text, &one.Count, &one.Millis); err != nil {
			return fmt.Errorf("read the statements that the database server has run: %w", err)
		}
		one.Schema = strings.TrimPrefix(name, prefix)
		into[name+digest] = one
	}
	return rows.Err()
}

// perOrder divides the difference between two readings by a number of orders.
func perOrder(before, after counters, orders int) PerOrder {
	p := PerOrder{Status: map[string]float64{}}
	if orders == 0 {
		return p
	}
	n := float64(orders)
	for name, value := range after.status {
		p.Status[name] = (value - before.status[name]) / n
	}
	for key, s := range after.statements {
		s.Count -= before.statements[key].Count
		s.Millis -= before.statements[key].Millis
		if s.Count > 0 {
			s.Count, s.Millis = s.Count/n, s.Millis/n
			p.Statements = append(p.Statements, s)
		}
	}
	slices.SortFunc(p.Statements, func(a, b Statement) int { return cmp.Compare(b.Millis, a.Millis) })
	return p
}

// marks returns the last row of each outbox before the load.
func (d database) marks(ctx context.Context) (map[string]int64, error) {
	marks := map[string]int64{}
	for _, name := range d.outboxes {
		var last int64
		if err := d.of(name).QueryRowContext(ctx, "SELECT COALESCE(MAX(id), 0) FROM `"+d.prefix+name+"`.outbox").Scan(&last); err != nil {
			return nil, fmt.Errorf("find the end of the outbox of %s (is MYSQL_SCHEMA_PREFIX the stack's?): %w", d.prefix+name, err)
		}
		marks[name] = last
	}
	return marks, nil
}

// outbox returns the time from storing to the broker's acknowledgement of the rows after the marks. The time of storing is
// before the commit, so it includes the commit. Rows that are not marked after marksWithin are left out.
func (d database) outbox(ctx context.Context, marks map[string]int64) (Latency, error) {
	times := newHistogram()
	for _, name := range d.outboxes {
		if err := awaitMarks(ctx, d.of(name), "`"+d.prefix+name+"`.outbox WHERE id > ?", marks[name]); err != nil {
			return Latency{}, fmt.Errorf("the outbox of %s: %w", name, err)
		}
		if err := d.addOutbox(ctx, times, name, marks[name]); err != nil {
			return Latency{}, fmt.Errorf("read how long the outbox of %s took: %w", name, err)
		}
	}
	return times.latency(), nil
}

// marksWithin bounds the wait for the marks of published rows: a dead relay leaves rows for the next sweep.
const marksWithin = 10 * time.Second

// awaitMarks returns once none of some rows of an outbox is new, or after marksWithin. Which rows says SQL from the table's name on.
func awaitMarks(ctx context.Context, db *sql.DB, which string, args ...any) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(marksWithin); time.Now().Before(end); <-tick.C {
		var unmarked bool
		if err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+which+" AND status = 'NEW')", args...).Scan(&unmarked); err != nil {
			return fmt.Errorf("wait for the marks of published rows: %w", err)
		}
		if !unmarked {
			return nil
		}
	}
	return nil
}

func (d database) addOutbox(ctx context.Context, times histogram, name string, after int64) (err error) {
	rows, err := d.of(name).QueryContext(ctx, "SELECT TIMESTAMPDIFF(MICROSECOND, created_at, sent_at) FROM `"+d.prefix+name+"`.outbox WHERE id > ? AND status = 'SENT'", after)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var micros int64
		if err := rows.Scan(&micros); err != nil {
			return err
		}
		times.add(time.Duration(micros) * time.Microsecond)
	}
	return rows.Err()
}
