package audit

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// count yields the numbers from 0 on, without an end if pages is negative.
func count(pages int) func(context.Context, func(int) error) error {
	return func(_ context.Context, yield func(int) error) error {
		for n := 0; n != pages; n++ {
			if err := yield(n); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestPagesAreCheckedInOrder(t *testing.T) {
	var checked []int
	require.NoError(t, readAhead(t.Context(), count(5), func(n int) error {
		checked = append(checked, n)
		return nil
	}))
	assert.Equal(t, []int{0, 1, 2, 3, 4}, checked)
}

func TestPagesAreReadWhileOneIsChecked(t *testing.T) {
	third := make(chan struct{})
	read := func(_ context.Context, yield func(int) error) error {
		for n := range 3 {
			if n == 2 {
				close(third)
			}
			if err := yield(n); err != nil {
				return err
			}
		}
		return nil
	}
	require.NoError(t, readAhead(t.Context(), read, func(int) error {
		<-third
		return nil
	}))
}

func TestAFailedCheckEndsTheReading(t *testing.T) {
	broken, ended := errors.New("broken"), false
	read := func(ctx context.Context, yield func(int) error) error {
		defer func() { ended = true }()
		return count(-1)(ctx, yield)
	}
	require.ErrorIs(t, readAhead(t.Context(), read, func(int) error { return broken }), broken)
	assert.True(t, ended, "nobody uses the connection any more")
}

func TestAFailedReadingEndsTheChecks(t *testing.T) {
	broken := errors.New("broken")
	checked := 0
	read := func(ctx context.Context, yield func(int) error) error {
		return errors.Join(count(3)(ctx, yield), broken)
	}
	require.ErrorIs(t, readAhead(t.Context(), read, func(int) error {
		checked++
		return nil
	}), broken)
	assert.Equal(t, 3, checked)
}

func TestAnEndedContextEndsTheReading(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorIs(t, readAhead(ctx, count(-1), func(n int) error {
		if n == 10 {
			cancel()
		}
		return nil
	}), context.Canceled)
}
