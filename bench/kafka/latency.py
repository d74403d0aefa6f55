"""From a reading's append to the effect being readable: one runner at a given rate.

``python -m bench.kafka.latency send|look …`` are the two processes beside the runner.
"""

import json
import sys
import time

import numpy as np
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from bench.kafka import data
from bench.kafka.job import ReadingEchoed
from bench.kafka.place import Place, answer, until
from streams.contracts.codec import Codec
from streams.contracts.partition import partitions_of
from streams.kafka.registry import RestRegistry
from streams.kafka.settings import Settings
from topics import ReadingTaken

_EVERY_S = 0.002
_LOST_S = 60.0
_SKIP_S = 2.0
"""The first seconds are left out: clients and tables are warm afterwards."""


def measure(place: Place, rate: int, seconds: float) -> dict[str, float]:
    """Milliseconds at one rate: p50, p99 and the most, of every reading after the first seconds."""
    run = place.install("echo")
    starts = place.ends(ReadingEchoed.__topic__.name)
    behind = place.ends(ReadingTaken.__topic__.name)
    if any(behind.values()):
        raise RuntimeError("latency is measured on a deployment of its own: there are readings already")
    looking = place.child("bench.kafka.latency", "look", json.dumps(starts), int(rate * seconds))
    runner = place.runner("echo", run, 0, int(rate * seconds), 15)
    group = f"{place.settings.kafka.prefix}echo-{run}.v1"
    until(lambda: place.owned(group) == place.partitions, f"the runner of {group}")
    time.sleep(1)
    sending = place.child("bench.kafka.latency", "send", rate, seconds)
    sent = answer(sending)
    seen = answer(looking)
    told = answer(runner)
    if not sent["rows"] == seen["rows"] == told["consumed"]:
        raise RuntimeError(f"sent {sent['rows']:,}, worked on {told['consumed']:,}, seen {seen['rows']:,}")
    return {"rate": rate, "really": sent["rate"], **{name: seen[name] for name in ("p50_ms", "p99_ms", "max_ms")}}


def send(rate: int, seconds: float) -> None:
    """Append readings at an even pace."""
    settings = Settings.load()
    codec = Codec(RestRegistry(settings.registry, prefix=settings.kafka.prefix))
    topic = ReadingTaken.__topic__
    encoded = codec.encode(topic, codec.prepare(topic, data.frame(data.SITES, range(1))))
    places = partitions_of(encoded.keys, settings.kafka.partitions.site).tolist()
    name, total = settings.kafka.topic(topic.name), int(rate * seconds)
    producer = Producer(
        {
            **settings.kafka.common(),
            "linger.ms": 1,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 2_000_000,
        }
    )
    begin = time.perf_counter()
    sent = 0
    while sent < total:
        due = min(int((time.perf_counter() - begin) * rate), total)
        for number in range(sent, due):
            row = number % data.SITES
            producer.produce(name, encoded.values[row], encoded.keys[row], places[row])
        sent = due
        producer.poll(_EVERY_S)
    really = sent / (time.perf_counter() - begin)
    producer.flush(60)
    print(json.dumps({"rows": sent, "rate": really}), flush=True)


def look(starts: dict[str, int], total: int) -> None:
    """Read effects as they become readable, and compare the clock with the append time that they carry."""
    settings = Settings.load()
    topic = ReadingEchoed.__topic__
    consumer = Consumer(
        {**settings.kafka.common(), "group.id": "look", "isolation.level": "read_committed", "fetch.wait.max.ms": 10}
    )
    name = settings.kafka.topic(topic.name)
    consumer.assign([TopicPartition(name, int(partition), start) for partition, start in starts.items()])
    batches: list[tuple[float, list[Message]]] = []
    seen, newest = 0, time.monotonic()
    while seen < total and time.monotonic() - newest < _LOST_S:
        messages = [message for message in consumer.consume(20_000, 0.001) if not message.error()]
        if messages:
            batches.append((time.time() * 1e3, messages))
            seen, newest = seen + len(messages), time.monotonic()
    consumer.close()
    codec = Codec(RestRegistry(settings.registry, prefix=settings.kafka.prefix))
    appended, late = [], []
    for at, messages in batches:
        frame = codec.decode(topic, [m.key() for m in messages], [m.value() for m in messages]).frame
        appended.append(frame["read_at"].dt.epoch("us").to_numpy() / 1e3)
        late.append(at - appended[-1])
    told: dict[str, float] = {"rows": seen}
    if seen:
        when = np.concatenate(appended)
        counted = np.concatenate(late)[when > when.min() + _SKIP_S * 1e3]
        names = {"p50_ms": 50, "p99_ms": 99, "max_ms": 100}
        told |= {name: round(float(np.percentile(counted, share)), 1) for name, share in names.items()}
    print(json.dumps(told), flush=True)


def main() -> None:
    """Send or look."""
    what, *arguments = sys.argv[1:]
    if what == "send":
        send(int(arguments[0]), float(arguments[1]))
    else:
        look(json.loads(arguments[0]), int(arguments[1]))


if __name__ == "__main__":
    main()
