"""The log of the embedded host: in memory, or in a folder that can be opened again.

It behaves as a broker does where that matters: control markers and aborted records take offsets, readers see no
further than the last stable offset, a second producer of the same name fences the first, and a commit with an old
fence is refused. A crash can be made to happen at each named point.

In a folder all is one journal. A transaction is one record of it, written whole at its commit; a torn tail is cut
off when the folder is opened. Nothing is synced to the disk before the process goes on: the embedded host survives
a killed process, not a power cut.
"""

import json
import struct
import time
import uuid
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from streams.errors import FencedError, StreamsError, WiringError
from streams.hosts.journal import Journal
from streams.hosts.log import CrashPoint, Fence, Slab, TopicPartition

_NAMESPACE = uuid.UUID("5f3c1f0e-6a43-5c5e-9d8e-0f0c7a2b9a11")
_CHUNK = struct.Struct("<HHIqqIq")  # topic and origin length, partition, its end, base offset, count, append time
_COMMIT, _ABORT, _TRUNCATE = 0, 1, 2
_FOLLOW_S = 0.05


@dataclass(slots=True)
class _Chunk:
    """Records that were appended together. ``keys`` is None while they are only in the journal."""

    base: int
    count: int
    appended_at: int
    origin: str
    keys: list[bytes | None] | None
    values: list[bytes | None] | None
    open: bool = True
    aborted: bool = False
    size: int = 0
    at: int = -1  # where its lengths stand in the journal


@dataclass(slots=True)
class _Partition:
    chunks: list[_Chunk] = field(default_factory=list)
    bases: list[int] = field(default_factory=list)
    end: int = 0
    first: int = 0
    pending: int = 0  # open chunks

    def stable(self) -> int:
        if not self.pending:
            return self.end
        return next(chunk.base for chunk in self.chunks if chunk.open)


class MemoryTransaction:
    """A transaction of `MemoryLog`."""

    def __init__(self, log: "MemoryLog", producer: str, fence: Fence | None) -> None:
        self._log = log
        self._producer = producer
        self._fence = fence
        self._chunks: list[tuple[TopicPartition, _Chunk]] = []
        self._state: Literal["open", "done", "fenced"] = "open"

    def _require_open(self) -> None:
        if self._state == "fenced":
            raise FencedError(f"producer {self._producer!r} was fenced by a successor; nothing was committed")
        if self._state == "done":
            raise StreamsError(f"the transaction of producer {self._producer!r} is over")

    def append(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        *,
        origin: str = "",
    ) -> None:
        """Add records to a partition."""
        self._require_open()
        if len(keys) != len(values):
            raise StreamsError(f"{topic}: {len(keys)} keys for {len(values)} values")
        if not values:
            return
        self._log.reach("append")
        held = self._log.partition_of(topic, partition)
        chunk = _Chunk(held.end, len(values), self._log.tick(), origin, list(keys), list(values))
        held.chunks.append(chunk)
        held.bases.append(chunk.base)
        held.end += chunk.count
        held.pending += 1
        self._chunks.append(((topic, partition), chunk))

    def flush(self) -> dict[TopicPartition, tuple[int, int]]:
        """The offsets taken so far."""
        self._require_open()
        self._log.reach("flush")
        ranges: dict[TopicPartition, tuple[int, int]] = {}
        for place, chunk in self._chunks:
            start, _ = ranges.get(place, (chunk.base, 0))
            ranges[place] = (start, chunk.base + chunk.count)
        return ranges

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Make all readable."""
        self._require_open()
        fence = self._fence
        self._log.reach("before_commit")
        if fence is not None and not self._log.holds(fence):
            self.abort()
            raise FencedError(f"group {fence.group!r}: generation {fence.generation} has been superseded")
        self._log.write(_COMMIT, self._chunks, fence.group if fence else "", positions)
        self._settle(aborted=False)
        if fence is not None:
            self._log.positions.setdefault(fence.group, {}).update(positions)
        self._log.reach("after_commit")

    def abort(self) -> None:
        """Drop all; the offsets stay taken."""
        if self._state != "open":
            return
        self._log.write(_ABORT, self._chunks, "", {})
        self._settle(aborted=True)

    def _settle(self, *, aborted: bool) -> None:
        touched = {}
        for place, chunk in self._chunks:
            chunk.open, chunk.aborted = False, aborted
            if aborted:
                chunk.keys = chunk.values = None
            held = self._log.partition_of(*place)
            held.pending -= 1
            touched[place] = held
        for held in touched.values():
            held.end += 1  # the control marker
        self._state = "done"
        self._log.closed(self._producer, self)

    def supersede(self) -> None:
        """Another producer of this name has begun."""
        if self._state == "open":
            self.abort()
            self._state = "fenced"


class MemoryLog:
    """Partitions of records, in memory or in a folder.

    Args:
        folder: where the journal lies; None keeps all in memory.
        clock: microseconds since 1970 UTC; append times are this, made strictly ascending.
        cache_bytes: how much of a folder's records stays in memory.
        look_only: read a folder that another process may have open; nothing is written or cut off.

    Attributes:
        clocked: what the clock said at the last commit before the folder was opened.

    Raises:
        StreamsError: another host writes to the folder, or it is damaged.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        clock: Callable[[], int],
        cache_bytes: int = 48 << 20,
        look_only: bool = False,
    ) -> None:
        self.clock = clock
        self.crash: Callable[[CrashPoint], None] | None = None
        self.positions: dict[str, dict[TopicPartition, int]] = {}
        self._topics: dict[str, list[_Partition]] = {}
        self._generations: dict[str, int] = {}
        self._open: dict[str, MemoryTransaction] = {}
        self._last = 0
        self.clocked = 0
        self._folder = folder
        self._journal: Journal | None = None
        self._cached: dict[int, _Chunk] = {}
        self._cached_bytes = 0
        self._cache_bytes = cache_bytes
        self._look_only = look_only
        self.meta: dict[str, str] = {}
        if folder is not None:
            self._open_folder(folder)

    # Topics.

    def create(self, topic: str, partitions: int) -> None:
        """Create a topic; nothing where it exists with this count."""
        known = self._topics.get(topic)
        if known is None:
            self._topics[topic] = [_Partition() for _ in range(partitions)]
            self._save_meta()
        elif len(known) != partitions:
            raise WiringError(
                f"topic {topic} has {len(known)} partitions, {partitions} were asked for: a partition count never "
                "changes; use the count it was born with, or a new folder"
            )

    def topics(self) -> list[str]:
        """The names of all topics."""
        return list(self._topics)

    def partitions(self, topic: str) -> int:
        """A topic's partition count."""
        return len(self._of(topic))

    def uuid(self, topic: str) -> str:
        """The topic's identity; the same in every embedded log, so that equal runs write equal bytes."""
        self._of(topic)
        return str(uuid.uuid5(_NAMESPACE, topic))

    def _of(self, topic: str) -> list[_Partition]:
        try:
            return self._topics[topic]
        except KeyError:
            raise WiringError(f"topic {topic} is not in this log; it holds {len(self._topics)} others") from None

    def partition_of(self, topic: str, partition: int) -> _Partition:
        """One partition."""
        held = self._of(topic)
        if not 0 <= partition < len(held):
            raise WiringError(f"topic {topic} has {len(held)} partitions, there is no partition {partition}")
        return held[partition]

    # Reading.

    def read(self, topic: str, partition: int, start: int, *, stop: int | None = None, limit: int = 50_000) -> Slab:
        """Committed records from ``start``."""
        held = self.partition_of(topic, partition)
        bound = held.stable() if stop is None else min(stop, held.stable())
        at = max(start, held.first)
        offsets, stamps, keys, values = [], [], [], []
        origins: list[tuple[int, str]] = []
        index = max(bisect_right(held.bases, at) - 1, 0)
        left = limit
        while at < bound and left > 0 and index < len(held.chunks):
            chunk = held.chunks[index]
            index += 1
            if chunk.base >= bound:
                break
            low = max(at - chunk.base, 0)
            high = min(chunk.count, bound - chunk.base, low + left)
            if chunk.aborted or low >= high:
                continue
            chunk_keys, chunk_values = self._load(chunk)
            offsets.append(np.arange(chunk.base + low, chunk.base + high, dtype=np.int64))
            stamps.append(np.full(high - low, chunk.appended_at, dtype=np.int64))
            keys.append(chunk_keys if (low, high) == (0, chunk.count) else chunk_keys[low:high])
            values.append(chunk_values if (low, high) == (0, chunk.count) else chunk_values[low:high])
            origins.append((high - low, chunk.origin))
            left -= high - low
            at = chunk.base + high
        next_offset = at if left <= 0 else max(bound, at)
        return Slab(
            topic,
            partition,
            np.concatenate(offsets) if offsets else np.empty(0, np.int64),
            np.concatenate(stamps) if stamps else np.empty(0, np.int64),
            [key for part in keys for key in part],
            [value for part in values for value in part],
            next_offset,
            origins,
        )

    def start(self, topic: str, partition: int) -> int:
        """The first offset that is still there."""
        return self.partition_of(topic, partition).first

    def end(self, topic: str, partition: int, *, committed: bool = True) -> int:
        """Last stable offset, or high watermark."""
        held = self.partition_of(topic, partition)
        return held.stable() if committed else held.end

    def reached(self, topic: str, partition: int, offset: int) -> bool:
        """Whether all before an offset is decided."""
        return self.partition_of(topic, partition).stable() >= offset

    def ends_at(self, topic: str, appended_at: int) -> list[int]:
        """By partition, the offset of the first record appended later than this, or the high watermark."""
        return [self._end_at(topic, partition, appended_at) for partition in range(self.partitions(topic))]

    def _end_at(self, topic: str, partition: int, appended_at: int) -> int:
        held = self.partition_of(topic, partition)
        index = bisect_right(held.chunks, appended_at, key=lambda chunk: chunk.appended_at)
        while index < len(held.chunks) and held.chunks[index].aborted:
            index += 1
        return held.chunks[index].base if index < len(held.chunks) else self.end(topic, partition, committed=False)

    def committed(self, group: str, place: TopicPartition) -> int | None:
        """The position that a group committed last for a partition."""
        return self.positions.get(group, {}).get(place)

    # Writing.

    def tick(self) -> int:
        """The append time of what is appended now: the clock's, strictly ascending."""
        self._last = max(self.clock(), self._last + 1)
        return self._last

    def transaction(self, producer: str, fence: Fence | None = None) -> MemoryTransaction:
        """Begin."""
        if self._look_only:
            raise StreamsError("this log was opened to be looked at; nothing can be written")
        if before := self._open.get(producer):
            before.supersede()
        self.reach("begin")
        made = MemoryTransaction(self, producer, fence)
        self._open[producer] = made
        return made

    def closed(self, producer: str, transaction: MemoryTransaction) -> None:
        """A transaction is over."""
        if self._open.get(producer) is transaction:
            del self._open[producer]

    def join(self, group: str) -> Fence:
        """A new owner of a group: older fences are void from now on."""
        self._generations[group] = self._generations.get(group, 0) + 1
        return Fence(group, self._generations[group])

    def holds(self, fence: Fence) -> bool:
        """Whether a fence is the newest of its group."""
        return self._generations.get(fence.group, 0) == fence.generation

    def reach(self, point: CrashPoint) -> None:
        """A named point: a test may let the process die here."""
        if self.crash is not None:
            self.crash(point)

    def abort_open(self) -> None:
        """What a broker does with the transactions of dead producers."""
        for transaction in list(self._open.values()):
            transaction.abort()

    def truncate(self, topic: str, partition: int, before: int) -> None:
        """Forget the records before an offset."""
        held = self.partition_of(topic, partition)
        if before > held.stable():
            raise StreamsError(f"{topic}[{partition}]: cannot truncate to {before}, beyond the stable offset")
        if before <= held.first:
            return
        self._forget(held, before)
        if self._journal is not None:
            self._journal.append([bytes([_TRUNCATE]), json.dumps([topic, partition, before]).encode()])

    @staticmethod
    def _forget(held: _Partition, before: int) -> None:
        held.first = max(held.first, before)
        keep = next((i for i, c in enumerate(held.chunks) if c.base + c.count > before), len(held.chunks))
        del held.chunks[:keep]
        del held.bases[:keep]

    # The journal.

    def _open_folder(self, folder: Path) -> None:
        if not self._look_only:
            folder.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(folder / "journal.bin", look_only=self._look_only)
        try:
            self._take_in(folder)
        except BaseException:
            self.close()
            raise

    def _take_in(self, folder: Path) -> bool:
        """Read what is new in the folder; whether there was anything."""
        assert self._journal is not None
        meta = folder / "topics.json"
        if meta.exists():
            held = json.loads(meta.read_text())
            for name, count in held["topics"].items():
                self._topics.setdefault(name, [_Partition() for _ in range(count)])
            self.meta.update(held["meta"])
        found = False
        for payload, at in self._journal.records():
            self._replay(payload, at)
            found = True
        return found

    def follow(self) -> bool:
        """Of a folder that is looked at: wait until its host has written more; False once that has ended."""
        assert self._journal is not None
        assert self._folder is not None
        while True:
            going = self._journal.written()  # asked first: what was written before the end is then still read
            if self._take_in(self._folder):
                return True
            if not going:
                return False
            time.sleep(_FOLLOW_S)

    def _save_meta(self) -> None:
        if self._folder is None or self._look_only:
            return
        text = json.dumps({"topics": {k: len(v) for k, v in self._topics.items()}, "meta": self.meta}, indent=1)
        temporary = self._folder / "topics.json.new"
        temporary.write_text(text)
        temporary.replace(self._folder / "topics.json")

    def remember(self, name: str, value: str) -> None:
        """Keep a small fact beside the topics (a schema by its id, the clock's zero)."""
        if self.meta.get(name) != value:
            self.meta[name] = value
            self._save_meta()

    def write(
        self,
        kind: int,
        chunks: Sequence[tuple[TopicPartition, _Chunk]],
        group: str,
        positions: Mapping[TopicPartition, int],
    ) -> None:
        """Put a transaction into the journal; an aborted one without its records."""
        if self._journal is None:
            return
        head = json.dumps([group, [[t, p, o] for (t, p), o in positions.items()], self.clock()]).encode()
        parts = [struct.pack("<BII", kind, len(head), len(chunks)), head]
        length = sum(map(len, parts))
        places = []
        for (topic, partition), chunk in chunks:
            name, origin = topic.encode(), chunk.origin.encode()
            end = self.partition_of(topic, partition).end + 1  # with the control marker to come
            fixed = _CHUNK.pack(len(name), len(origin), partition, end, chunk.base, chunk.count, chunk.appended_at)
            body = [fixed, name, origin]
            places.append(length + sum(map(len, body)))
            if kind == _COMMIT:
                keys, values = chunk.keys or [], chunk.values or []
                lengths = [-1 if item is None else len(item) for item in (*keys, *values)]
                body.append(np.array(lengths, np.int32).tobytes())
                body.extend(key for key in keys if key)
                body.extend(value for value in values if value)
            joined = b"".join(body)
            chunk.size = len(joined)
            parts.append(joined)
            length += len(joined)
        at = self._journal.append(parts)
        for (_, chunk), place in zip(chunks, places, strict=True):
            chunk.at = at + place
            if kind == _COMMIT:
                self._cache(chunk)

    def _replay(self, payload: bytes, at: int) -> None:
        kind = payload[0]
        if kind == _TRUNCATE:
            topic, partition, before = json.loads(payload[1:])
            self._forget(self.partition_of(topic, partition), before)
            return
        _, head_length, count = struct.unpack_from("<BII", payload)
        place = struct.calcsize("<BII")
        group, positions, self.clocked = json.loads(payload[place : place + head_length])
        place += head_length
        touched: dict[int, _Partition] = {}
        for _ in range(count):
            name, origin, partition, end, base, n, stamp = _CHUNK.unpack_from(payload, place)
            place += _CHUNK.size
            topic = payload[place : place + name].decode()
            chunk = _Chunk(
                base, n, stamp, payload[place + name : place + name + origin].decode(), None, None, open=False
            )
            place += name + origin
            chunk.at = at + place
            chunk.aborted = kind == _ABORT
            if kind == _COMMIT:
                lengths = np.frombuffer(payload, np.int32, 2 * n, place)
                chunk.size = 8 * n + int(lengths[lengths > 0].sum())
                place += chunk.size
            held = self.partition_of(topic, partition)
            held.chunks.append(chunk)
            held.bases.append(base)
            held.end = max(held.end, end)
            touched[id(held)] = held
            self._last = max(self._last, stamp)
        for held in touched.values():
            held.chunks.sort(key=lambda chunk: chunk.base)
            held.bases.sort()
        for topic, partition, offset in positions:
            self.positions.setdefault(group, {})[topic, partition] = offset

    def _load(self, chunk: _Chunk) -> tuple[list[bytes | None], list[bytes | None]]:
        if chunk.keys is not None and chunk.values is not None:
            return chunk.keys, chunk.values
        journal = self._journal
        assert journal is not None
        raw = journal.read(chunk.at, chunk.size)
        lengths = np.frombuffer(raw, np.int32, 2 * chunk.count)
        ends = np.cumsum(np.maximum(lengths, 0)) + lengths.nbytes
        starts = ends - np.maximum(lengths, 0)
        items = [
            None if length < 0 else raw[start:end]
            for length, start, end in zip(lengths.tolist(), starts.tolist(), ends.tolist(), strict=True)
        ]
        chunk.keys, chunk.values = items[: chunk.count], items[chunk.count :]
        self._cache(chunk)
        return items[: chunk.count], items[chunk.count :]

    def _cache(self, chunk: _Chunk) -> None:
        weight = chunk.size + 100 * chunk.count
        self._cached[id(chunk)] = chunk
        self._cached_bytes += weight
        while self._cached_bytes > self._cache_bytes and len(self._cached) > 1:
            oldest = self._cached.pop(next(iter(self._cached)))
            oldest.keys = oldest.values = None
            self._cached_bytes -= oldest.size + 100 * oldest.count

    def close(self) -> None:
        """Write out and close the journal."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
