package main

import (
	"context"
	"database/sql"
	"errors"

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

func (p *pools) close() error {
	var errs []error
	for _, db := range p.open {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}
