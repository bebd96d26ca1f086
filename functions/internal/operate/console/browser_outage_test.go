package console_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/sql/embedded"
)

// TestAnOutageLooksLikeOneInABrowser freezes the database, holds the broker and stops the harness under an open page.
func TestAnOutageLooksLikeOneInABrowser(t *testing.T) {
	chromium(t)
	database, err := embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir(), Fast: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, database.Stop(context.Background())) })
	cluster := kafkatest.Fake(t)
	environ := []string{"MYSQL_DSN=" + database.DSN(), "KAFKA_BROKERS=" + strings.Join(cluster.Brokers, ",")}
	address := porttest.Address(t)
	p := startHarness(t, address, environ)
	b := open(t, p.url)
	b.expected = []string{"net::ERR_", "503"}
	b.visit("/")
	b.await(`document.querySelector('.connection').textContent === 'live' && [...document.querySelectorAll('.tile dd')].every((e) => e.textContent === '0')
		&& document.querySelector('td:nth-child(3)')?.textContent.startsWith('0/s')`)

	freeze := func(s syscall.Signal) { require.NoError(t, syscall.Kill(database.Pid(), s)) }
	freeze(syscall.SIGSTOP)
	thaw := func() { freeze(syscall.SIGCONT) }
	defer func() { thaw() }() // else the database does not end
	b.outage("The database is away", func() {
		b.await("document.querySelector('.tile dd').dataset.old")
		assert.True(t, eval[bool](b, "document.querySelector('.card:has(.stage)').dataset.old === undefined"), "the numbers of Kafka are current")
		b.look("outage-database")
		for _, page := range []string{"Orders", "Stock", "Outbox", "Dead letters", "Audit", "Flow"} {
			b.click(page)
			b.await("document.querySelector('main [data-old], main[data-old]')")
			b.awaitText("#outage", "The database is away")
			b.look("outage-database-" + strings.ToLower(strings.ReplaceAll(page, " ", "")))
		}
	})
	thaw()
	thaw = func() {}
	b.over()

	held := make(chan struct{})
	cluster.Fake.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		<-held // the only loop of the cluster
		return nil, nil, false
	})
	b.outage("Kafka is away", func() {
		b.await("document.querySelector('.card:has(.stage)').dataset.old")
		assert.True(t, eval[bool](b, "document.querySelector('.tile dd').dataset.old === undefined"), "the numbers of the database are current")
		b.look("outage-kafka")
	})
	close(held)
	b.over()

	p.stop()
	b.outage("The harness does not answer", func() {
		b.await("document.querySelector('.card:has(.stage)').dataset.old && document.querySelector('.tile dd').dataset.old")
		b.look("outage-harness")
	})
	startHarness(t, address, environ)
	b.over()
}

// outage waits for the banner with a text, which says when the outage began, and looks at the page.
func (b *browser) outage(text string, look func()) {
	b.t.Helper()
	begin := time.Now()
	b.awaitText("#outage [role=alert]", text)
	b.t.Logf("%s: shown after %s", text, time.Since(begin).Round(100*time.Millisecond))
	assert.Regexp(b.t, `since \d\d:\d\d:\d\d\.\d{3} `, eval[string](b, "document.querySelector('#outage').textContent"))
	b.await("document.querySelector('#outage > p').textContent.includes('old')")
	assert.NotEqual(b.t, "live", eval[string](b, "document.querySelector('.connection').textContent"))
	look()
}

// over waits until the page is live again.
func (b *browser) over() {
	b.t.Helper()
	b.await("document.querySelector('#outage').hidden && !document.querySelector('[data-old]') && document.querySelector('.connection').textContent === 'live'")
}
