// Package migrations embeds the SQL that makes and changes the schema. A file that
// landed is never edited; the next change is the next number.
package migrations

import "embed"

// FS holds the migrations as goose reads them.
//
//go:embed *.sql
var FS embed.FS
