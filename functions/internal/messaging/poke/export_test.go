package poke

// Leaving exports leaving, for tests outside of the package: functiontest imports poke.
var Leaving = leaving
