package poke

// Leaving is leaving, for tests that have to be outside: functiontest uses this package.
var Leaving = leaving
