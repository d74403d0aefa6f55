"""Which tasks of a processor are ours: Kafka's group protocol on its lead topic, the changelog.

A thread polls the group all the time, so that a long handler costs no membership. Nothing of the group changes while
a transaction is open: both take one lock. So a commit is by the owner that began it, or it is refused.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from streams.errors import FencedError
from streams.hosts.log import Fence
from streams.kafka.patience import DENIED, ClusterRefusedError, denied
from streams.kafka.settings import KafkaSettings

_POLL_S = 0.05
_log = logging.getLogger(__name__)


class Membership:
    """One member of a group.

    Args:
        settings: the cluster.
        group: of a processor's version, without the prefix.
        lead: the topic whose partitions stand for the tasks.
    """

    def __init__(self, settings: KafkaSettings, group: str, lead: str) -> None:
        self.group = group
        self._name = settings.topic(group)
        self._lock = threading.RLock()
        self._generation = 0
        self._owned: dict[int, int] = {}
        self._over = threading.Event()
        self.failure: str | None = None
        self.answered = False
        options: dict[str, Any] = {
            **settings.common(),
            "group.id": settings.topic(group),
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "latest",
            "max.poll.interval.ms": 300_000,
        }
        if settings.group_protocol == "consumer":
            options["group.protocol"] = "consumer"
        else:
            options["session.timeout.ms"] = settings.session_timeout_ms
            options["heartbeat.interval.ms"] = max(settings.session_timeout_ms // 6, 100)
            options["partition.assignment.strategy"] = "cooperative-sticky"
        self.consumer = Consumer(options)
        self.consumer.subscribe(
            [settings.topic(lead)], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        self._thread = threading.Thread(target=self._run, name=f"membership {group}", daemon=True)
        self._thread.start()

    # What the group says; always under the lock, for whoever polls holds it.

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self.answered = True  # also where it gives nothing: there are more members than tasks
        begun = [TopicPartition(place.topic, place.partition, OFFSET_END) for place in places]
        consumer.incremental_assign(begun)
        consumer.pause(begun)
        for place in places:
            self._generation += 1
            self._owned[place.partition] = self._generation
        _log.info("%s: given %s", self.group, sorted(place.partition for place in places))

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        for place in places:
            self._owned.pop(place.partition, None)
        consumer.incremental_unassign(places)
        _log.info("%s: taken %s", self.group, sorted(place.partition for place in places))

    def _lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self.answered = False
        self._revoked(consumer, places)
        _log.warning("%s: the group has not answered for too long; waiting for the cluster", self.group)

    def _run(self) -> None:
        while not self._over.wait(_POLL_S):
            try:
                with self._lock:
                    if not self._over.is_set():
                        self._poll()
            except ClusterRefusedError as error:
                self.failure = str(error)
                return
            except Exception as error:  # noqa: BLE001 -- the runner says it and ends
                self.failure = str(error)
                _log.exception("%s: the membership ended", self.group)
                return

    def _poll(self) -> None:
        message = self.consumer.poll(0)
        error = message.error() if message is not None else None
        if error is not None and error.code() in DENIED:
            raise denied(error, f"group {self._name}")
        if error is not None and error.fatal():
            raise KafkaException(error)

    @property
    def alive(self) -> bool:
        """Whether the group is still polled."""
        return self.failure is None and self._thread.is_alive()

    # Owning.

    def owned(self) -> dict[int, Fence]:
        """The tasks that are ours now, each with the proof of it."""
        with self._lock:
            return {place: Fence(self.group, mark, place) for place, mark in sorted(self._owned.items())}

    def holds(self, fence: Fence) -> bool:
        """Whether a proof is still good, as far as this member knows."""
        with self._lock:
            if fence.partition is None:
                return fence.generation == self._generation
            return self._owned.get(fence.partition) == fence.generation

    def hold(self, fence: Fence) -> Any:
        """Keep the group as it is until `release`; what a commit proves its membership with.

        The group's metadata is taken first and the group asked for news after: what has changed by then shows in the
        assignment, what changes later makes the metadata stale.

        Raises:
            FencedError: the task is no longer ours.
        """
        self._lock.acquire()
        try:
            metadata = self.consumer.consumer_group_metadata()
            joined = self.consumer.memberid()  # a commit without a member's id is one of no group: it is not refused
            self._poll()
            if joined and self.holds(fence):
                return metadata
        except BaseException:
            self._lock.release()
            raise
        self._lock.release()
        raise FencedError(f"group {self.group}: task {fence.partition} is no longer ours")

    def release(self) -> None:
        """Let the group go on."""
        self._lock.release()

    def renew(self) -> Fence:
        """Make all earlier proofs void, and give one for all tasks."""
        with self._lock:
            self._generation += 1
            for place in self._owned:
                self._owned[place] = self._generation
            return Fence(self.group, self._generation)

    def until_owner_of(self, count: int, check: Callable[[], None]) -> None:
        """Wait until so many tasks are ours."""
        while len(self.owned()) < count:
            check()
            time.sleep(_POLL_S / 5)

    def close(self) -> None:
        """Leave the group, at once for the others."""
        self._over.set()
        self._thread.join()
        with self._lock:
            self.consumer.close()
