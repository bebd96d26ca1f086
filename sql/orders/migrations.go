// Package orders is the schema of the orders service: its queries, generated from queries/ by sqlc, and its migrations.
package orders

import "embed"

// Migrations holds the schema's migrations in goose's format, in the folder migrations.
//
//go:embed migrations/*.sql
var Migrations embed.FS
