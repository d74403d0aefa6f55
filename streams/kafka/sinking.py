"""The history's worker: brings every topic from the cluster into ClickHouse. Several at once do no harm."""

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from streams.contracts import Contracts
from streams.contracts.codec import Codec
from streams.errors import HistoryAwayError
from streams.kafka.log import KafkaLog
from streams.kafka.registry import RestRegistry
from streams.kafka.runner import StoppedError
from streams.kafka.settings import Settings

if TYPE_CHECKING:
    from streams.history import History

_ROUND_S = 1.0
_AGAIN_S = 2.0
_log = logging.getLogger(__name__)


class SinkWorker:
    """Fills a history from a cluster until it is told to stop.

    Args:
        settings: cluster, registry and ClickHouse.
        contracts: the topics that are brought.

    Attributes:
        rows: how many rows were new, by topic.
    """

    def __init__(self, settings: Settings, contracts: Contracts) -> None:
        self.settings = settings
        self.contracts = contracts
        self.rows: dict[str, int] = {}
        self._over = threading.Event()

    def stop(self) -> None:
        """End after what is being brought; a wait is broken off."""
        self._over.set()

    def run(self, *, once: bool = False) -> None:
        """Bring what is there, and then what comes.

        Args:
            once: end when all that was there has been brought.

        Raises:
            HistoryError: the tables contradict the contracts, or belong to another log.
        """
        registry = RestRegistry(
            self.settings.registry,
            prefix=self.settings.kafka.prefix,
            on_wait=lambda _: self._check(),
            pause=self._over.wait,
        )
        log = KafkaLog(self.settings.kafka, check=self._check)
        history: History | None = None
        try:
            while not self._over.is_set():
                try:
                    history = history or self._open()
                    moved = self._round(log, history, Codec(registry))
                except HistoryAwayError as error:
                    _log.warning("waiting for ClickHouse: %s", error)
                    self._over.wait(_AGAIN_S)
                    continue
                if once:
                    return
                if not moved:
                    self._over.wait(_ROUND_S)
        except StoppedError:
            pass
        finally:
            if history is not None:
                history.close()
            log.close()
            registry.close()

    def _check(self) -> None:
        if self._over.is_set():
            raise StoppedError("asked to stop")

    def _open(self) -> "History":
        from streams.history import History  # noqa: PLC0415 -- heavy

        held = self.settings.clickhouse
        if held.interface == "chdb":
            assert held.path is not None
            return History.embedded(Path(held.path), self.contracts)
        return History.server(self.contracts, database=held.database, **held.client())

    def _round(self, log: KafkaLog, history: "History", codec: Codec) -> bool:
        from streams.history import Sink  # noqa: PLC0415 -- heavy

        sink = Sink(log, history, codec)
        moved = False
        for topic in self.contracts.topics.values():
            new = sink.advance(topic, log.ends(topic.name))
            if new:
                moved = True
                self.rows[topic.name] = self.rows.get(topic.name, 0) + new
                _log.info("%s: %s rows more, %s since the start", topic.name, f"{new:,}", f"{self.rows[topic.name]:,}")
        history.flush()
        return moved
