package base_test

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/observe/health"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

func TestStartSaysWhatToSet(t *testing.T) {
	const dsn = "root:secret@tcp(127.0.0.1:3306)/"
	cases := map[string]struct {
		config map[string]string
		says   string
	}{
		"nothing is set":        {nil, "MYSQL_DSN is not set: give the server as user:password@tcp(host:3306)/"},
		"not a DSN":             {map[string]string{"MYSQL_DSN": "localhost"}, "MYSQL_DSN (like user:password@tcp(127.0.0.1:3306)/)"},
		"a database in the DSN": {map[string]string{"MYSQL_DSN": dsn + "orders"}, "MYSQL_SCHEMA_PREFIX"},
		"a wrong prefix":        {map[string]string{"MYSQL_DSN": dsn, "MYSQL_SCHEMA_PREFIX": "A-"}, "MYSQL_SCHEMA_PREFIX"},
		"a word for a number":   {map[string]string{"MYSQL_DSN": dsn, "MYSQL_MAX_CONNS": "many"}, `MYSQL_MAX_CONNS is "many": give a number from 1 to 1000`},
		"no connection":         {map[string]string{"MYSQL_DSN": dsn, "MYSQL_MAX_CONNS": "0"}, "MYSQL_MAX_CONNS"},
		"too many connections":  {map[string]string{"MYSQL_DSN": dsn, "MYSQL_MAX_CONNS": "1001"}, "MYSQL_MAX_CONNS"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			i := base.Base{Name: "reserve-stock", Schema: schema.Inventory}
			err := i.Start(t.Context(), c.config)
			assert.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), "secret")
			ready, err := i.Ready(t.Context())
			assert.NoError(t, err)
			assert.False(t, ready)
			assert.NoError(t, i.Stop(t.Context()), "the runtime stops a function that failed to start")
		})
	}
}

func TestReadyIsTrueWhenTheDatabaseAnswers(t *testing.T) {
	config := mysqltest.Config(mysqltest.Server(t))
	config["MYSQL_MAX_CONNS"] = "3"
	i := base.Base{Schema: schema.Inventory}
	ready, err := i.Ready(t.Context())
	assert.NoError(t, err)
	assert.False(t, ready, "it has not started")

	require.NoError(t, i.Start(t.Context(), config))
	ready, err = i.Ready(t.Context())
	assert.NoError(t, err)
	assert.True(t, ready)
	assert.Equal(t, 3, i.DB.Stats().MaxOpenConnections)

	for range 2 {
		require.NoError(t, i.Stop(t.Context()))
		ready, err = i.Ready(t.Context())
		assert.NoError(t, err)
		assert.False(t, ready, "it has stopped")
	}
	assert.Error(t, i.DB.PingContext(t.Context()), "its pool is closed")
}

func TestStartSucceedsWhileTheDatabaseIsDownAndReadySaysSo(t *testing.T) {
	i := base.Base{Schema: schema.Inventory}
	require.NoError(t, i.Start(t.Context(), map[string]string{"MYSQL_DSN": "root@tcp(" + porttest.Address(t) + ")/"}))
	ready, err := i.Ready(t.Context())
	assert.ErrorContains(t, err, "schema inventory")
	assert.False(t, ready)
	assert.NoError(t, i.Stop(t.Context()))
}

func TestStopWithoutStartDoesNothing(t *testing.T) {
	var i base.Base
	assert.NoError(t, i.Stop(t.Context()))
	assert.NoError(t, i.Stop(t.Context()))
}

func TestStartKeepsWhatIsSet(t *testing.T) {
	db := mysqltest.Open(t, schema.Inventory)
	var j journal
	log := j.logger()
	poked := 0
	i := base.Base{
		Schema: schema.Inventory, DB: db, Log: log,
		Now:   func() time.Time { return time.Unix(1, 0) },
		NewID: func() string { return "id" },
		Poke:  func(string, ...uint8) { poked++ },
	}
	require.NoError(t, i.Start(t.Context(), nil))
	i.Poke(schema.Inventory)
	assert.Same(t, db, i.DB)
	assert.Same(t, log, i.Logger())
	assert.Equal(t, time.Unix(1, 0), i.Now())
	assert.Equal(t, "id", i.NewID())
	assert.Equal(t, 1, poked)

	require.NoError(t, i.Stop(t.Context()))
	assert.NoError(t, db.PingContext(t.Context()), "a shared pool stays open")
}

func TestStartSetsAClockAndIDs(t *testing.T) {
	i := base.Base{DB: mysqltest.Open(t, schema.Inventory)}
	require.NoError(t, i.Start(t.Context(), nil))
	now := i.Now()
	assert.WithinDuration(t, time.Now(), now, time.Minute)
	assert.Equal(t, time.UTC, now.Location())
	assert.Equal(t, now.Truncate(time.Microsecond), now, "the database keeps microseconds")
	id, err := uuid.Parse(i.NewID())
	require.NoError(t, err)
	assert.EqualValues(t, 7, id.Version())
	assert.NotPanics(t, func() { i.Poke(schema.Inventory, 1) })
	assert.NotNil(t, i.Logger())
}

func TestEventsBeforeStartAreDeliveredAgain(t *testing.T) {
	var j journal
	i := &base.Base{Name: "reserve-stock", Log: j.logger()}
	e := functiontest.Event(t, created(t), 1)
	base.ReactAll(i, func(_ context.Context, _ *transaction.Tx, facts []base.Fact[events.OrderCreated]) ([][]event.Event, error) {
		return make([][]event.Event, len(facts)), nil
	})
	answers := map[string]error{
		"Handle":  i.Handle(t.Context(), e),
		"Observe": i.Observe(t.Context(), e, func() (string, error) { assert.Fail(t, "it is not ready"); return "", nil }),
	}
	for name, err := range answers {
		assert.Equal(t, http.StatusServiceUnavailable, delivery.Status(err), name)
		assert.ErrorIs(t, err, base.ErrNotStarted, name)
	}
	assert.ErrorIs(t, i.Transact(t.Context(), nil), base.ErrNotStarted)
	assert.ErrorIs(t, i.Started(), base.ErrNotStarted)
	assert.Empty(t, j.take(t), "nothing was handled")

	i.DB = mysqltest.Open(t, schema.Inventory)
	require.NoError(t, i.Start(t.Context(), nil))
	assert.NoError(t, i.Started())
	assert.NoError(t, i.Handle(t.Context(), e))
	require.NoError(t, i.Stop(context.Background()))
	assert.ErrorIs(t, i.Handle(t.Context(), e), base.ErrNotStarted, "nor after Stop")
}

func TestDurationIsReadFromTheConfiguration(t *testing.T) {
	cases := map[string]struct {
		text string
		want time.Duration
		says string
	}{
		"not set":      {"", time.Hour, ""},
		"minutes":      {"15m", 15 * time.Minute, ""},
		"hours":        {"192h", 192 * time.Hour, ""},
		"zero":         {"0s", 0, "WAIT"},
		"negative":     {"-1s", 0, "WAIT"},
		"no unit":      {"15", 0, `WAIT is "15": give a duration like 15m or 192h`},
		"another word": {"P1D", 0, "WAIT"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d, err := base.Duration(map[string]string{"WAIT": c.text}, "WAIT", time.Hour)
			if c.says != "" {
				assert.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, d)
		})
	}
}

func TestReadyAnswersInTimeOfADatabaseThatHangs(t *testing.T) {
	var listener net.Listener // accepts connections and never answers
	porttest.Try(t, func(port int) (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		return err
	})
	t.Cleanup(func() { _ = listener.Close() })
	i := base.Base{Schema: schema.Inventory}
	require.NoError(t, i.Start(t.Context(), map[string]string{"MYSQL_DSN": "root@tcp(" + listener.Addr().String() + ")/"}))
	t.Cleanup(func() { assert.NoError(t, i.Stop(context.Background())) })
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			ready, err := i.Ready(t.Context())
			assert.False(t, ready)
			assert.ErrorIs(t, err, health.ErrHangs)
			assert.ErrorContains(t, err, "schema inventory")
		})
	}
	all.Wait()
	assert.LessOrEqual(t, i.DB.Stats().OpenConnections, 1, "one check serves all")
}

func TestIdsHaveTheTimeOfAClockThatWasSetBack(t *testing.T) {
	i := base.Base{Schema: schema.Inventory, Now: time.Now}
	require.NoError(t, i.Start(t.Context(), map[string]string{"MYSQL_DSN": "root@tcp(127.0.0.1:1)/"}))
	t.Cleanup(func() { assert.NoError(t, i.Stop(context.Background())) })
	for name, offset := range map[string]time.Duration{"right": 0, "back an hour": -time.Hour} {
		now := time.Now().Add(offset)
		i.Now = func() time.Time { return now }
		id, other := uuid.MustParse(i.NewID()), uuid.MustParse(i.NewID())
		assert.WithinDuration(t, now, time.Unix(id.Time().UnixTime()), 2*time.Second, name)
		assert.NotEqual(t, id, other, name)
		assert.Equal(t, uuid.Version(7), id.Version(), name)
		assert.Equal(t, uuid.RFC4122, id.Variant(), name)
	}
}
