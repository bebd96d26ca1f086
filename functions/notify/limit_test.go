package notify

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/observe/exposition"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
)

// bounded starts the function with a limit of mails, on a clock that the returned func moves.
func bounded(t *testing.T, f *Function, most int) (*Function, func(time.Duration)) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	f.Now = func() time.Time { return now }
	functiontest.Start(t, f, map[string]string{"MAX_MAILS": strconv.Itoa(most)})
	return f, func(d time.Duration) { now = now.Add(d) }
}

// confirmation returns the news of a new order of a customer.
func confirmation(t *testing.T, email string) event.Event {
	t.Helper()
	fact := confirmed(functiontest.OrderID())
	fact.CustomerEmail = email
	return functiontest.Event(t, fact, 2)
}

func TestAnAddressGetsOnlySoManyMailsAnHour(t *testing.T) {
	box := &mailbox{}
	f, counted := New(), exposition.New()
	f.Mailer, f.Metrics = box, counted.Metrics
	f, wait := bounded(t, f, 2)
	handle := func(email string) event.Event {
		e := confirmation(t, email)
		require.NoError(t, f.Handle(t.Context(), e), "the event is handled, whatever becomes of the mail")
		return e
	}
	handle(customer)
	wait(window - time.Second)
	handle(customer)

	refused := handle("Alice@Example.com")
	assert.Equal(t, notification{status: "LIMITED", attempts: 1}, rowOf(t, f.DB, refused))
	assert.Len(t, box.subjects(), 2)
	handle("bob@example.com")
	assert.Len(t, box.subjects(), 3, "another address has its own")
	wait(time.Second)
	assert.Equal(t, notification{status: "SENT", attempts: 1, sent: true}, rowOf(t, f.DB, handle(customer)), "another hour has begun")
	require.NoError(t, f.Handle(t.Context(), refused))
	assert.Equal(t, notification{status: "LIMITED", attempts: 1}, rowOf(t, f.DB, refused), "it is not sent later either")
	assert.Len(t, box.subjects(), 4)
	assert.InDelta(t, 1, functiontest.Counted(t, counted, "orders_limited_total", "mails"), 0)
}

func TestOlderNewsOfALimitedOneAreNotSent(t *testing.T) {
	box := &mailbox{}
	f := New()
	f.Mailer = box
	f, wait := bounded(t, f, 1)
	require.NoError(t, f.Handle(t.Context(), confirmation(t, customer)))
	id := functiontest.OrderID()
	require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, canceled(id), 3)))
	wait(window)
	older := functiontest.Event(t, confirmed(id), 2)
	require.NoError(t, f.Handle(t.Context(), older))
	assert.Equal(t, "SUPPRESSED", rowOf(t, f.DB, older).status, "the order is canceled by now")
	assert.Len(t, box.subjects(), 1)
}

func TestAMailCountsOnceHoweverOftenItIsTried(t *testing.T) {
	fails, box := 3, &mailbox{}
	box.before = func(Mail) error {
		if fails--; fails >= 0 {
			return errors.New("the relay is down")
		}
		return nil
	}
	f := New()
	f.Mailer = box
	f, _ = bounded(t, f, 2)
	first := confirmation(t, customer)
	for range 3 {
		assertRetried(t, f.Handle(t.Context(), first))
	}
	require.NoError(t, f.Handle(t.Context(), first))
	require.NoError(t, f.Handle(t.Context(), confirmation(t, customer)))
	refused := confirmation(t, customer)
	require.NoError(t, f.Handle(t.Context(), refused))
	assert.Equal(t, "LIMITED", rowOf(t, f.DB, refused).status)
	assert.Len(t, box.subjects(), 2)
}

// TestRacingNewsStayWithinTheLimit has two replicas, whose batches have news for a few addresses.
func TestRacingNewsStayWithinTheLimit(t *testing.T) {
	const most, addresses, each = 3, 4, 12
	box := &mailbox{}
	first := New()
	first.Mailer = box
	first, _ = bounded(t, first, most)
	second := New()
	second.DB, second.Mailer = first.DB, box
	second, _ = bounded(t, second, most)
	functiontest.Concurrently(2*addresses, func(i int) {
		batch := make([]event.Event, each/2)
		for n := range batch {
			batch[n] = confirmation(t, fmt.Sprint("customer-", i/2, "@example.com"))
		}
		for _, err := range functiontest.Together(t.Context(), []*Function{first, second}[i%2], batch...) {
			assert.NoError(t, err)
		}
	})
	assert.Len(t, box.subjects(), addresses*most)
	assert.Equal(t, addresses*(each-most), mysqltest.Count(t, first.DB, "SELECT COUNT(*) FROM notifications WHERE status = 'LIMITED'"))
	assert.Equal(t, addresses, mysqltest.Count(t, first.DB, "SELECT COUNT(*) FROM mail_counts WHERE mails = ?", most))
}

func TestALimitOfMailsThatMeansNothingIsRefused(t *testing.T) {
	for _, text := range []string{"0", "-1", "1000001", "few", "1.5"} {
		err := New().Start(t.Context(), map[string]string{"MAX_MAILS": text})
		assert.ErrorContains(t, err, fmt.Sprintf("MAX_MAILS is %q: give how many mails", text))
	}
}
