"""Reading partitions of a cluster, wherever it is asked for, by one consumer without a group."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic

import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition

from streams.hosts.log import Slab
from streams.hosts.log import TopicPartition as Place
from streams.kafka.holding import Held
from streams.kafka.patience import DENIED, PAUSE_S, ClusterRefusedError, denied, passing
from streams.kafka.settings import KafkaSettings

_HELD = 500_000  # records consumed and not yet read, over all partitions of a consumer
_MANY = 400_000  # so many of other partitions that no more are pulled for one
_PULL = 2_000  # so few that they are still in the processor's cache when they are taken apart
_SOON_S = 0.001


class Reader:
    """One consumer and what it holds, by partition."""

    def __init__(
        self,
        settings: KafkaSettings,
        name: str,
        start: Callable[[str, int], int],
        check: Callable[[], None],
        origin: Callable[[Message], str] | None = None,
    ) -> None:
        self._settings = settings
        self.linger_s = 0.0
        self._start = start
        self._check = check
        self._origin = origin
        self._held: dict[tuple[str, int], Held] = {}
        self._turn = 0
        self._refused: ClusterRefusedError | None = None
        self._empty = 0.0  # when the client last had nothing more
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

    def read(self, place: Place, start: int, stop: int | None, limit: int) -> Slab:
        """Records from ``start``."""
        if self._refused is not None:
            raise self._refused
        held = self._at(place, start)
        self._turn += 1
        held.turn = self._turn
        wait = 0.0
        while True:
            count = held.count if stop is None else held.index(stop)
            if count >= limit or (stop is not None and held.position >= stop):
                break
            if stop is None and self._crowded(place):  # others come first
                break
            pulled = self._pull(place, wait, many=stop is None)
            if pulled:
                wait = 0.0
                continue
            if stop is not None:  # no message tells of a step over a control marker: look again soon
                wait = min(wait * 2, PAUSE_S) if wait else _SOON_S
                self._check()
            elif not held.count or not self.linger_s:
                break
            else:  # more may come at once
                wait = held.since + self.linger_s - monotonic()
                if wait <= 0:
                    break
        if held.paused and held.count < self._cap() // 2:
            self._pause(place, held, paused=False)
        if count > limit:
            return held.slab(place, limit, None)
        return held.slab(place, count, held.position if stop is None else max(min(held.position, stop), start))

    def expect(self, starts: Mapping[Place, int]) -> None:
        """Begin to fetch partitions, all at once: one that is far ahead of the others has to be paused."""
        for place, start in starts.items():
            self._at(place, start)

    def take(self) -> bool:
        """Consume a little of what the client has, unless enough is held; whether that was anything.

        What is refused is told by the next `read`: whoever calls this is in the middle of something else.
        """
        if self._refused is not None or self._count() >= _MANY:
            return False
        try:
            return self._pull(None, 0)
        except ClusterRefusedError as error:
            self._refused = error
            return False

    def wait(self, seconds: float) -> bool:
        """Until something comes, or the time is over; whether anything came."""
        return self._pull(None, seconds)

    def reached(self, place: Place) -> int:
        """Up to where a partition has been read, at least."""
        held = self._held.get(place)
        return held.position if held else 0

    def forget(self, places: Sequence[Place]) -> None:
        """Let go of partitions."""
        gone = [place for place in places if place in self._held]
        for place in gone:
            self._unassign(place, self._held.pop(place))

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()

    def _at(self, place: Place, start: int) -> Held:
        held = self._held.get(place)
        if held is not None and not held.low <= start <= held.position:
            self._unassign(place, held)  # a seek may be outrun by what is on its way
            held = None
        if held is None:
            held = self._held[place] = Held(start, max(start, self._start(*place)))
            self._consumer.incremental_assign([self._named(place, held.position)])
        held.drop_before(start)
        return held

    def _unassign(self, place: Place, held: Held) -> None:
        if held.paused:  # the client would remember it when the partition is assigned again
            self._pause(place, held, paused=False)
        self._consumer.incremental_unassign([self._named(place)])

    def _named(self, place: Place, offset: int | None = None) -> TopicPartition:
        name = self._settings.topic(place[0])
        return TopicPartition(name, place[1]) if offset is None else TopicPartition(name, place[1], offset)

    def _cap(self) -> int:
        return max(_HELD // max(len(self._held), 1), 1_000)

    def _count(self) -> int:
        return sum(held.count for held in self._held.values())

    def _crowded(self, place: Place) -> bool:
        """Whether so much is held of others, that are read too, that they should be read before more is pulled.

        Pausing them instead would cost more: the client forgets what it has fetched of a partition that is paused.
        """
        since = self._turn - 4 * len(self._held)
        waiting = sum(
            held.count
            for other, held in self._held.items()
            if other != place and not held.paused and held.turn >= since
        )
        return waiting >= _MANY

    def _pause(self, place: Place, held: Held, *, paused: bool) -> None:
        (self._consumer.pause if paused else self._consumer.resume)([self._named(place)])
        held.paused = paused

    def _pull(self, wanted: Place | None, wait: float, *, many: bool = False) -> bool:
        """Take what the client has; whether that was anything, be it only a step over what is not to be read.

        It waits for the first message, or the whole time for ``many``.
        """
        first = self._consumer.poll(wait) if wait and not many else None
        messages = self._consumer.consume(_PULL, wait if many else 0)
        if first is not None:
            messages.insert(0, first)
        moved = bool(messages)
        since = self._empty
        if len(messages) < _PULL:
            self._empty = monotonic()
        for place, run in self._by_place(messages):
            held = self._held.get(place)
            if held is None:  # let go of meanwhile
                continue
            if not held.count:
                held.since = since
            held.add(run, self._origin)
            if place != wanted and held.count > self._cap() and not held.paused and self._count() > _HELD:
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
        """Runs of messages of one partition each, without the events of the client."""
        if list(map(Message.error, messages)).count(None) < len(messages):  # `map` costs half of a loop
            messages = [message for message in messages if message.error() is None or _passing(message)]
        if not messages:
            return
        if len(self._held) == 1:
            yield next(iter(self._held)), messages
            return
        partitions = np.fromiter(map(Message.partition, messages), np.int32, len(messages))
        turns = partitions[1:] != partitions[:-1]
        topics = [messages[0].topic()] * len(messages)
        if len({topic for topic, _ in self._held}) > 1:
            topics = list(map(Message.topic, messages))
            turns |= np.fromiter(map(str.__ne__, topics[1:], topics), np.bool_, len(turns))  # type: ignore[arg-type]
        prefix, low = len(self._settings.prefix), 0
        for high in (*(np.flatnonzero(turns) + 1).tolist(), len(messages)):
            yield ((topics[low] or "")[prefix:], int(partitions[low])), messages[low:high]
            low = high


def _passing(message: Message) -> bool:
    """An event of the client: False where it gets better by itself."""
    error = message.error()
    assert error is not None
    if passing(error):
        return False
    if error.code() in DENIED:
        raise denied(error, f"{message.topic()}[{message.partition()}]", "Read")
    raise ClusterRefusedError(f"{message.topic()}[{message.partition()}] cannot be read: {error.str()}")
