package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/observe/health"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// pools has one connection pool per schema, which its functions share.
type pools struct {
	server  schema.Server
	maxOpen int
	open    map[string]*sql.DB
	checks  map[string]*health.Check // whether the server takes writes
}

func newPools(config map[string]string) (*pools, error) {
	server, maxOpen, err := base.Server(config)
	return &pools{server: server, maxOpen: maxOpen, open: map[string]*sql.DB{}, checks: map[string]*health.Check{}}, err
}

func (p *pools) get(name string) (*sql.DB, error) {
	if db, ok := p.open[name]; ok {
		return db, nil
	}
	db, err := p.server.Open(name, p.maxOpen)
	if err != nil {
		return nil, err
	}
	p.open[name] = db
	p.checks[name] = &health.Check{Ask: func(ctx context.Context) error { return transaction.Ping(ctx, db) }}
	return db, nil
}

// err returns why the database does not work, and for which schemas unless it is for all.
func (p *pools) err(ctx context.Context) error {
	asks := map[string]func(context.Context) error{}
	for name, check := range p.checks {
		asks[name] = check.Err
	}
	var errs []error
	failed := health.All(ctx, asks)
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		if len(failed) == len(asks) {
			return failed[name] // one server has all schemas
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, failed[name]))
	}
	return errors.Join(errs...)
}

func (p *pools) close() error {
	var errs []error
	for _, db := range p.open {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}
