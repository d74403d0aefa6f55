"""The history's worker: brings every topic from the cluster into ClickHouse. Several at once do no harm."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from streams.contracts import Contracts, Topic
from streams.contracts.codec import Codec
from streams.errors import HistoryAwayError
from streams.history.shelf import BLOCK
from streams.hosts.log import TopicPartition
from streams.kafka.cluster import Cluster
from streams.kafka.log import KafkaLog
from streams.kafka.registry import RestRegistry, Waiting
from streams.kafka.runner import StoppedError
from streams.kafka.settings import Settings
from streams.kafka.watching import resident_bytes
from streams.observe import Point

if TYPE_CHECKING:
    from streams.history import History, Sink

_ROUND_S = 1.0
_AGAIN_S = 2.0
_SAY_S, _REMIND_S = 10.0, 60.0
_SOON_S = 3.0  # a cluster that does not answer for so long is waited for
_AT_ONCE = 4 * BLOCK  # offsets of a partition, before the other topics have their turn
_log = logging.getLogger(__name__)


class SinkWorker:
    """Fills a history from a cluster until it is told to stop.

    Args:
        settings: cluster, registry and ClickHouse.
        contracts: the topics that are brought.

    Attributes:
        rows: how many rows were new, by topic.
        behind: how many offsets were still to be brought when a partition was looked at last.
        turned: when it went on last, or waited for something that is away (`time.monotonic`).
        whole: whether all that was there at some time since the start has been brought.
    """

    def __init__(self, settings: Settings, contracts: Contracts) -> None:
        self.settings = settings
        self.contracts = contracts
        self.rows: dict[str, int] = {}
        self.behind: dict[TopicPartition, int] = {}
        self._waits = "the cluster"
        self._asked: float | None = None
        self.turned = time.monotonic()
        self.whole = False
        self._over = threading.Event()
        self._history: History | None = None
        self._sink: Sink | None = None
        self._away_since: float | None = None
        self._reminded = self._said = 0.0
        self._told: dict[str, int] = {}

    @property
    def waits(self) -> str:
        """What it waits for, empty where it goes on."""
        asked = self._asked
        if asked is not None and time.monotonic() - asked > _SOON_S:
            return f"the cluster at {self.settings.kafka.bootstrap_servers}"
        return self._waits

    def stop(self) -> None:
        """End after what is being brought; a wait is broken off."""
        self._over.set()

    def run(self, *, once: bool = False) -> None:
        """Bring what is there, and then what comes. A cluster, registry or ClickHouse that is away is waited for.

        Args:
            once: end when all that was there has been brought.

        Raises:
            HistoryError: ClickHouse refuses, its tables contradict the contracts, or they belong to another log.
            ClusterRefusedError: the cluster does not let us in, or we lack a right.
        """
        Cluster(self.settings.kafka)  # says in one line which option is unknown
        registry = RestRegistry(
            self.settings.registry,
            prefix=self.settings.kafka.prefix,
            on_wait=self._registry_away,
            pause=self._over.wait,
        )
        log = KafkaLog(self.settings.kafka, check=self._check)
        codec = Codec(registry)
        try:
            for topic in self.contracts.topics:  # a cluster that refuses us is told also while ClickHouse is away
                self._ends(log, topic)
            while not self._over.is_set():
                try:
                    self._round(log, codec)
                except HistoryAwayError as error:
                    self._away(error)
                    continue
                if any(self.behind.values()):
                    continue
                self.whole = True
                if once:
                    break
                self._over.wait(_ROUND_S)
        except StoppedError:
            pass
        finally:
            self._say(at_once=True)
            self._close()
            log.close()
            registry.close()

    def _check(self) -> None:
        """Called while something is waited for."""
        self.turned = time.monotonic()
        if self._over.is_set():
            raise StoppedError("asked to stop")

    def _registry_away(self, waiting: Waiting) -> None:
        self._waits = f"the registry: {waiting.reason}"
        self._check()

    def _away(self, error: HistoryAwayError) -> None:
        """Say it once, and now and then; open the history anew when it is back.

        It may have lost the newest of what it had taken: what it holds is asked of the tables.
        """
        self._close()
        now = self.turned = time.monotonic()
        self._waits = str(error)
        if self._away_since is None:
            self._away_since = now
        if not self._reminded or now - self._reminded >= _REMIND_S:
            self._reminded = now
            _log.warning("waits for ClickHouse, nothing is lost: %s", error)
        self._over.wait(_AGAIN_S)

    def _open(self, log: KafkaLog, codec: Codec) -> "tuple[History, Sink]":
        from streams.history import Sink  # noqa: PLC0415 -- heavy

        if self._history is None or self._sink is None:
            self._history = self.settings.clickhouse.open(self.contracts)
            self._sink = Sink(log, self._history, codec)
            if self._away_since is not None:
                _log.info("ClickHouse is back after %.0f s", time.monotonic() - self._away_since)
                self._away_since, self._reminded = None, 0.0
        return self._history, self._sink

    def _close(self) -> None:
        history, self._history, self._sink = self._history, None, None
        if history is not None:
            history.close()

    def _round(self, log: KafkaLog, codec: Codec) -> None:
        """A turn of every topic: some blocks of each, so that none waits behind another."""
        history, sink = self._open(log, codec)
        for topic in self.contracts.topics.values():
            self._advance(topic, log, history, sink)
        history.flush()
        self._say()

    def _advance(self, topic: Topic, log: KafkaLog, history: "History", sink: "Sink") -> None:
        ends = self._ends(log, topic.name)
        self._waits = ""
        new = sink.advance(
            topic, {place: min(end, history.held(topic, place) + _AT_ONCE) for place, end in ends.items()}
        )
        for partition, end in ends.items():
            self.behind[topic.name, partition] = max(end - history.held(topic, partition), 0)
        if new:
            self.rows[topic.name] = self.rows.get(topic.name, 0) + new

    def _ends(self, log: KafkaLog, topic: str) -> dict[int, int]:
        self._check()
        self._asked = time.monotonic()
        ends = log.ends(topic)
        self._asked = None
        return ends

    def _say(self, *, at_once: bool = False) -> None:
        """Say what was brought, now and then."""
        new = {name: count - self._told.get(name, 0) for name, count in self.rows.items()}
        new = {name: count for name, count in new.items() if count}
        if not new or (not at_once and time.monotonic() - self._said < _SAY_S):
            return
        self._said, self._told = time.monotonic(), dict(self.rows)
        each = ", ".join(f"{name} {count:,}" for name, count in sorted(new.items(), key=lambda item: -item[1])[:3])
        more = f" and {len(new) - 3} more topics" if len(new) > 3 else ""
        left = sum(self.behind.values())
        rest = f"; {left:,} offsets to go" if left else ""
        _log.info("brought %s rows: %s%s%s", f"{sum(new.values()):,}", each, more, rest)


class SinkView:
    """A sink, as its pages of health show it.

    Args:
        worker: what is shown.
        stuck_s: an insert may take so long.
    """

    name = "sink"

    def __init__(self, worker: SinkWorker, *, stuck_s: float = 900.0) -> None:
        self._worker = worker
        self._stuck_s = stuck_s
        labels = {"processor": self.name, "slot": ""}
        self._read: dict[str, Callable[[], Iterable[Point]]] = {
            "flexlog.records.consumed": self._rows,
            "flexlog.input.lag": self._lags,
            "process.memory.usage": lambda: [(resident_bytes(), labels)],
        }

    def unwell(self) -> str:
        """Why the process should be started again; empty where it is well."""
        still = time.monotonic() - self._worker.turned
        if still > self._stuck_s:
            return f"{self.told()}; nothing has moved for {still:.0f} s, {self._stuck_s:.0f} are allowed"
        return ""

    def unready(self) -> str:
        """What it lacks; empty where it brings what comes."""
        if self._worker.waits or not self._worker.whole:
            return self.told()
        return ""

    def told(self) -> str:
        """One line on what it does."""
        worker = self._worker
        waits = f", waits for {worker.waits}" if worker.waits else ""
        rows, left = sum(worker.rows.copy().values()), sum(worker.behind.copy().values())
        return f"sink: {rows:,} rows brought, {left:,} offsets to go{waits}"

    def points(self, metric: str) -> Iterable[Point]:
        """The values of a metric now; a sink has few of them."""
        read = self._read.get(metric)
        return read() if read is not None else ()

    def taken(self, metric: str) -> Iterable[Point]:
        """A sink measures no batches."""
        del metric
        return ()

    def _rows(self) -> list[Point]:
        return [(rows, {"processor": self.name, "task": topic}) for topic, rows in self._worker.rows.copy().items()]

    def _lags(self) -> list[Point]:
        return [
            (left, {"processor": self.name, "topic": topic, "partition": str(partition)})
            for (topic, partition), left in self._worker.behind.copy().items()
        ]
