"""Reads all records of topics with Confluent's consumer and Avro deserializer, as a service outside of this project would.

usage: read_avro.py BROKERS SCHEMA_REGISTRY_URL TOPIC ...
Prints a line of JSON for each record in Avro: its topic, key, CloudEvents type, and decoded value.
"""

import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

brokers, registry, *topics = sys.argv[1:]
deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))
consumer = Consumer({"bootstrap.servers": brokers, "group.id": "read-avro", "enable.auto.commit": False, "auto.offset.reset": "earliest"})

remaining = {}
for topic in topics:
    metadata = consumer.list_topics(topic, timeout=30)
    for partition in metadata.topics[topic].partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
        if low < high:
            remaining[topic, partition] = high
consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in remaining])

while remaining:
    message = consumer.poll(30)
    if message is None:
        sys.exit(f"no record arrived within 30 s, although there are more: {remaining}")
    if message.error():
        sys.exit(str(message.error()))
    place = message.topic(), message.partition()
    if message.offset() + 1 >= remaining.get(place, 0):
        remaining.pop(place, None)
    headers = {name: value.decode() for name, value in message.headers() or []}
    if headers.get("content-type") == "application/vnd.confluent.avro":
        value = deserialize(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
        value["createdAt"] = value["createdAt"].isoformat() if "createdAt" in value else None
        print(json.dumps({"topic": message.topic(), "key": message.key().decode(), "type": headers["ce_type"], "value": value}))
consumer.close()
