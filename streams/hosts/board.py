"""The ticks and everybody's progress: what a task needs to know where its barriers stand."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from streams.contracts.codec import Codec
from streams.contracts.topic import Topic
from streams.hosts.log import Log, TopicPartition
from streams.topology import CLOCK, PROGRESS, AnyProcessor, Topology

EPOCH_MICROS = 0


def micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def span(delta: timedelta) -> int:
    """A length of time in microseconds."""
    return delta // _MICROSECOND


def moment(value: int) -> datetime:
    """The UTC time of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Report:
    """What one task reported for one tick."""

    watermark: int
    ends: Mapping[TopicPartition, int]


@dataclass(slots=True)
class _Due:
    """The ticks that are due for one granularity, and how far they have been worked out."""

    ticks: list[int] = field(default_factory=list)
    seen: int = 0


class Board:
    """Ticks and progress as the log has them. One a process, shared by its tasks.

    Args:
        absent: the watermark of a topic whose writer is not part of the topology, in microseconds.
    """

    def __init__(
        self, topology: Topology, log: Log, codec: Codec, absent: Callable[[Topic], int] | None = None
    ) -> None:
        self._topology = topology
        self._log = log
        self._codec = codec
        self._absent = absent
        self._clock = topology.topic(CLOCK)
        self._progress = topology.topic(PROGRESS)
        self._read = {CLOCK: 0, PROGRESS: 0}
        self.ticks: list[int] = []
        self._appended: dict[int, int] = {}
        self._due: dict[int, _Due] = {}
        self._reports: dict[str, dict[int, dict[int, Report]]] = {}  # processor and version, tick, partition

    def refresh(self) -> None:
        """Read what is new."""
        while (slab := self._log.read(CLOCK, 0, self._read[CLOCK])).next_offset > self._read[CLOCK]:
            self._read[CLOCK] = slab.next_offset
            events = self._codec.decode_events(self._clock, slab.events)
            for event, appended in zip(events, slab.appended_at.tolist(), strict=True):
                tick = micros(event["tick_at"])
                if not self.ticks or tick > self.ticks[-1]:  # a tick heard twice, or a clock that went back
                    self.ticks.append(tick)
                    self._appended[tick] = appended
        while (slab := self._log.read(PROGRESS, 0, self._read[PROGRESS])).next_offset > self._read[PROGRESS]:
            self._read[PROGRESS] = slab.next_offset
            for event in self._codec.decode_events(self._progress, slab.events):
                self._report(event)

    def _report(self, event: Mapping[str, Any]) -> None:
        name, _, partition = event["task"].rpartition(".")
        ends = {(item["topic"], item["partition"]): item["end_offset"] for item in event["outputs"]}
        by_tick = self._reports.setdefault(name, {})
        by_tick.setdefault(micros(event["tick_at"]), {})[int(partition)] = Report(micros(event["watermark"]), ends)

    def _due_ticks(self, every: timedelta) -> list[int]:
        size = span(every)
        due = self._due.setdefault(size, _Due())
        for index in range(due.seen, len(self.ticks)):
            if index == 0 or self.ticks[index] // size > self.ticks[index - 1] // size:
                due.ticks.append(self.ticks[index])
        due.seen = len(self.ticks)
        return due.ticks

    def next_due(self, spec: AnyProcessor, after: int | None) -> int | None:
        """The first tick later than ``after`` that is due for a processor."""
        due = self._due_ticks(spec.every)
        index = 0 if after is None else bisect_right(due, after)
        return due[index] if index < len(due) else None

    def last_due(self, spec: AnyProcessor, until: int) -> int | None:
        """The last tick up to ``until`` that is due for a processor."""
        due = self._due_ticks(spec.every)
        index = bisect_right(due, until)
        return due[index - 1] if index else None

    def tick_before(self, until: int) -> int | None:
        """The last tick at or before a time."""
        index = bisect_right(self.ticks, until)
        return self.ticks[index - 1] if index else None

    def reports(self, spec: AnyProcessor, tick: int) -> dict[int, Report] | None:
        """What all tasks of a processor reported for a tick that is due for it; None while one is missing."""
        found = self._reports.get(f"{spec.name}.v{spec.version}", {}).get(tick)
        if found is None or len(found) < self._topology.tasks(spec):
            return None
        return found

    def bounds(self, topic: Topic, tick: int, *, own: AnyProcessor | None = None) -> tuple[int, ...] | None:
        """Up to where a topic counts at a tick, by partition; None while that cannot be said or read.

        So it is while a writer has not reported, and while something before is in a transaction that is still open.
        ``own`` is the asking processor: its own output counts up to the tick before.
        """
        count = self._log.partitions(topic.name)
        writer = self._topology.by_topic.get(topic.name)
        if writer is None:
            return self._stable(topic, [self._first_after(topic.name, p, self._appended[tick]) for p in range(count)])
        last = self.last_due(writer, tick if writer is not own else tick - 1)
        if last is None:
            return (0,) * count
        reports = self.reports(writer, last)
        if reports is None:
            return None
        return self._stable(
            topic, [max(r.ends.get((topic.name, p), 0) for r in reports.values()) for p in range(count)]
        )

    def _first_after(self, topic: str, partition: int, appended: int) -> int:
        after = self._log.offset_after(topic, partition, appended)
        return self._log.end(topic, partition, committed=False) if after is None else after

    def _stable(self, topic: Topic, ends: list[int]) -> tuple[int, ...] | None:
        if not all(self._log.reached(topic.name, partition, end) for partition, end in enumerate(ends)):
            return None
        return tuple(ends)

    def watermark(self, topic: Topic, tick: int) -> int:
        """All effects of what happened before this are in, at a tick whose bounds are known."""
        writer = self._topology.by_topic.get(topic.name)
        if writer is not None:
            last = self.last_due(writer, tick)
            reports = self.reports(writer, last) if last is not None else None
            return min((r.watermark for r in reports.values()), default=EPOCH_MICROS) if reports else EPOCH_MICROS
        if self._absent is not None:
            return self._absent(topic)
        return tick - span(topic.lateness)

    def forget(self, before: int) -> None:
        """Drop the progress of ticks that nobody will ask for again: those before the last due one until then."""
        for by_tick in self._reports.values():
            for tick in sorted(tick for tick in by_tick if tick <= before)[:-1]:
                del by_tick[tick]
