package schema

import "strings"

// Quoted returns a string literal, for the statements about accounts, which take no arguments. Backslashes are doubled, as they
// escape in the default SQL mode.
func Quoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}
