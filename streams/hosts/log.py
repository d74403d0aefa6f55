"""The seam between what every host shares and how a host keeps and moves events.

A `Log` holds partitions of records and writes them in transactions; a `Membership` says which tasks are ours.
Offsets are never dense: control markers and aborted records take some.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Slab:
    """Committed records of one partition, in offset order.

    Attributes:
        offsets: int64, ascending, with gaps.
        appended_at: int64, microseconds since 1970 UTC, when the log took the record.
        next_offset: where to read on; it is past the gaps that follow the last record.
        origins: runs of (number of records, header): which commit wrote them.
    """

    topic: str
    partition: int
    offsets: NDArray[np.int64]
    appended_at: NDArray[np.int64]
    keys: list[bytes | None]
    values: list[bytes | None]
    next_offset: int
    origins: list[tuple[int, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def events(self) -> list[bytes]:
        """The values of a topic of the hosts' own, which has no tombstones."""
        return [value or b"" for value in self.values]


@dataclass(frozen=True, slots=True)
class Fence:
    """Proof of ownership at one moment: a commit with an old one is refused.

    Attributes:
        group: of a processor's version.
        generation: counts the owners that there were.
        partition: of the task; None for the group's all.
    """

    group: str
    generation: int
    partition: int | None = None


class Transaction(Protocol):
    """Records that become readable together or not at all."""

    def append(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        *,
        origin: str = "",
    ) -> None:
        """Add records to a partition; ``origin`` goes into their header."""
        ...

    def flush(self) -> dict[TopicPartition, tuple[int, int]]:
        """Wait until all is in the log; the offsets taken so far, half-open, by partition."""
        ...

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Make all readable, with the positions of the fence's group.

        Raises:
            FencedError: another owner has taken over; the transaction is aborted.
            AbortedError: the transaction is aborted, and may be tried again.
        """
        ...

    def abort(self) -> None:
        """Drop all; the offsets stay taken."""
        ...


class Log(Protocol):
    """Partitions of records."""

    def partitions(self, topic: str) -> int:
        """A topic's partition count."""
        ...

    def uuid(self, topic: str) -> str:
        """A topic's identity: another one after it was made anew."""
        ...

    def read(self, topic: str, partition: int, start: int, *, stop: int | None = None, limit: int = 50_000) -> Slab:
        """Committed records from ``start``, before ``stop`` and before the last stable offset, at most ``limit``.

        With a ``stop`` that is stable all before it are there, however long that takes. Without one it is what is
        at hand.
        """
        ...

    def start(self, topic: str, partition: int) -> int:
        """The first offset that is still there."""
        ...

    def end(self, topic: str, partition: int, *, committed: bool = True) -> int:
        """The offset after the last: of the stable part (last stable offset), or of all (high watermark)."""
        ...

    def reached(self, topic: str, partition: int, offset: int) -> bool:
        """Whether all before an offset is decided: committed, or aborted."""
        ...

    def ends_at(self, topic: str, appended_at: int) -> list[int]:
        """By partition, up to where it went at a moment: the first record appended later, or the high watermark."""
        ...

    def committed(self, group: str, place: TopicPartition) -> int | None:
        """The position that a group committed last for a partition; None where it has none."""
        ...

    def transaction(self, producer: str, fence: Fence | None = None) -> Transaction:
        """Begin. Fences the producer's namesake, whose open transaction is aborted.

        Args:
            producer: its name.
            fence: the proof of ownership that the commit must still meet.

        Raises:
            FencedError: another owner is known to have taken over.
        """
        ...

    def truncate(self, topic: str, partition: int, before: int) -> None:
        """Forget the records before an offset."""
        ...


CrashPoint = Literal["begin", "append", "flush", "before_commit", "after_commit"]


class AloneLog(Log, Protocol):
    """What a host needs of a log beside, where it owns all tasks itself.

    Attributes:
        crash: called at each named point; a test may let the process die there.
    """

    crash: Callable[[CrashPoint], None] | None

    def create(self, topic: str, partitions: int) -> None:
        """Create a topic; nothing where it exists with this count.

        Raises:
            WiringError: it exists with another partition count.
        """
        ...

    def join(self, group: str) -> Fence:
        """Become a group's owner: older fences are void from now on."""
        ...

    def abort_open(self) -> None:
        """End the transactions that were left open."""
        ...

    def remember(self, name: str, value: str) -> None:
        """Keep a small fact beside the topics."""
        ...

    def close(self) -> None:
        """Let go of all."""
        ...


def count(log: Log, topic: str) -> int:
    """How many committed records a topic holds."""
    total = 0
    for partition in range(log.partitions(topic)):
        at = log.start(topic, partition)
        while len(slab := log.read(topic, partition, at)):
            total, at = total + len(slab), slab.next_offset
    return total
