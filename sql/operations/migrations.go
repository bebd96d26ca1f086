// Package operations is the schema in which what operators did is recorded: its queries, generated from queries/ by sqlc, and its migrations.
package operations

import "embed"

// Migrations holds the schema's migrations in goose's format, in the folder migrations.
//
//go:embed migrations/*.sql
var Migrations embed.FS
