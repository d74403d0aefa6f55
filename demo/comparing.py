"""Whether two runs have told the same: every event of a topic, whatever the order and the offsets."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from streams.contracts.codec import Codec
from streams.contracts.topic import Topic
from streams.hosts.log import Log

_CAUSE = ("cause_topic", "cause_partition", "cause_offset")
"""Where in the log the cause of an event lies: offsets are each log's own."""
_FRAME = 5
"""Bytes before an Avro body: the schema's number, which is each registry's own."""


@dataclass(frozen=True)
class Source:
    """A run's log, and what decodes it."""

    name: str
    log: Log
    codec: Codec


@dataclass(frozen=True)
class Compared:
    """A topic in both runs.

    Attributes:
        topic: Its name.
        rows: How many events each run has.
        differing: How many events only one of them has.
        first: The first that differs, in words; empty where none does.
    """

    topic: str
    rows: tuple[int, int]
    differing: int
    first: str = ""

    @property
    def equal(self) -> bool:
        """Whether both runs have the same events, each as often."""
        return not self.differing


def compare(topic: Topic, one: Source, other: Source) -> Compared:
    """Compare all events of a topic: keys and Avro bytes, each as often, in any order."""
    found = [Counter(_events(topic, source)) for source in (one, other)]
    missing, extra = found[0] - found[1], found[1] - found[0]
    differing = missing.total() + extra.total()
    first = _first(topic, one, other, missing, extra) if differing else ""
    return Compared(topic.name, (found[0].total(), found[1].total()), differing, first)


def _events(topic: Topic, source: Source) -> Iterator[tuple[bytes, bytes]]:
    caused = set(_CAUSE) <= set(topic.columns)
    for partition in range(source.log.partitions(topic.name)):
        at = source.log.start(topic.name, partition)
        while len(slab := source.log.read(topic.name, partition, at)):
            keys, values = slab.keys, slab.values
            if caused:
                frame = source.codec.decode(topic, keys, values).frame
                plain = frame.with_columns(pl.lit(None, topic.columns[name]).alias(name) for name in _CAUSE)
                encoded = source.codec.encode(topic, plain)
                keys, values = list(encoded.keys), list(encoded.values)
            for key, value in zip(keys, values, strict=True):
                yield key or b"", (value or b"")[_FRAME:]
            at = slab.next_offset


def _first(
    topic: Topic, one: Source, other: Source, missing: Counter[tuple[bytes, bytes]], extra: Counter[tuple[bytes, bytes]]
) -> str:
    """The first differing event by its identity, and the fields in which the runs differ."""
    here, there = (_decoded(topic, source, events) for source, events in ((one, missing), (other, extra)))
    place = min([*here, *there], key=repr)
    said = ", ".join(f"{name} {value}" for name, value in zip(topic.identity, place, strict=True))
    if place not in here or place not in there:
        where, where_not = (one, other) if place in here else (other, one)
        held = (here | there)[place]
        return f"{said}: {where.name} has it and {where_not.name} has not: {_shown(held)}"
    a, b = here[place], there[place]
    fields = [f"{name} {_shown(a[name])} and {_shown(b[name])}" for name in a if a[name] != b[name]]
    often = "the same event, not as often" if not fields else f"{', '.join(fields)} ({one.name} and {other.name})"
    return f"{said}: {often}"


def _decoded(topic: Topic, source: Source, events: Counter[tuple[bytes, bytes]]) -> dict[tuple[Any, ...], Any]:
    if not events:
        return {}
    frame = source.codec.schema_id(topic).to_bytes(4, "big")
    values = [b"\0" + frame + body for _, body in events]
    rows = source.codec.decode(topic, [key for key, _ in events], values).frame.to_dicts()
    return {tuple(row[name] for name in topic.identity): row for row in rows}


def _shown(value: Any) -> str:
    text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 600 else f"{text[:600]}…"
