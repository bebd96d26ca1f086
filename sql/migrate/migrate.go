// Package migrate brings the schemas of a server to their newest version. What goes in is the server; what comes out
// is what was applied.
package migrate

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"example.com/orders/sql/inventory"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/notifications"
	"example.com/orders/sql/operations"
	"example.com/orders/sql/orders"
	"example.com/orders/sql/schema"
)

// Applied is a migration that was run.
type Applied struct {
	Schema  string
	Version int64
	Name    string
}

// a set is a list of migrations with a version table of its own. The tables that several schemas have alike are a
// set that is applied to each of them.
type set struct {
	table string
	files embed.FS
}

func sets(name string) []set {
	own := map[string]embed.FS{
		schema.Orders:        orders.Migrations,
		schema.Inventory:     inventory.Migrations,
		schema.Notifications: notifications.Migrations,
		schema.Operations:    operations.Migrations,
	}
	all := []set{{goose.DefaultTablename, own[name]}}
	if slices.Contains(schema.WithOutbox, name) {
		all = append([]set{{"goose_messaging_version", messaging.Migrations}}, all...)
	}
	return all
}

// MySQL commits each statement of a migration by itself. So that one whose program was killed goes on at the next Up,
// every statement of a migration can be run again: CREATE TABLE IF NOT EXISTS, ON DUPLICATE KEY UPDATE, MODIFY.

// Up creates what is missing and applies, schema by schema, the migrations that a server does not have yet. Two that
// run at once do the work once: the second waits for the first by the server's named lock, within ctx.
func Up(ctx context.Context, server schema.Server) ([]Applied, error) {
	admin, err := server.Open("", 1)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	lock, err := admin.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the database server: %w", err)
	}
	defer lock.Close()
	unlock, err := acquire(ctx, lock, server.Prefix+"orders.migrate")
	if err != nil {
		return nil, err
	}
	defer unlock()

	var applied []Applied
	for _, name := range schema.All {
		// The name is one of ours behind a checked prefix: nothing to quote but the back-ticks themselves.
		if _, err := lock.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS `"+server.Prefix+name+"` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"); err != nil {
			return applied, fmt.Errorf("create schema %s: %w", server.Prefix+name, err)
		}
		done, err := up(ctx, server, name)
		applied = append(applied, done...)
		if err != nil {
			return applied, fmt.Errorf("migrate schema %s: %w", server.Prefix+name, err)
		}
	}
	return applied, nil
}

// acquire takes a named lock of the server on its connection; the lock ends with the connection.
func acquire(ctx context.Context, conn *sql.Conn, name string) (release func(), err error) {
	for {
		// Two seconds at a time, so that a ctx that ends is noticed.
		var got sql.NullInt64
		if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, 2)", name).Scan(&got); err != nil {
			return nil, fmt.Errorf("wait for another migration to end: %w", err)
		}
		if got.Int64 == 1 {
			break
		}
	}
	return func() {
		// Best effort: closing the connection frees the lock too.
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
		results, err := provider.Up(ctx)
		for _, r := range results {
			if r.Error == nil {
				applied = append(applied, Applied{Schema: name, Version: r.Source.Version, Name: r.Source.Path})
			}
		}
		if err != nil {
			return applied, err
		}
	}
	return applied, nil
}

// resume gives the table of versions its first row when a program was killed between making the table and that row.
func resume(ctx context.Context, db *sql.DB, store database.Store) error {
	if _, err := store.GetLatestVersion(ctx, db); !errors.Is(err, database.ErrVersionNotFound) {
		return nil // there is a version; or no table yet, or no server, which goose finds out too
	}
	if err := store.Insert(ctx, db, database.InsertRequest{Version: 0}); err != nil {
		return fmt.Errorf("begin the table of versions %s: %w", store.Tablename(), err)
	}
	return nil
}
