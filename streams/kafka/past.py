"""What happened on a cluster, to be run again: its log, its registry, and a history made of them."""

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from streams.contracts.codec import Codec
from streams.contracts.topic import Topic
from streams.hosts.log import count
from streams.hosts.replay import ReplayHost
from streams.kafka.log import KafkaLog
from streams.kafka.registry import RestRegistry
from streams.kafka.settings import Settings
from streams.topology import COMMIT, Topology

if TYPE_CHECKING:
    from streams.history import History, Sink

_FOLLOW_S = 0.5


class ClusterPast:
    """The past of a deployment, to look at while it runs; nothing is written.

    Args:
        settings: where cluster and registry are.
        topology: what ran there, with the deployment's partition counts.
    """

    def __init__(self, settings: Settings, topology: Topology) -> None:
        self.topology = topology
        self.log = KafkaLog(settings.kafka, origins=True, prompt=True)
        self._registry = RestRegistry(settings.registry, prefix=settings.kafka.prefix)
        self.codec = Codec(self._registry)
        self._beside = KafkaLog(settings.kafka)  # what the history is made of is read apart from what is run again
        self._history: History | None = None
        self._sink: Sink | None = None

    def history(self) -> "History":
        """A history in this process, made from the log as far as it is asked for."""
        if self._history is None:
            from streams.history import History, Sink  # noqa: PLC0415 -- an engine, started only where it is asked for

            self._history = History.embedded(None, self.topology.contracts)
            self._sink = Sink(self._beside, self._history, self.codec)
        return self._history

    def sink(self, topic: Topic, ends: Mapping[int, int]) -> int:
        """Bring a topic into the history up to these offsets; how many rows were new."""
        self.history()
        assert self._sink is not None
        return self._sink.advance(topic, ends)

    def replay(self) -> ReplayHost:
        """What runs the past again."""
        return ReplayHost(self.topology, self.log, self.codec, self.history, self.sink)

    def follow(self) -> bool:
        """Wait for what comes; a deployment has no end."""
        self.log.wait(_FOLLOW_S)
        return True

    def count_commits(self) -> int:
        """How many commits the log holds."""
        return count(self.log, COMMIT)

    def close(self) -> None:
        """Let go of all."""
        if self._history is not None:
            self._history.close()
        self.log.close()
        self._beside.close()
        self._registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
