"""A run's folder, opened to look at: its log, its history, its past."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from streams.contracts.codec import Codec
from streams.contracts.topic import Topic
from streams.errors import StreamsError
from streams.hosts.log import count
from streams.hosts.memory import MemoryLog
from streams.hosts.registry import LogRegistry
from streams.hosts.replay import ReplayHost
from streams.topology import COMMIT, ONE_PARTITION, Topology, discover

if TYPE_CHECKING:
    from streams.history import History, Sink


class Folder:
    """The folder of an embedded host, to look at; the host may still be writing to it.

    Args:
        path: the folder.
        topology: what ran there; all that is installed by default.
        fresh_history: build the history anew from the log, in a temporary place, and leave the run's own alone.

    Raises:
        StreamsError: it is no such folder.
    """

    def __init__(self, path: Path, topology: Topology | None = None, *, fresh_history: bool = False) -> None:
        if not (path / "log" / "journal.bin").exists():
            raise StreamsError(f"{path} holds no run (there is no log in it); give the folder that a run wrote")
        self.path = path
        self._kept = None if fresh_history else path / "history"
        self.log = MemoryLog(path / "log", clock=lambda: 0, look_only=True)
        self.codec = Codec(LogRegistry(self.log))
        self.topology = topology or self._discovered()
        self._history: History | None = None
        self._sink: Sink | None = None

    def _discovered(self) -> Topology:
        found = discover()
        held = set(self.log.topics())
        partitions = dict(ONE_PARTITION)
        for topic in found.contracts.topics.values():
            if topic.name in held:
                partitions[topic.lane] = self.log.partitions(topic.name)
        return Topology(found.contracts, found.processors, found.edges, partitions)

    def history(self) -> "History":
        """The run's history."""
        if self._history is None:
            from streams.history import History, Sink  # noqa: PLC0415 -- an engine, started only where it is asked for

            self._history = History.embedded(self._kept, self.topology.contracts)
            self._sink = Sink(self.log, self._history, self.codec)
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
        """Wait until the host that writes to the folder has gone on; False once there is none."""
        return self.log.follow()

    def count_commits(self) -> int:
        """How many commits the log holds."""
        return count(self.log, COMMIT)

    def close(self) -> None:
        """Close history and log."""
        if self._history is not None:
            self._history.close()
        self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
