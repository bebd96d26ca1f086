// Package cdc tests that Debezium, in the place of the relays, publishes the same events: on a real MySQL with a binary log, a
// real Kafka and a real Kafka Connect, which ".ci/run cdc" starts. Without CONNECT_URL its tests are skipped.
package cdc
