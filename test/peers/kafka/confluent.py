"""librdkafka, by its Python client. Reads and prints what wire.mjs describes."""

import base64
import json
import sys
import threading

from confluent_kafka import Consumer, KafkaException, Producer

command, settings = sys.argv[1], json.loads(sys.argv[2])
servers = {"bootstrap.servers": ",".join(settings["brokers"])}
topic = settings["topic"]


def decode(text):
    return None if text is None else base64.b64decode(text)


def encode(data):
    return None if data is None else base64.b64encode(data).decode()


def produce():
    failed = []
    transaction = settings.get("transaction")
    producer = Producer(
        {
            **servers,
            **({"transactional.id": f"confluent-{topic}"} if transaction else {}),
            "compression.type": settings.get("compression", "none"),
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 50,
        }
    )
    if transaction:
        producer.init_transactions()
        producer.begin_transaction()
    for line in sys.stdin:
        record = json.loads(line)
        options = {} if record["partition"] is None else {"partition": record["partition"]}
        producer.produce(
            topic,
            value=decode(record["value"]),
            key=decode(record["key"]),
            headers=[(name, decode(data)) for name, data in record["headers"]],
            timestamp=record["timestamp"],
            on_delivery=lambda error, _: failed.append(error) if error else None,
            **options,
        )
    left = producer.flush(30)
    if transaction == "commit":
        producer.commit_transaction()
    elif transaction == "abort":
        producer.abort_transaction()
    if failed or left:
        sys.exit(f"{left} records were not sent, {len(failed)} failed: {failed[:1]}")


def consume():
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    config = {**servers, "group.id": settings["group"], "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100}
    if settings.get("protocol") == "consumer":
        config["group.protocol"] = "consumer"
    else:
        config.update({"heartbeat.interval.ms": 500, "session.timeout.ms": 10000})
        config["partition.assignment.strategy"] = settings.get("assignor", "cooperative-sticky")
    consumer = Consumer(config)
    consumer.subscribe([topic])
    while not ended.is_set():
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        record = {
            "partition": message.partition(),
            "key": encode(message.key()),
            "value": encode(message.value()),
            "headers": [[name, encode(data)] for name, data in message.headers() or []],
            "timestamp": message.timestamp()[1],
        }
        print(json.dumps(record), flush=True)
    consumer.close()


produce() if command == "produce" else consume()
