// Package payments is the schema of the payment service: its queries, generated from queries/ by sqlc, and its migrations.
package payments

import "embed"

// Migrations holds the schema's migrations in goose's format, in the folder migrations.
//
//go:embed migrations/*.sql
var Migrations embed.FS
