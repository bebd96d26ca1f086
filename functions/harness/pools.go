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

// pools has one connection pool per schema, of one database user. Functions share them if the database has no users of
// theirs.
type pools struct {
	server  schema.Server
	maxOpen int
	open    map[string]*sql.DB
	checks  map[string]*health.Check // whether the server takes writes
	others  []*sql.DB                // of functions with users of their own
}

// toolConns is the most connections to a schema of a tool that shares them with no function: MySQL takes 151 by default, and
// each function has a pool of its own then.
const toolConns = 3

// newPools returns the pools of a tool of sql/privilege.
func newPools(s *servers, tool string) (*pools, error) {
	config, err := s.as(tool)
	if err != nil {
		return nil, err
	}
	server, maxOpen, err := base.Server(config)
	if s.logins != nil {
		maxOpen = min(maxOpen, toolConns)
	}
	return &pools{server: server, maxOpen: maxOpen, open: map[string]*sql.DB{}, checks: map[string]*health.Check{}}, err
}

// function returns the pool of a function to its schema, with a configuration that has its login.
func (p *pools) function(config map[string]string, name string) (*sql.DB, error) {
	server, maxOpen, err := base.Server(config)
	if err != nil {
		return nil, err
	}
	db, err := server.Open(name, maxOpen)
	if err == nil {
		p.others = append(p.others, db)
	}
	return db, err
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

// err returns why the database does not work, and for which schemas unless it is the same for all.
func (p *pools) err(ctx context.Context) error {
	asks := map[string]func(context.Context) error{}
	for name, check := range p.checks {
		asks[name] = check.Err
	}
	var errs []error
	failed := health.All(ctx, asks)
	texts := map[string]bool{}
	for _, err := range failed {
		texts[err.Error()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		if len(failed) == len(asks) && (len(p.server.Own) == 0 || len(texts) == 1) {
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
	for _, db := range p.others {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}
