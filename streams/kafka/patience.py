"""What to wait out, what to try again, and what is final: the errors of a Kafka client."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

from streams.errors import StreamsError

T = TypeVar("T")
PAUSE_S = 0.05
_log = logging.getLogger(__name__)


class ClusterRefusedError(StreamsError):
    """What the cluster refuses for good."""


PASSING = {
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._WAIT_COORD,  # noqa: SLF001
    KafkaError._IN_PROGRESS,  # noqa: SLF001
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.CONCURRENT_TRANSACTIONS,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
}
"""Errors that pass by themselves."""
MOVED = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
}
"""Errors that may say that another broker leads a partition now."""
STALE = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._FENCED,  # noqa: SLF001
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
}
"""Errors that say that another owner has taken over."""


def known(error: KafkaException) -> KafkaError:
    """The error inside an exception."""
    found: KafkaError = error.args[0]
    return found


def patiently(act: Callable[[], T], what: str, check: Callable[[], None]) -> T:
    """Do something again until the cluster can answer; only what will not get better is an error."""
    warned = False
    while True:
        check()
        try:
            return act()
        except KafkaException as error:
            found = known(error)
            if not passing(found) or found.txn_requires_abort():
                raise
            if not warned:
                _log.warning("%s: %s; waiting for the cluster", what, found.str())
                warned = True
            time.sleep(PAUSE_S)


def passing(error: KafkaError) -> bool:
    """Whether an error gets better by itself."""
    return (error.retriable() or error.code() in PASSING) and not error.fatal()


def nothing() -> None:
    """What is called while waiting where nothing need be checked."""
