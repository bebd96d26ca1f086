// Package messaging is the outbox and the inbox that orders and inventory each have: the queries over them, generated from queries/ by sqlc,
// and their migrations.
package messaging

import "embed"

// Migrations holds the schema's migrations in goose's format, in the folder migrations.
//
//go:embed migrations/*.sql
var Migrations embed.FS
