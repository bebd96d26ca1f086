// Package migrate creates the schemas of a server and applies their migrations.
package migrate

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"example.com/orders/sql/bulk"
	"example.com/orders/sql/inventory"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/notifications"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/payments"
	"example.com/orders/sql/schema"
)

// Applied is a migration that Up has run.
type Applied struct {
	Schema  string
	Version int64
	Name    string
}

// set is a list of migrations with its own version table. The tables that several schemas share are a set that is applied to
// each of them.
type set struct {
	table string
	files embed.FS
}

func sets(name string) []set {
	own := map[string]embed.FS{
		schema.Orders:        orders.Migrations,
		schema.Inventory:     inventory.Migrations,
		schema.Payments:      payments.Migrations,
		schema.Notifications: notifications.Migrations,
		schema.Operations:    operations.Migrations,
	}
	all := []set{{goose.DefaultTablename, own[name]}}
	if slices.Contains(schema.WithOutbox, name) {
		all = append([]set{{"goose_messaging_version", messaging.Migrations}}, all...)
	}
	return all
}

// MySQL commits each statement of a migration separately. Every statement can be repeated (CREATE TABLE IF NOT EXISTS, ON
// DUPLICATE KEY UPDATE, MODIFY), so that the next Up continues a migration whose process was killed. A migration that adds a
// column or a key is that one statement: see isThere.

// Up creates missing schemas and applies pending migrations, schema by schema, on each of the servers. Of two concurrent calls
// one does the work: the other waits for it at a named lock of the server, within ctx.
func Up(ctx context.Context, server schema.Server) (applied []Applied, err error) {
	parts, err := server.Parts()
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		done, err := upPart(ctx, part)
		applied = append(applied, done...)
		if err != nil {
			return applied, err
		}
	}
	return applied, nil
}

func upPart(ctx context.Context, server schema.Part) (applied []Applied, err error) {
	admin, err := server.Open("", 1)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	lock, err := admin.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the database server of %s: %w", server.From(), err)
	}
	defer lock.Close()
	unlock, err := Lock(ctx, lock, server.Prefix+"orders.migrate")
	if err != nil {
		return nil, err
	}
	defer unlock()

	for _, name := range server.Schemas {
		if err := Create(ctx, lock, server.Prefix+name); err != nil {
			return applied, err
		}
		done, err := up(ctx, server.Server, name)
		applied = append(applied, done...)
		if err != nil {
			return applied, fmt.Errorf("migrate schema %s: %w", server.Prefix+name, err)
		}
	}
	return applied, nil
}

// Create creates a schema without tables, unless it exists. Its name is one of schema.All after the prefix of a server, which is
// checked, so back-ticks are enough quoting.
func Create(ctx context.Context, db bulk.Execer, name string) error {
	if _, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS `"+name+"` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"); err != nil {
		return fmt.Errorf("create schema %s: %w", name, err)
	}
	return nil
}

// Lock takes a named lock of the server on a connection, within ctx; it ends with the connection.
func Lock(ctx context.Context, conn *sql.Conn, name string) (release func(), err error) {
	for {
		// In steps of two seconds, to notice the end of ctx.
		var got sql.NullInt64
		if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, 2)", name).Scan(&got); err != nil {
			return nil, fmt.Errorf("wait for another migration to end: %w", err)
		}
		if got.Int64 == 1 {
			break
		}
	}
	return func() {
		// Best effort: closing the connection releases the lock, too.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "DO RELEASE_LOCK(?)", name)
	}, nil
}

func up(ctx context.Context, server schema.Server, name string) ([]Applied, error) {
	db, err := server.Open(name, 2)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var applied []Applied
	for _, s := range sets(name) {
		files, err := fs.Sub(s.files, "migrations")
		if err != nil {
			return applied, err
		}
		store, err := database.NewStore(database.DialectMySQL, s.table)
		if err != nil {
			return applied, err
		}
		provider, err := goose.NewProvider("", db, files, goose.WithStore(store))
		if err != nil {
			return applied, err
		}
		if err := resume(ctx, db, store); err != nil {
			return applied, err
		}
		for {
			done, err := provider.Up(ctx)
			partial, failed := errors.AsType[*goose.PartialError](err)
			if failed {
				done = partial.Applied
			}
			there := failed && isThere(partial.Err)
			if there {
				done = append(done, partial.Failed)
				err = store.Insert(ctx, db, database.InsertRequest{Version: partial.Failed.Source.Version})
			}
			for _, r := range done {
				applied = append(applied, Applied{Schema: name, Version: r.Source.Version, Name: r.Source.Path})
			}
			if err != nil {
				return applied, err
			}
			if !there {
				break
			}
		}
	}
	return applied, nil
}

// isThere returns whether a migration failed because the column or the key that it adds exists: a process was killed after the
// statement and before its record. The server does all of an ALTER TABLE or nothing, and it is the migration's only statement, so
// that the migration is done.
func isThere(err error) bool {
	refused, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && (refused.Number == duplicateColumn || refused.Number == duplicateKey)
}

// The server's ER_DUP_FIELDNAME and ER_DUP_KEYNAME.
const (
	duplicateColumn = 1060
	duplicateKey    = 1061
)

// resume inserts the first row of the version table if a process was killed after creating the table and before that row.
func resume(ctx context.Context, db *sql.DB, store database.Store) error {
	if _, err := store.GetLatestVersion(ctx, db); !errors.Is(err, database.ErrVersionNotFound) {
		return nil // there is a version; or no table or no server, which goose will report
	}
	if err := store.Insert(ctx, db, database.InsertRequest{Version: 0}); err != nil {
		return fmt.Errorf("begin the table of versions %s: %w", store.Tablename(), err)
	}
	return nil
}
