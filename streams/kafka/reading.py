"""Reading partitions of a cluster, wherever it is asked for, by one consumer without a group."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from time import monotonic

import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition
from numpy.typing import NDArray

from streams.hosts.log import TopicPartition as Place
from streams.kafka.patience import PAUSE_S, ClusterRefusedError, passing
from streams.kafka.settings import KafkaSettings

_HELD = 400_000  # messages consumed and not yet read, over all partitions of a consumer
_PULL = 20_000


class _Held:
    """What was consumed of a partition, from ``low`` on, and up to where."""

    __slots__ = ("low", "messages", "paused", "position")

    def __init__(self, start: int) -> None:
        self.low = self.position = start
        self.messages: list[Message] = []
        self.paused = False

    def drop_before(self, start: int) -> None:
        if start > self.low:
            del self.messages[: self.index(start)]
            self.low = start

    def index(self, offset: int) -> int:
        """How many messages lie before an offset."""
        if not self.messages or offset > _offset(self.messages[-1]):
            return len(self.messages)
        return bisect_left(self.messages, offset, key=_offset)


def _offset(message: Message) -> int:
    return message.offset() or 0


class Reader:
    """One consumer and what it holds, by partition."""

    def __init__(
        self, settings: KafkaSettings, name: str, start: Callable[[str, int], int], check: Callable[[], None]
    ) -> None:
        self._settings = settings
        self.linger_s = 0.0
        self._start = start
        self._check = check
        self._held: dict[tuple[str, int], _Held] = {}
        self._consumer = Consumer(
            {
                **settings.common(),
                "group.id": f"{settings.prefix}flexlog.{name}",  # asked for by the client; nothing is committed to it
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "fetch.queue.backoff.ms": 10,  # the default of 1,000 idles the fetcher whenever its queue is full
                "queued.min.messages": 200_000,
                "queued.max.messages.kbytes": 49_152,
                "fetch.max.bytes": 33_554_432,
                "fetch.wait.max.ms": 100,
                "fetch.error.backoff.ms": 20,
                "partition.assignment.strategy": "range",
            }
        )

    def read(self, place: Place, start: int, stop: int | None, limit: int) -> tuple[list[Message], int]:
        """Messages from ``start``, and where to read on."""
        held = self._at(place, start)
        wait = 0.0
        until = 0.0
        while True:
            count = len(held.messages) if stop is None else held.index(stop)
            if count >= limit or (stop is not None and held.position >= stop):
                break
            pulled = self._pull(place, wait)
            if pulled:
                continue
            if stop is not None:
                wait = PAUSE_S
                self._check()
            elif not held.messages or not self.linger_s:
                break
            else:  # more may come at once
                until = until or monotonic() + self.linger_s
                wait = until - monotonic()
                if wait <= 0:
                    break
        if held.paused and len(held.messages) < self._cap() // 2:
            self._pause(place, held, paused=False)
        messages = held.messages[: min(count, limit)]
        if count > limit:
            return messages, _offset(messages[-1]) + 1
        return messages, held.position if stop is None else max(min(held.position, stop), start)

    def wait(self, seconds: float) -> None:
        """Until something comes, or the time is over."""
        self._pull(None, seconds)

    def reached(self, place: Place) -> int:
        """Up to where a partition has been read, at least."""
        held = self._held.get(place)
        return held.position if held else 0

    def forget(self, places: Sequence[Place]) -> None:
        """Let go of partitions."""
        gone = [place for place in places if self._held.pop(place, None) is not None]
        if gone:
            self._consumer.incremental_unassign([self._named(place) for place in gone])

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()

    def _at(self, place: Place, start: int) -> _Held:
        held = self._held.get(place)
        if held is not None and not held.low <= start <= held.position:
            self._consumer.incremental_unassign([self._named(place)])  # a seek may be outrun by what is on its way
            held = None
        if held is None:
            held = self._held[place] = _Held(start)
            held.position = max(start, self._start(*place))
            self._consumer.incremental_assign([self._named(place, held.position)])
        held.drop_before(start)
        return held

    def _named(self, place: Place, offset: int | None = None) -> TopicPartition:
        name = self._settings.topic(place[0])
        return TopicPartition(name, place[1]) if offset is None else TopicPartition(name, place[1], offset)

    def _cap(self) -> int:
        return max(_HELD // max(len(self._held), 1), 1_000)

    def _pause(self, place: Place, held: _Held, *, paused: bool) -> None:
        (self._consumer.pause if paused else self._consumer.resume)([self._named(place)])
        held.paused = paused

    def _pull(self, wanted: Place | None, wait: float) -> bool:
        """Take what the client has; whether that was anything, be it only a step over what is not to be read."""
        messages = self._consumer.consume(_PULL, wait)
        moved = bool(messages)
        for place, run in self._by_place(messages):
            held = self._held.get(place)
            if held is None:  # let go of meanwhile
                continue
            held.messages += run
            held.position = _offset(run[-1]) + 1
            if place != wanted and len(held.messages) > self._cap() and not held.paused:
                self._pause(place, held, paused=True)
        if wanted is not None and not moved:
            held = self._held[wanted]
            if held.paused:
                self._pause(wanted, held, paused=False)
            at = self._consumer.position([self._named(wanted)])[0].offset
            if at > held.position:  # past control markers and what was aborted
                held.position = at
                moved = True
        return moved

    def _by_place(self, messages: list[Message]) -> Iterator[tuple[Place, list[Message]]]:
        prefix = len(self._settings.prefix)
        if len(self._held) == 1:
            good = [message for message in messages if message.error() is None or _passing(message)]
            if good:
                yield next(iter(self._held)), good
            return
        runs: dict[tuple[str | None, int | None], list[Message]] = {}
        for message in messages:
            if message.error() is None or _passing(message):
                runs.setdefault((message.topic(), message.partition()), []).append(message)
        for (topic, partition), run in runs.items():
            yield ((topic or "")[prefix:], partition or 0), run


def _passing(message: Message) -> bool:
    """An event of the client: False where it gets better by itself."""
    error = message.error()
    assert error is not None
    if passing(error):
        return False
    raise ClusterRefusedError(f"{message.topic()}[{message.partition()}] cannot be read: {error.str()}")


def offsets(messages: list[Message]) -> NDArray[np.int64]:
    """The offsets of messages."""
    if not messages:
        return np.empty(0, np.int64)
    first, last = _offset(messages[0]), _offset(messages[-1])
    if last - first + 1 == len(messages):
        return np.arange(first, last + 1, dtype=np.int64)
    return np.fromiter((_offset(message) for message in messages), np.int64, len(messages))


def stamps(messages: list[Message]) -> NDArray[np.int64]:
    """Append times in milliseconds. The broker stamps whole batches, so that most neighbours are equal."""
    found = np.empty(len(messages), np.int64)
    todo = [(0, len(messages) - 1)] if messages else []
    while todo:
        low, high = todo.pop()
        first, last = messages[low].timestamp()[1], messages[high].timestamp()[1]
        if first == last or high - low < 2:
            found[low : high + 1] = first
            found[high] = last
            continue
        middle = (low + high) // 2
        todo += [(low, middle), (middle, high)]
    return found
