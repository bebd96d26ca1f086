package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"example.com/orders/functions/internal/testkit/porttest"
)

// guarded is an in-process Kafka behind its port.
func guarded(t *testing.T, settings ...kfake.Opt) (address string) {
	t.Helper()
	var kafka *kfake.Cluster
	porttest.Try(t, func(port int) (err error) {
		kafka, err = kfake.NewCluster(append(settings, kfake.NumBrokers(1), kfake.Ports(port), kfake.ListenFn(listenForKafka), kfake.SeedTopics(3, "topic"))...)
		return err
	})
	t.Cleanup(kafka.Close)
	return kafka.ListenAddrs()[0]
}

// assertKafkaWorks writes records, including large ones, with a foreign client, and reads them in a consumer group.
func assertKafkaWorks(t *testing.T, address, topic string, options ...kgo.Opt) {
	t.Helper()
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(address), kgo.ConsumerGroup("group"), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	require.NoError(t, err)
	defer client.Close()
	const records = 200
	var sent []*kgo.Record
	for n := range records {
		sent = append(sent, &kgo.Record{Topic: topic, Key: strconv.AppendInt(nil, int64(n), 10), Value: make([]byte, 1<<(n%20))})
	}
	require.NoError(t, client.ProduceSync(t.Context(), sent...).FirstErr())
	for read := 0; read < records; {
		fetched := client.PollFetches(t.Context())
		require.Empty(t, fetched.Errors())
		read += fetched.NumRecords()
	}
	require.NoError(t, client.CommitUncommittedOffsets(t.Context()))
}

// request is the beginning of a request with a length and a key.
func request(length uint32, key int16) []byte {
	head := binary.BigEndian.AppendUint32(nil, length)
	head = binary.BigEndian.AppendUint16(head, uint16(key))
	return append(head, make([]byte, 64)...)
}

// allocated returns how many bytes this process has allocated so far.
func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

func TestKafkasPortClosesForeignProtocolsWithoutAllocating(t *testing.T) {
	address := guarded(t)
	for what, sent := range map[string][]byte{
		"HTTP GET":                []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"HTTP POST":               []byte("POST /topics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd"),
		"HTTP/2":                  []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		"TLS":                     {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0},
		"SSH":                     []byte("SSH-2.0-OpenSSH_9.6\r\n"),
		"line ends":               []byte("\r\n\r\n\r\n\r\n"),
		"1.3 GB":                  request(1_347_375_956, 0),
		"one byte too many":       request(maxKafkaRequest+1, 0),
		"the largest length":      request(0xffffffff, 0),
		"a length of nothing":     request(0, 0),
		"a length of too little":  request(minKafkaRequest-1, 0),
		"a key of the future":     request(64, 9999),
		"a key that is none":      request(64, -1),
		"a key between two":       request(64, 4), // a request between brokers
		"the key after the last":  request(64, kmsg.MaxKey+1),
		"nothing but zeros":       make([]byte, 64),
		"nothing but high bytes":  bytes.Repeat([]byte{0xff}, 64),
		"a request that is text":  append(request(64, 18)[:6], bytes.Repeat([]byte("x"), 64)...),
		"a request, then no more": append(request(12, 18), []byte("POST / HTTP/1.1\r\n\r\n")...),
	} {
		t.Run(what, func(t *testing.T) {
			conn, err := net.Dial("tcp", address)
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			before := allocated()
			_, err = conn.Write(sent)
			require.NoError(t, err)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
			_, err = io.Copy(io.Discard, conn)
			var timeout net.Error
			assert.False(t, errors.As(err, &timeout) && timeout.Timeout(), "it is closed")
			assert.Less(t, allocated()-before, uint64(4<<20))
		})
	}
	assertKafkaWorks(t, address, "topic")
}

func TestAPostOf200MegabytesToKafkasPortCostsNoMemory(t *testing.T) {
	address := guarded(t)
	before := allocated()
	response, err := http.Post("http://"+address+"/", "application/octet-stream", io.LimitReader(zeros{}, 200<<20))
	if err == nil {
		require.NoError(t, response.Body.Close())
	}
	require.Error(t, err)
	assert.Less(t, allocated()-before, uint64(16<<20))
	assertKafkaWorks(t, address, "topic")
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestKafkasPortTakesSoManyConnectionsAtATime(t *testing.T) {
	listener, err := listenForKafka("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.(*kafkaPort)
	port.places = make(chan struct{}, 2)
	accepted := make(chan net.Conn)
	ended := make(chan error)
	go func() {
		for {
			conn, err := port.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", port.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	dial()
	second := <-accepted
	_, err = dial().Read(make([]byte, 1))
	require.Error(t, err, "the third is closed")
	for range 2 { // like Kafka
		_ = first.Close()
	}
	dial()
	third := <-accepted

	require.NoError(t, second.Close())
	require.NoError(t, third.Close())
	require.NoError(t, port.Close())
	require.ErrorIs(t, <-ended, net.ErrClosed)
	assert.Empty(t, port.places)
}

func TestKafkaInThisProcessAsksForAPassword(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	if s.topicPrefix() != "" {
		t.Skip("KAFKA_BROKERS names another Kafka")
	}
	login := func(password string) []string {
		return append(s.environ, "KAFKA_SASL_MECHANISM=SCRAM-SHA-512", "KAFKA_SASL_USER=alice", "KAFKA_SASL_PASSWORD="+password)
	}
	by := func(password string) kgo.Opt {
		return kgo.SASL(scram.Auth{User: "alice", Pass: password}.AsSha512Mechanism())
	}
	ping := func(p *process, options ...kgo.Opt) error {
		client, err := kgo.NewClient(append(options, kgo.SeedBrokers(p.brokers(t, s)...), kgo.RequestRetries(0))...)
		require.NoError(t, err)
		defer client.Close()
		return client.Ping(t.Context())
	}
	for _, password := range []string{"first", "second"} {
		with := stack{data: s.data, environ: login(password)}
		p := with.up(t, "--kafka-password")
		p.awaitStatus(t, p.place(t, "SKU-123", 1).OrderID, "CONFIRMED")
		p.audit(t)
		require.Error(t, ping(p), "without a password")
		require.Error(t, ping(p, by("wrong")))
		require.NoError(t, ping(p, by(password)))
		p.stop(t)
		assert.NotContains(t, p.log.String(), password)
	}

	p := stack{data: s.data, environ: login("first")}.up(t) // without the flag
	require.NoError(t, ping(p))
	p.awaitStatus(t, p.place(t, "SKU-123", 1).OrderID, "CONFIRMED")
	p.stop(t)
}

func TestAPasswordThatIsNotGivenIsAskedFor(t *testing.T) {
	t.Parallel()
	for says, environ := range map[string][]string{
		"set KAFKA_SASL_MECHANISM to SCRAM-SHA-256 or SCRAM-SHA-512": {"KAFKA_BROKERS="},
		"give KAFKA_SASL_USER and KAFKA_SASL_PASSWORD too":           {"KAFKA_BROKERS=", "KAFKA_SASL_MECHANISM=SCRAM-SHA-256"},
		"KAFKA_SASL_MECHANISM":                                       {"KAFKA_BROKERS=", "KAFKA_SASL_MECHANISM=PLAIN", "KAFKA_SASL_USER=a", "KAFKA_SASL_PASSWORD=b"},
		"KAFKA_BROKERS names another one":                            {"KAFKA_BROKERS=127.0.0.1:1"},
	} {
		p := launch(t, append(environ, "MYSQL_DSN=root@tcp(127.0.0.1:1)/"), "up", "--kafka-password", "--addr", porttest.Address(t), "--data", t.TempDir())
		<-p.ended
		require.Error(t, p.err)
		assert.Contains(t, strings.ReplaceAll(p.log.String(), "\n", " "), says)
	}
}
