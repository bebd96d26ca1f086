// Package inventory is the schema of the inventory service: its queries, generated from queries/ by sqlc, and its migrations.
package inventory

import "embed"

// Migrations holds the schema's migrations in goose's format, in the folder migrations.
//
//go:embed migrations/*.sql
var Migrations embed.FS
