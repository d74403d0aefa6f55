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
_REACH_MICROS = 3 * 86_400 * 1_000_000
_FEW_TICKS = 2_000
_KNOWN_BOUNDS = 256


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
        self._since: int | None = None
        self.ticks: list[int] = []
        self._appended: dict[int, int] = {}
        self._due: dict[int, _Due] = {}
        self._reports: dict[str, dict[int, dict[int, Report]]] = {}  # processor and version, tick, partition
        self._bounds: dict[tuple[str, int, bool], tuple[int, ...]] = {}

    def reach_back(self, tick: int | None) -> None:
        """Know all that a task needs which goes on after a tick, or from the beginning where it has none.

        A board that is never asked to begins with the first tick there is. One that is does not read the years before.
        """
        if self._since == EPOCH_MICROS:
            return
        since = EPOCH_MICROS if tick is None else tick - self.reach
        if self._since is not None and since >= self._since:
            return
        self.ticks, self._appended, self._due, self._reports = [], {}, {}, {}
        self._since = since
        self._read = {CLOCK: self._clock_at(since), PROGRESS: 0}
        first = self._log.read(CLOCK, 0, self._read[CLOCK], stop=self._log.end(CLOCK, 0), limit=1)
        if self._read[CLOCK] and len(first):  # in the millisecond before that tick nobody had reported it
            self._read[PROGRESS] = self._log.ends_at(PROGRESS, int(first.appended_at[0]) - 1_000)[0]

    @property
    def reach(self) -> int:
        """How far back, in microseconds, anybody may ask: a few days, and the longest delay and granularity."""
        spans = [spec.every for spec in self._topology.processors]
        delays = [by for spec in self._topology.processors for by in spec.delayed.values()]
        return _REACH_MICROS + span(max(spans, default=timedelta())) + span(max(delays, default=timedelta()))

    def _clock_at(self, since: int) -> int:
        """An offset of the clock before which all ticks are earlier than a time; few ticks are not searched."""
        low, high = self._log.start(CLOCK, 0), self._log.end(CLOCK, 0)
        end = high
        while high - low > _FEW_TICKS:
            middle = (low + high) // 2
            slab = self._log.read(CLOCK, 0, middle, stop=end, limit=1)
            ticks = self._codec.decode_events(self._clock, slab.events)
            if ticks and micros(ticks[0]["tick_at"]) < since:
                low = middle
            else:
                high = middle
        return low

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
        """What all tasks of a processor reported for a tick that is due for it; None while one is missing.

        The ticks before a version took over were reported by an older one.
        """
        found = self._reports.get(f"{spec.name}.v{spec.version}", {}).get(tick)
        for version in range(spec.version - 1, 0, -1):
            older = self._reports.get(f"{spec.name}.v{version}", {}).get(tick)
            found = {**older, **(found or {})} if older else found
        if found is None or len(found) < self._topology.tasks(spec):
            return None
        return found

    def bounds(self, topic: Topic, tick: int, *, own: AnyProcessor | None = None) -> tuple[int, ...] | None:
        """Up to where a topic counts at a tick, by partition; None while that cannot be said or read.

        So it is while a writer has not reported, and while something before is in a transaction that is still open.
        ``own`` is the asking processor: its own output counts up to the tick before.
        """
        writer = self._topology.by_topic.get(topic.name)
        place = (topic.name, tick, writer is own)
        if place not in self._bounds:
            found = self._bounds_at(topic, tick, writer, own)
            if found is None:
                return None
            self._bounds[place] = found  # asked for by all tasks here, and again while another topic is waited for
            if len(self._bounds) > _KNOWN_BOUNDS:
                del self._bounds[next(iter(self._bounds))]
        return self._bounds[place]

    def _bounds_at(
        self, topic: Topic, tick: int, writer: AnyProcessor | None, own: AnyProcessor | None
    ) -> tuple[int, ...] | None:
        count = self._log.partitions(topic.name)
        if writer is None:
            return self._stable(topic, self._log.ends_at(topic.name, self._appended[tick]))
        last = self.last_due(writer, tick if writer is not own else tick - 1)
        if last is None:
            return (0,) * count
        reports = self.reports(writer, last)
        if reports is None:
            return None
        return self._stable(
            topic, [max(r.ends.get((topic.name, p), 0) for r in reports.values()) for p in range(count)]
        )

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
