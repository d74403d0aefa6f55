"""Small acts on a log, for its tests."""

from collections.abc import Callable

from streams.kafka.log import KafkaLog

Make = Callable[..., KafkaLog]
GROUP = "group"
LEAD = f"{GROUP}.changelog"


def put(log: KafkaLog, topic: str, *values: bytes, partition: int = 0, producer: str = "p") -> None:
    transaction = log.transaction(producer)
    transaction.append(topic, partition, [b"k"] * len(values), values)
    transaction.commit({})


def drop(log: KafkaLog, topic: str, *values: bytes, partition: int = 0, producer: str = "p") -> None:
    transaction = log.transaction(producer)
    transaction.append(topic, partition, [b"k"] * len(values), values)
    transaction.flush()  # what never left the client would take no offsets
    transaction.abort()
