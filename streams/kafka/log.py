"""The log of a Kafka cluster, behind the seam of the one in memory.

Two consumers read: one the inputs, one all the rest (clock, progress, tables, changelogs), so that no tick waits
behind a backlog of readings. Both read what is committed, keep no positions in Kafka and are assigned partitions as
these are asked for. Writing goes through one transactional producer, or one a name where none is given.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaException, Message, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec

from streams.errors import FencedError, WiringError
from streams.hosts.log import CrashPoint, Fence, Slab
from streams.hosts.log import TopicPartition as Place
from streams.kafka.membership import Membership
from streams.kafka.patience import MOVED, Admin, ClusterRefusedError, known, nothing, patiently
from streams.kafka.reading import Reader
from streams.kafka.settings import KafkaSettings
from streams.kafka.writing import ORIGIN, KafkaTransaction

T = TypeVar("T")
_ANSWER_S = 10.0
_TAKE_AGAIN_S = 0.001
_ASK_AGAIN_S = 0.001
_OFFSET_S = 2.0
_REMEMBERED = 100_000
_SOON_IDLE = {"connections.max.idle.ms": 10_000}
"""Positions that are sent to a group's coordinator that has just died wait without end, whatever their timeout, until
some connection of the client comes or goes (librdkafka 2.16): so those that nobody uses go soon."""
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_log = logging.getLogger(__name__)


class KafkaLog:
    """Partitions of records on a cluster.

    Args:
        settings: where the cluster is, and the prefix of all names.
        inputs: topics that are read in bulk.
        slot: the one transactional id to write under; None gives each name of a producer one.
        check: called while something is waited for; it may raise to end the wait.
        origins: whether reads bring the header that says which commit wrote a record.
        prompt: whether all that is committed counts as at hand, as in memory: each read then asks for the end.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        inputs: Sequence[str] = (),
        slot: str | None = None,
        check: Callable[[], None] = nothing,
        origins: bool = False,
        prompt: bool = False,
    ) -> None:
        self.settings = settings
        self.check = check
        self.crash: Callable[[CrashPoint], None] | None = None
        self._inputs = frozenset(inputs)
        self._slot = slot
        self._prompt = prompt
        self._admin = Admin(settings.common())
        name = slot or f"look-{id(self)}"
        wanted = _origin if origins else None
        self._bulk = Reader(settings, f"{name}.inputs", self.start, self._wait_check, wanted) if inputs else None
        self._side = Reader(settings, f"{name}.side", self.start, self._wait_check, wanted)
        if self._bulk is not None:
            self._bulk.linger_s = settings.batch_ms / 1_000
        self._aside: ThreadPoolExecutor | None = None
        self._producers: dict[str, Producer] = {}
        self._members: dict[str, Membership] = {}
        self._open: list[KafkaTransaction] = []
        self._counts: dict[str, int] = {}
        self._uuids: dict[str, str] = {}
        self._after: dict[tuple[str, int, int], int] = {}
        self._stable: dict[Place, int] = {}
        self._own: dict[Place, int] = {}
        self._looked: dict[Place, tuple[int, Slab]] = {}

    def _wait_check(self) -> None:
        self.check()

    # Topics.

    def partitions(self, topic: str) -> int:
        """A topic's partition count."""
        if topic not in self._counts:
            self._describe(topic)
        return self._counts[topic]

    def create(self, topic: str, partitions: int) -> None:
        """See that a topic is there; the cluster's topics are made by `flexlog topics apply`."""
        there = self.partitions(topic)
        if there != partitions:
            raise WiringError(f"topic {self.settings.topic(topic)} has {there} partitions, {partitions} are asked for")

    def remember(self, name: str, value: str) -> None:
        """Nothing: what a cluster must remember stands on its topics."""

    def uuid(self, topic: str) -> str:
        """A topic's identity."""
        if topic not in self._uuids:
            self._describe(topic)
        return self._uuids[topic]

    def _describe(self, topic: str) -> None:
        name = self.settings.topic(topic)

        def ask() -> Any:
            return self._admin.describe_topics(TopicCollection([name]), request_timeout=_ANSWER_S)[name].result()

        try:
            found = patiently(ask, f"topic {name}", self.check, refusal=self._admin.refusal)
        except KafkaException as error:
            raise WiringError(
                f"topic {name} is not on the cluster ({known(error).str()}); run `flexlog topics apply`"
            ) from None
        self._counts[topic] = len(found.partitions)
        self._uuids[topic] = str(found.topic_id)

    # Reading.

    def _reader(self, topic: str) -> Reader:
        return self._bulk if self._bulk is not None and topic in self._inputs else self._side

    def read(self, topic: str, partition: int, start: int, *, stop: int | None = None, limit: int = 50_000) -> Slab:
        """Committed records from ``start``."""
        place = (topic, partition)
        if stop is None and self._prompt:
            stop = max(self.end(topic, partition), start)
        known = self._looked.pop(place, None)  # what was at hand is asked for once more, to be worked on
        if known is not None and known[0] == start and known[1].next_offset == stop and len(known[1]) <= limit:
            return known[1]
        slab = self._reader(topic).read(place, start, stop, limit)
        if stop is None and len(slab):
            self._looked[place] = start, slab
        return slab

    def meanwhile(self, act: Callable[[], T]) -> T:
        """Do what waits for the cluster, and consume the next inputs meanwhile: that is half of a step's work."""
        if self._bulk is None:
            return act()
        if self._aside is None:
            self._aside = ThreadPoolExecutor(1, "commit")
        answer = self._aside.submit(act)
        try:
            while not answer.done():
                if not self._bulk.take():
                    futures.wait([answer], _TAKE_AGAIN_S)
        finally:
            futures.wait([answer])  # two threads may not use one producer
        return answer.result()

    def wait(self, seconds: float, *, inputs: bool = False) -> bool:
        """Until something comes (of the inputs, or of all the rest), or the time is over; whether anything came."""
        return (self._bulk if inputs and self._bulk is not None else self._side).wait(seconds)

    def expect(self, starts: Mapping[Place, int]) -> None:
        """Begin to fetch inputs from these offsets on."""
        if self._bulk is not None:
            self._bulk.expect({place: start for place, start in starts.items() if place[0] in self._inputs})

    def forget(self, places: Sequence[Place]) -> None:
        """Let go of partitions that are no longer read."""
        for reader in (self._bulk, self._side):
            if reader is not None:
                reader.forget(places)

    def start(self, topic: str, partition: int) -> int:
        """The first offset that is still there."""
        return self._offset(topic, partition, _EARLIEST)

    def end(self, topic: str, partition: int, *, committed: bool = True) -> int:
        """Last stable offset, or high watermark."""
        end = self._offset(topic, partition, _LATEST, committed=committed)
        if committed:
            while end < self._own.get((topic, partition), 0):
                self.check()
                time.sleep(_ASK_AGAIN_S)
                end = self._offset(topic, partition, _LATEST)
            self._stable[topic, partition] = max(end, self._stable.get((topic, partition), 0))
        return end

    def ends(self, topic: str) -> dict[int, int]:
        """The last stable offsets of all partitions of a topic, in one request."""
        found = self._offsets(topic, range(self.partitions(topic)), _LATEST)
        for partition, end in found.items():
            self._stable[topic, partition] = max(end, self._stable.get((topic, partition), 0))
        return found

    def reached(self, topic: str, partition: int, offset: int) -> bool:
        """Whether all before an offset is decided."""
        place = (topic, partition)
        if max(self._reader(topic).reached(place), self._stable.get(place, 0)) >= offset:
            return True
        if self._prompt:
            return self.end(topic, partition) >= offset
        return self.ends(topic)[partition] >= offset  # the other partitions are asked about next

    def ends_at(self, topic: str, appended_at: int) -> list[int]:
        """By partition, the first record appended in a later millisecond, or the high watermark; in two requests."""
        stamp, count = appended_at // 1_000, self.partitions(topic)
        found = {p: self._after[topic, p, stamp] for p in range(count) if (topic, p, stamp) in self._after}
        if len(found) < count:
            asked = [partition for partition in range(count) if partition not in found]
            later = self._offsets(topic, asked, OffsetSpec.for_timestamp(stamp + 1), committed=False)
            later = {partition: offset for partition, offset in later.items() if offset >= 0}
            if len(self._after) + len(later) > _REMEMBERED:
                self._after.clear()
            self._after |= {(topic, partition, stamp): offset for partition, offset in later.items()}
            found |= later
        if len(found) < count:  # it may still grow
            asked = [partition for partition in range(count) if partition not in found]
            found |= self._offsets(topic, asked, _LATEST, committed=False)
        return [found[partition] for partition in range(count)]

    def _offset(self, topic: str, partition: int, spec: OffsetSpec, *, committed: bool = True) -> int:
        return self._offsets(topic, [partition], spec, committed=committed)[partition]

    def _offsets(
        self, topic: str, partitions: Iterable[int], spec: OffsetSpec, *, committed: bool = True
    ) -> dict[int, int]:
        name = self.settings.topic(topic)
        wanted = dict.fromkeys([TopicPartition(name, partition) for partition in partitions], spec)
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED

        def ask() -> dict[int, int]:
            asked = self._admin.list_offsets(wanted, isolation_level=level, request_timeout=_OFFSET_S)
            return {
                place.partition: int(self._of_leader(name, answer.result).offset) for place, answer in asked.items()
            }

        what = f"{name}[{', '.join(str(place.partition) for place in wanted)}]"
        return patiently(ask, what, self.check, refusal=self._admin.refusal)

    def _of_leader(self, topic: str, answer: Callable[[], Any]) -> Any:
        """An answer of a partition's leader; told to look for another: it would ask the old for minutes."""
        try:
            return answer()
        except KafkaException as error:
            if known(error).code() in MOVED:
                self._admin.list_topics(topic, timeout=_ANSWER_S)
            raise

    # Who owns what.

    def attach(self, member: Membership) -> None:
        """Let transactions of a group be fenced by its membership."""
        self._members[member.group] = member

    def member(self, group: str) -> Membership:
        """The membership of a group."""
        try:
            return self._members[group]
        except KeyError:
            raise FencedError(f"this process is no member of the group {group}") from None

    def join(self, group: str) -> Fence:
        """Become the owner of all tasks of a group: for hosts that are alone."""
        if group not in self._members:
            lead = f"{group}.changelog"
            self.attach(Membership(self.settings, group, lead))
            self._members[group].until_owner_of(self.partitions(lead), self.check)
        return self._members[group].renew()

    def committed(self, group: str, place: Place) -> int | None:
        """The position that a group committed last for a partition; None where it has none."""
        name = TopicPartition(self.settings.topic(place[0]), place[1])
        found = patiently(
            lambda: self.member(group).consumer.committed([name], timeout=_ANSWER_S),
            f"the position of {self.settings.topic(group)}",
            self.check,
            refusal=self._admin.refusal,
        )
        return None if found[0].offset < 0 else int(found[0].offset)

    # Writing.

    def transaction(self, producer: str, fence: Fence | None = None) -> KafkaTransaction:
        """Begin."""
        self.reach("begin")
        client = self._producer(self._slot or producer)
        for left in [one for one in self._open if one.is_of(client)]:
            left.abort()
        made = KafkaTransaction(self, client, fence)
        self._open.append(made)
        return made

    def clear(self) -> None:
        """End what a forerunner under this slot has left open: whoever restores would wait for it."""
        if self._slot is not None:
            self._producer(self._slot)

    def committed_up_to(self, ranges: Mapping[Place, tuple[int, int]]) -> None:
        """What this process has just committed: the cluster says so before it can be read."""
        if self._prompt:
            self._own.update({place: high for place, (_, high) in ranges.items()})

    def closed(self, transaction: KafkaTransaction) -> None:
        """A transaction is over."""
        if transaction in self._open:
            self._open.remove(transaction)

    def _producer(self, name: str) -> Producer:
        if name not in self._producers:
            settings = self.settings
            made = Producer(
                {
                    **_SOON_IDLE,
                    **settings.common(),
                    "transactional.id": f"{settings.prefix}{name}",
                    "transaction.timeout.ms": settings.transaction_timeout_ms,
                    "enable.idempotence": True,
                    "partitioner": "murmur2_random",
                    "retry.backoff.ms": 5,  # the default of 100 makes transactions that follow each other slow
                    "linger.ms": 5,
                    "compression.type": "lz4",
                    "queue.buffering.max.messages": 500_000,
                }
            )
            patiently(
                lambda: made.init_transactions(_ANSWER_S),
                f"producer {settings.prefix}{name}",
                self.check,
                refusal=self._admin.refusal,
            )
            self._producers[name] = made
        return self._producers[name]

    def lost_producer(self, producer: Producer, *, fatal: bool) -> None:
        """A producer that was fenced: the next transaction of its name begins with a new one."""
        del fatal
        for name, known_one in list(self._producers.items()):
            if known_one is producer:
                del self._producers[name]

    def abort_open(self) -> None:
        """End the transactions that this process has left open."""
        for transaction in list(self._open):
            transaction.abort()

    def truncate(self, topic: str, partition: int, before: int) -> None:
        """Forget the records before an offset."""
        place = TopicPartition(self.settings.topic(topic), partition, before)

        def ask() -> Any:
            asked = self._admin.delete_records([place], request_timeout=_ANSWER_S)
            return self._of_leader(place.topic, asked[place].result)  # taken out of the map it would never be done

        try:
            patiently(ask, f"trimming {place.topic}[{partition}]", self.check, right="Delete")
        except KafkaException as error:  # it only takes room
            _log.warning("%s[%s] was not trimmed: %s", place.topic, partition, known(error).str())
        except ClusterRefusedError as error:
            _log.warning("%s", error)

    def reach(self, point: CrashPoint) -> None:
        """A named point: a test may let the process die here."""
        if self.crash is not None:
            self.crash(point)

    def close(self) -> None:
        """Leave the groups and let go of all clients."""
        self.abort_open()
        if self._aside is not None:
            self._aside.shutdown()
        for member in self._members.values():
            member.close()
        for reader in (self._bulk, self._side):
            if reader is not None:
                reader.close()
        for producer in self._producers.values():
            with suppress(KafkaException):  # one that is broken for good says so once more
                producer.close()
        self._producers.clear()


def _origin(message: Message) -> str:
    headers = message.headers()
    held = dict(headers or []).get(ORIGIN)
    return held.decode() if isinstance(held, bytes) else ""
