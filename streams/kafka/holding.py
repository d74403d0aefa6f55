"""What was consumed of a partition and not yet read.

The client's messages are taken apart while they are warm, and let go of at once: half a million of them held would be
slow to come back to, and work for the garbage collector.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from streams.hosts.log import Slab
from streams.hosts.log import TopicPartition as Place


@dataclass(frozen=True, slots=True)
class _Run:
    """Messages that came together."""

    offsets: NDArray[np.int64]
    stamps: NDArray[np.int64]
    keys: list[bytes | None]
    values: list[bytes | None]
    origins: list[str]

    def part(self, low: int, high: int) -> "_Run":
        if low == 0 and high == len(self.values):
            return self
        cut = slice(low, high)
        return _Run(self.offsets[cut], self.stamps[cut], self.keys[cut], self.values[cut], self.origins[cut])


@dataclass(slots=True)
class Held:
    """Of one partition.

    Attributes:
        low: the first offset that may still be read.
        position: what comes next.
        paused: whether the client fetches no more of it.
        since: the first of it came after this (`time.monotonic`).
        turn: when it was last read.
        count: how many records.
    """

    low: int
    position: int
    paused: bool = False
    since: float = 0.0
    turn: int = 0
    count: int = 0
    _runs: list[_Run] = field(default_factory=list)

    def add(self, messages: list[Message], origin: Callable[[Message], str] | None) -> None:
        """Messages that follow, at least one."""
        found = _offsets(messages)
        made = _Run(
            found,
            _stamps(messages),
            list(map(Message.key, messages)),
            list(map(Message.value, messages)),
            list(map(origin, messages)) if origin is not None else [],
        )
        self._runs.append(made)
        self.count += len(messages)
        self.position = int(found[-1]) + 1

    def drop_before(self, start: int) -> None:
        """Forget what lies before an offset."""
        if start <= self.low:
            return
        self.low = start
        whole = 0
        for run in self._runs:
            if run.offsets[-1] >= start:
                break
            whole += 1
            self.count -= len(run.values)
        del self._runs[:whole]
        if self._runs and self._runs[0].offsets[0] < start:
            first = self._runs[0]
            low = int(np.searchsorted(first.offsets, start))
            self._runs[0] = first.part(low, len(first.values))
            self.count -= low

    def index(self, offset: int) -> int:
        """How many records lie before an offset."""
        count = 0
        for run in self._runs:
            if run.offsets[-1] >= offset:
                return count + int(np.searchsorted(run.offsets, offset))
            count += len(run.values)
        return count

    def slab(self, place: Place, count: int, next_offset: int | None) -> Slab:
        """The first so many records; they end before ``next_offset``, or None: right after the last."""
        parts, left = [], count
        for run in self._runs:
            if left <= 0:
                break
            parts.append(run.part(0, min(left, len(run.values))))
            left -= len(parts[-1].values)
        if len(parts) == 1:
            offsets, stamps, keys, values = parts[0].offsets, parts[0].stamps, parts[0].keys, parts[0].values
        else:
            none = np.empty(0, np.int64)
            offsets = np.concatenate([none, *(part.offsets for part in parts)])
            stamps = np.concatenate([none, *(part.stamps for part in parts)])
            keys = [key for part in parts for key in part.keys]
            values = [value for part in parts for value in part.values]
        origins = [(1, origin) for part in parts for origin in part.origins]
        after = int(offsets[-1]) + 1 if next_offset is None else next_offset
        return Slab(*place, offsets, stamps * 1_000, keys, values, after, origins)


def _offset(message: Message) -> int:
    return message.offset() or 0


def _offsets(messages: list[Message]) -> NDArray[np.int64]:
    first, last = _offset(messages[0]), _offset(messages[-1])
    if last - first + 1 == len(messages):
        return np.arange(first, last + 1, dtype=np.int64)
    return np.fromiter((_offset(message) for message in messages), np.int64, len(messages))


def _stamps(messages: list[Message]) -> NDArray[np.int64]:
    """Append times in milliseconds, of each: a broker's clock may go back, and neighbours tell nothing."""
    return np.fromiter(map(itemgetter(1), map(Message.timestamp, messages)), np.int64, len(messages))
