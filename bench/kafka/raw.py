"""The limit: a read_committed consumer that only touches each value. ``python -m bench.kafka.raw TOPIC ROWS``."""

import json
import os
import sys
import time

from confluent_kafka import Consumer


def main() -> None:
    """Consume so many, and say in one line of JSON how long it took."""
    topic, total = sys.argv[1], int(sys.argv[2])
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["FLEXLOG_KAFKA__BOOTSTRAP_SERVERS"],
            "group.id": f"raw-{time.time()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.max.bytes": 52_428_800,
            "queued.max.messages.kbytes": 65_536,
            "queued.min.messages": 500_000,
            "fetch.queue.backoff.ms": 10,  # the default of 1,000 idles the fetcher whenever the queue is full
        }
    )
    consumer.subscribe([topic])
    seen, size, start = 0, 0, 0.0
    while seen < total:
        messages = consumer.consume(10_000, 1.0)
        if messages and not start:
            start = time.perf_counter()
        seen += len(messages)
        size += sum(len(message.value() or b"") for message in messages)
    seconds = time.perf_counter() - start
    print(json.dumps({"rows": seen, "seconds": seconds, "bytes": size}), flush=True)
    consumer.close()


if __name__ == "__main__":
    main()
