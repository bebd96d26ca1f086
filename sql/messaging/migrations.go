// Package messaging has the outbox and inbox tables of orders and of inventory: the queries, generated from queries/ by
// sqlc, and the migrations.
package messaging

import "embed"

// Migrations holds the schema's migrations in goose's format, in the folder migrations.
//
//go:embed migrations/*.sql
var Migrations embed.FS
