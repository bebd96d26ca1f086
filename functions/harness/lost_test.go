package main

import (
	"fmt"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/kafkatest"
)

func TestRecordsRemovedWhileTheHarnessWasDownAreReportedEverywhere(t *testing.T) {
	t.Parallel()
	c := kafkatest.ForProcesses(t)
	s := newStack(t)
	s.environ = append(s.environ, c.Environ()...)
	p := s.up(t)
	p.awaitStatus(t, p.place(t, "SKU-123", 1).OrderID, "CONFIRMED")
	p.stop(t)
	topic := c.Prefix + "order.created"
	producer, err := sarama.NewSyncProducer(c.Brokers, c.Config())
	require.NoError(t, err)
	defer func() { assert.NoError(t, producer.Close()) }()
	for range 7 {
		_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder("one"), Value: sarama.StringEncoder("x")})
		require.NoError(t, err)
	}
	removeRecords(t, c, topic)

	p = s.up(t, "--audit-interval", "1s")

	p.awaitLog(t, "records lost: they were removed before they were handled")
	p.awaitMetric(t, `orders_records_lost_total{consumer="reserve-stock",topic="`+topic+`"} 7`)
	p.awaitAudited(t, fmt.Sprintf(`orders_audit_breaches{invariant="lost"} %d`, 7*consumers(t, "order.created")))
	audit := launch(t, s.environ, "audit", "--data", s.data)
	<-audit.ended
	require.Error(t, audit.err)
	assert.Regexp(t, `7 records of \S*order.created/\d, offsets \d+ to \d+, were removed before reserve-stock had handled them`, audit.stdout.String())
	p.awaitStatus(t, p.place(t, "SKU-123", 1).OrderID, "CONFIRMED")
	p.stop(t)
}

// removeRecords deletes all records of a topic.
func removeRecords(t *testing.T, c kafkatest.Cluster, topic string) {
	t.Helper()
	client, err := sarama.NewClient(c.Brokers, c.Config())
	require.NoError(t, err)
	admin, err := sarama.NewClusterAdminFromClient(client)
	require.NoError(t, err)
	defer func() { require.NoError(t, admin.Close()) }()
	partitions, err := client.Partitions(topic)
	require.NoError(t, err)
	newest := map[int32]int64{}
	for _, partition := range partitions {
		newest[partition], err = client.GetOffset(topic, partition, sarama.OffsetNewest)
		require.NoError(t, err)
	}
	require.NoError(t, admin.DeleteRecords(topic, newest))
}
