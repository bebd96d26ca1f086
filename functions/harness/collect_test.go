package main

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheHeapIsCollectedOftenUnlessGOGCSaysHowOften(t *testing.T) {
	percent := func() int {
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now
	}
	defer debug.SetGCPercent(percent())
	for set, during := range map[int]int{gcPercent: 100, 50: 50, 400: 400, -1: -1} {
		debug.SetGCPercent(set)
		restore := collectOften()
		assert.Equal(t, during, percent(), set)
		restore()
		assert.Equal(t, set, percent())
	}
}
