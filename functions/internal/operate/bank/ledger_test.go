package bank

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/gateway"
)

// slowDisk is a file whose syncs wait to be let pass.
type slowDisk struct {
	written strings.Builder
	syncs   chan error
	synced  int
}

func (d *slowDisk) Write(p []byte) (int, error) { return d.written.Write(p) }
func (d *slowDisk) Close() error                { return nil }
func (d *slowDisk) Sync() error {
	err := <-d.syncs
	d.synced++
	return err
}

// end is the error of a call, errUnderWay until it has ended.
type end struct{ error }

var errUnderWay = errors.New("under way")

// start starts a call.
func start(call func() error) *end {
	e := &end{errUnderWay}
	go func() { e.error = call() }()
	return e
}

// authorize starts an authorization for an order.
func authorize(ctx context.Context, g *gateway.Simulated, orderID string) *end {
	return start(func() error {
		_, err := g.Authorize(ctx, gateway.Authorization{Key: gateway.AuthorizationKey(orderID), OrderID: orderID, Amount: 1299, Currency: "EUR"})
		return err
	})
}

func TestAnAnswerWaitsUntilItsEntryIsSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{syncs: make(chan error)}
		l := startLedger(disk)
		g := &gateway.Simulated{Book: &gateway.Book{Record: l.record}, Kept: l.kept}

		first := authorize(t.Context(), g, "a")
		synctest.Wait()
		others := map[string]*end{
			"of another order":  authorize(t.Context(), g, "b"),
			"of a third order":  authorize(t.Context(), g, "c"),
			"of the same order": authorize(t.Context(), g, "a"),
			"a lookup": start(func() error {
				_, err := g.Lookup(t.Context(), gateway.AuthorizationKey("a"))
				return err
			}),
			"a page": start(func() error {
				_, _, err := g.Ledger(t.Context(), "", 10)
				return err
			}),
		}
		synctest.Wait()
		assert.Equal(t, errUnderWay, first.error)
		for name, other := range others {
			assert.Equal(t, errUnderWay, other.error, "%s: nobody learns of what is not safe", name)
		}
		disk.syncs <- nil
		synctest.Wait()
		require.NoError(t, first.error)
		assert.Equal(t, errUnderWay, others["of another order"].error, "it came after the first sync began")
		assert.Equal(t, errUnderWay, others["of a third order"].error, "it came after the first sync began")
		disk.syncs <- nil
		synctest.Wait()
		for name, other := range others {
			assert.NoError(t, other.error, name)
		}
		assert.Equal(t, 2, disk.synced, "entries that come during a sync share the next one")
		assert.Equal(t, 3, strings.Count(disk.written.String(), "\n"))
		require.NoError(t, l.close())
	})
}

func TestNothingIsAnsweredAfterALedgerFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{syncs: make(chan error, 1)}
		disk.syncs <- errors.New("the disk is broken")
		l := startLedger(disk)
		g := &gateway.Simulated{Book: &gateway.Book{Record: l.record}, Kept: l.kept}
		first := authorize(t.Context(), g, "a")
		synctest.Wait()
		assert.ErrorContains(t, first.error, "the disk is broken")
		<-l.failed
		second := authorize(t.Context(), g, "b")
		synctest.Wait()
		assert.ErrorContains(t, second.error, "the disk is broken")
		assert.Equal(t, 1, strings.Count(disk.written.String(), "\n"), "nothing is written behind an entry of which nobody knows whether it is safe")
		assert.ErrorContains(t, l.close(), "the disk is broken")
	})
}

// lines writes a ledger with two entries, and returns its file and text.
func lines(t *testing.T) (path, text string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "bank", "ledger.jsonl")
	book := &gateway.Book{}
	l, err := openLedger(path, book.Restore)
	require.NoError(t, err)
	book.Record = l.record
	g := &gateway.Simulated{Book: book, Kept: l.kept}
	for _, id := range []string{"a", "b"} {
		_, err := g.Authorize(t.Context(), gateway.Authorization{Key: gateway.AuthorizationKey(id), OrderID: id, Amount: 1299, Currency: "EUR"})
		require.NoError(t, err)
	}
	require.NoError(t, l.close())
	stored, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(stored), "\n"))
	return path, string(stored)
}

func TestATornLastLineIsCutOffAndTheOthersStay(t *testing.T) {
	path, text := lines(t)
	firstLine, _, _ := strings.Cut(text, "\n")
	for name, torn := range map[string]string{
		"within the second line": text[:len(firstLine)+10],
		"before its end":         text[:len(text)-1],
		"followed by zeros":      text[:len(firstLine)+10] + "\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, []byte(torn), 0o600))
			book := &gateway.Book{}
			l, err := openLedger(path, book.Restore)
			require.NoError(t, err)
			assert.Len(t, book.Holdings("", 10), 1)
			book.Record = l.record
			g := &gateway.Simulated{Book: book, Kept: l.kept}
			_, err = g.Authorize(t.Context(), gateway.Authorization{Key: "c.authorize", OrderID: "c", Amount: 1299, Currency: "EUR"})
			require.NoError(t, err)
			require.NoError(t, l.close())

			again := &gateway.Book{}
			l, err = openLedger(path, again.Restore)
			require.NoError(t, err, "the new line follows a whole one")
			assert.Equal(t, book.Holdings("", 10), again.Holdings("", 10))
			require.NoError(t, l.close())
		})
	}
}

func TestADamagedLineIsNamedAndRefused(t *testing.T) {
	path, text := lines(t)
	for name, damaged := range map[string]string{
		"a broken line":                   "{" + text,
		"an entry of both kinds":          strings.Replace(text, `{"authorization":`, `{"refund":{"key":"x"},"authorization":`, 1),
		"an answer that does not follow":  strings.Replace(text, `"status":"authorized"`, `"status":"closed"`, 1),
		"an amount that does not follow":  strings.Replace(text, `"amount":1299`, `"amount":1300`, 1),
		"an entry twice":                  text[:strings.Index(text, "\n")+1] + text,
		"a field that nobody knows":       strings.Replace(text, `"at":`, `"by":1,"at":`, 1),
		"an empty line between the lines": "\n" + text,
	} {
		require.NoError(t, os.WriteFile(path, []byte(damaged), 0o600))
		_, err := openLedger(path, (&gateway.Book{}).Restore)
		assert.ErrorContains(t, err, "is damaged", name)
		kept, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, damaged, string(kept), name)
	}
}

func TestALedgerBelongsToOneProcessAndToOneUser(t *testing.T) {
	path, _ := lines(t)
	l, err := openLedger(path, (&gateway.Book{}).Restore)
	require.NoError(t, err)
	_, err = openLedger(path, (&gateway.Book{}).Restore)
	assert.ErrorContains(t, err, "another process has the ledger")
	require.NoError(t, l.close())
	l, err = openLedger(path, (&gateway.Book{}).Restore)
	require.NoError(t, err)
	require.NoError(t, l.close())
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}
