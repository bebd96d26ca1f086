// Package operations is the schema that records what operators did: its queries, generated from queries/ by sqlc, and its
// migrations.
package operations

import "embed"

// Migrations holds the schema's migrations in goose's format, in the folder migrations.
//
//go:embed migrations/*.sql
var Migrations embed.FS
