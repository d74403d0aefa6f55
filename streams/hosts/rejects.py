"""Input that cannot be used: put aside with its reason and its position, never lost."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from streams.contracts.codec import Rejection
from streams.hosts.log import Slab


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record that was put aside."""

    topic: str
    partition: int
    offset: int
    code: str
    text: str
    key: bytes | None
    value: bytes | None

    def event(self, processor: str) -> dict[str, Any]:
        """The event for the rejected topic."""
        return {
            "processor": processor,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "reason_code": self.code,
            "reason_text": self.text,
            "key": self.key,
            "value": self.value or b"",
        }


def rejected_rows(slab: Slab, rejections: Iterable[Rejection]) -> Iterator[Rejected]:
    """The rejections of a slab with their positions and bytes."""
    for found in rejections:
        yield Rejected(
            slab.topic,
            slab.partition,
            int(slab.offsets[found.row]),
            found.code,
            found.text,
            slab.keys[found.row],
            slab.values[found.row],
        )
