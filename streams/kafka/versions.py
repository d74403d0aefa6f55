"""A processor's new version: its state is built from the log beside the old one, then it takes over.

A version has its own group and its own changelog; what both would write to are the topics of outputs, rejected
records and progress. So a version beside another one writes these aside, to topics ``shadow.vN.…`` that are made for
it, and its commits to the audit as always. It takes over when the old version has ended: up to where that came, task
by task, it goes on writing aside, and from there on it writes for all to see. Nothing is written twice or left out.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from confluent_kafka import ConsumerGroupState, KafkaException

from streams.errors import StreamsError
from streams.hosts.log import Fence, Log, Slab, Transaction
from streams.hosts.task import META, Forerunner, changelog
from streams.kafka.cluster import Cluster
from streams.kafka.log import KafkaLog
from streams.kafka.patience import Admin, patiently
from streams.kafka.settings import Settings
from streams.kafka.topics import wanted
from streams.topology import COMMIT, PROGRESS, AnyProcessor, Topology

Start = Literal["resume", "beginning", "shadow", "take-over"]
_ANSWER_S = 10.0
_TAIL = 64
_log = logging.getLogger(__name__)


class VersionError(StreamsError):
    """A processor's version may not run in this way beside what other versions have left."""


def aside(version: int, topic: str) -> str:
    """Where a version beside another one writes what is for a topic."""
    return f"shadow.v{version}.{topic}"


class AsideLog:
    """A log on which the transactions of quiet tasks write aside.

    Args:
        log: the log.
        spec: the processor.
        quiet: asked for a task's name at each begin.
    """

    def __init__(self, log: Log, spec: AnyProcessor, quiet: Callable[[str], bool]) -> None:
        self._log = log
        self._spec = spec
        self._quiet = quiet
        self.partitions, self.uuid, self.start = log.partitions, log.uuid, log.start
        self.reached, self.ends_at, self.committed = log.reached, log.ends_at, log.committed
        self.truncate = log.truncate

    def read(self, topic: str, partition: int, start: int, *, stop: int | None = None, limit: int = 50_000) -> Slab:
        """As the log does."""
        return self._log.read(topic, partition, start, stop=stop, limit=limit)

    def end(self, topic: str, partition: int, *, committed: bool = True) -> int:
        """As the log does."""
        return self._log.end(topic, partition, committed=committed)

    def transaction(self, producer: str, fence: Fence | None = None) -> Transaction:
        """Begin."""
        made = self._log.transaction(producer, fence)
        return _Aside(made, self._spec) if self._quiet(producer) else made


class _Aside:
    """A transaction that writes aside, but for the changelog and the audit."""

    def __init__(self, made: Transaction, spec: AnyProcessor) -> None:
        self._made = made
        self._version = spec.version
        self._own = {changelog(spec), COMMIT}
        self.flush, self.commit, self.abort = made.flush, made.commit, made.abort

    def append(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        *,
        origin: str = "",
    ) -> None:
        """Add records."""
        name = topic if topic in self._own else aside(self._version, topic)
        self._made.append(name, partition, keys, values, origin=origin)


def make_aside(settings: Settings, topology: Topology, spec: AnyProcessor) -> None:
    """Create the topics that a version beside another one writes to, like those they stand for."""
    cluster = Cluster(settings.kafka)
    written = {rec.__topic__.name for rec in spec.writes.types} | {PROGRESS}
    read = {rec.__topic__.name for types in (spec.reads.types, spec.tables.types) for rec in types}
    names = written | {f"{name}.rejected" for name in read | {rec.__topic__.name for rec in spec.delayed}}
    there = set(cluster.names())
    found = {
        settings.kafka.topic(aside(spec.version, wish.name)): (wish.partitions, wish.config)
        for wish in wanted(topology, settings, [spec.name])
        if wish.name in names
    }
    cluster.create({name: made for name, made in found.items() if name not in there})


@dataclass(frozen=True)
class _Left:
    """What a version has left: by task, the positions of its last commit."""

    version: int
    tasks: Mapping[int, Mapping[str, Any]]

    @property
    def loud(self) -> bool:
        """Whether any of its tasks has written for all to see."""
        return any(not meta.get("quiet") for meta in self.tasks.values())


class Versions:
    """The versions of a processor on a cluster.

    Args:
        settings: the cluster.
        spec: the processor, of the version that is to run.
        check: called while something is waited for.
    """

    def __init__(self, settings: Settings, spec: AnyProcessor, check: Callable[[], None]) -> None:
        self._settings = settings
        self._spec = spec
        self._check = check
        self._opened: KafkaLog | None = None
        prefix = settings.kafka.topic(f"{spec.name}.v")
        names = [name for name in Cluster(settings.kafka).names() if name.startswith(prefix)]
        numbers = [name.removeprefix(prefix).removesuffix(".changelog") for name in names]
        self._there = sorted(int(number) for number in numbers if number.isdecimal())

    def require(self, start: Start) -> None:
        """Refuse what would write twice, or leave something out.

        Raises:
            VersionError: with the ways there are.
        """
        spec, name = self._spec, f"{self._spec.name} version {self._spec.version}"
        if start == "resume" and self._there == [spec.version] == [1]:
            return
        own = self._left(spec.version)
        newer = [left for left in map(self._left, self._there) if left.version > spec.version and left.loud]
        if newer and start != "shadow":
            raise VersionError(f"{name} has been taken over by version {newer[0].version}; run that one")
        if start == "shadow":
            if own.loud:
                raise VersionError(f"{name} writes for all to see already; run it without --shadow")
            return
        quiet = any(meta.get("quiet") for meta in own.tasks.values())
        if start == "take-over":
            if not own.tasks:
                raise VersionError(f"{name} has no state yet; build it with --from beginning --shadow first")
            return
        if quiet:
            raise VersionError(
                f"the state of {name} was built beside an older version; end both and give --take-over, or go on "
                "beside it with --from beginning --shadow"
            )
        older = self.older()
        if older is not None and not own.tasks and start == "resume":
            raise VersionError(
                f"{name} is new here and version {older.version} has been at work: build its state beside that with "
                "--from beginning --shadow and then --take-over, or give --from beginning to write its outputs again "
                "from the beginning of the log"
            )

    def older(self) -> _Left | None:
        """The newest older version that has committed anything."""
        found = (self._left(number) for number in reversed(self._there) if number < self._spec.version)
        return next((left for left in found if left.loud), None)

    def forerunners(self, wait: Callable[[str], None]) -> dict[int, Forerunner]:
        """Where the older version ended, by task; its runners are waited for.

        Args:
            wait: called with what is waited for, now and then.
        """
        older = self.older()
        if older is None:
            return {}
        group = f"{self._spec.name}.v{older.version}"
        while self._has_members(group):
            wait(f"{group}, which still runs: end it")
        ended = self._left(older.version)  # again: it may have committed meanwhile
        return {partition: Forerunner.of(meta) for partition, meta in ended.tasks.items()}

    def _has_members(self, group: str) -> bool:
        name = self._settings.kafka.topic(group)
        admin = Admin(self._settings.kafka.common())

        def ask() -> Any:
            return admin.describe_consumer_groups([name], request_timeout=_ANSWER_S)[name].result()

        try:
            state = patiently(ask, f"group {name}", self._check, right="Describe", refusal=admin.refusal).state
        except KafkaException:  # it has none any more
            return False
        return state not in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def _log(self) -> KafkaLog:
        """A log of its own, so that no changelog goes on being fetched."""
        if self._opened is None:
            self._opened = KafkaLog(self._settings.kafka, check=self._check)
        return self._opened

    def _left(self, version: int) -> _Left:
        if version not in self._there:
            return _Left(version, {})
        topic = f"{self._spec.name}.v{version}.changelog"
        metas = {partition: self._last_meta(topic, partition) for partition in range(self._log.partitions(topic))}
        return _Left(version, {partition: meta for partition, meta in metas.items() if meta is not None})

    def _last_meta(self, topic: str, partition: int) -> Mapping[str, Any] | None:
        """The positions of a task's last commit: the last record of its changelog."""
        begin, end = self._log.start(topic, partition), self._log.end(topic, partition)
        size = _TAIL
        while begin < end:
            low = max(begin, end - size)
            slab = self._log.read(topic, partition, low, stop=end, limit=size)
            for key, value in zip(reversed(slab.keys), reversed(slab.values), strict=True):
                if key == META and value is not None:
                    found: Mapping[str, Any] = json.loads(value)
                    return found
            if low == begin:
                break
            size *= 8
        return None
