"""What to wait out, what to try again, and what is final: the errors of a Kafka client."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from streams.errors import StreamsError

T = TypeVar("T")
PAUSE_S = 0.05
_BELIEVE_S = 2.0
_log = logging.getLogger(__name__)


class ClusterRefusedError(StreamsError):
    """What the cluster refuses for good: to try again would give the same.

    Attributes:
        error: the client's, where there is one.
    """

    error: KafkaError | None = None


PASSING = {
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._WAIT_COORD,  # noqa: SLF001
    KafkaError._IN_PROGRESS,  # noqa: SLF001
    KafkaError._NOENT,  # noqa: SLF001  # no partition of those asked for has a leader yet
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
    KafkaError.KAFKA_STORAGE_ERROR,  # the broker's disk; it ends itself, and another leads
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
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._NOENT,  # noqa: SLF001
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
STRANGER = {
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError._SSL,  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.ILLEGAL_SASL_STATE,
}
"""Errors that say that a broker does not let us in, or that we do not trust it."""
DENIED: Mapping[int, tuple[str, str]] = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: ("topic", "Describe"),
    KafkaError.GROUP_AUTHORIZATION_FAILED: ("group", "Read"),
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: ("transactional id", "Write"),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: ("cluster", "IdempotentWrite"),
}
"""Errors that say that our user lacks a right: on what kind of thing, and which it is unless somebody knows better."""
_ASKING = {"log_level": 0, "metadata.max.age.ms": 1_000, "topic.metadata.refresh.interval.ms": 1_000}
"""A request that waits for a leader that is gone keeps a core busy with connecting (librdkafka 2.16): so the client
soon forgets who leads, and no request waits for long. What is wrong is said once, by the error."""


def known(error: KafkaException) -> KafkaError:
    """The error inside an exception."""
    found: KafkaError = error.args[0]
    return found


class Admin(AdminClient):
    """A client that asks a cluster, and knows whether it is let in.

    Args:
        options: as for every client.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._refused: KafkaError | None = None
        made: dict[str, Any] = {**_ASKING, **options, "error_cb": self._hear}
        super().__init__(made)

    def _hear(self, error: KafkaError) -> None:
        if error.code() in STRANGER:
            self._refused = error

    def refusal(self) -> KafkaError | None:
        """Why no broker lets us in; None where one does, or none has said anything: the cluster may be away.

        One broker may refuse what the others take, and a broker that has just started what it takes a moment later.
        """
        self.poll(0)
        found, self._refused = self._refused, None
        if found is None:
            return None
        try:
            self.list_topics(timeout=_BELIEVE_S)
        except KafkaException:
            return found
        return None


def patiently(
    act: Callable[[], T],
    what: str,
    check: Callable[[], None],
    *,
    right: str = "",
    refusal: Callable[[], KafkaError | None] = lambda: None,
) -> T:
    """Do something again until the cluster can answer; only what will not get better is an error.

    Args:
        act: what is done.
        what: what it is about, for messages: the name of a topic, a group, a transactional id.
        check: called before each try; it may raise to end the wait.
        right: the operation it takes, for a message where it is denied.
        refusal: asked after each try that failed whether the cluster lets us in at all.

    Raises:
        ClusterRefusedError: it is denied, or the cluster does not let us in.
        KafkaException: anything else that does not pass.
    """
    warned = False
    while True:
        check()
        try:
            return act()
        except KafkaException as error:
            found = known(error)
            if found.code() in DENIED:
                raise denied(found, what, right) from None
            if not passing(found) or found.txn_requires_abort():
                raise
            if (why := refusal()) is not None:
                raise stranger(why) from None
            if not warned:
                _log.warning("%s: %s; waiting for the cluster", what, found.str())
                warned = True
            time.sleep(PAUSE_S)


def lacking(error: KafkaError) -> KafkaError | None:
    """The error of `DENIED` that an error is, or is about: what a transaction ends with may only quote it."""
    if error.code() in DENIED:
        return error
    return next((KafkaError(code, error.str()) for code in DENIED if KafkaError(code).str() in error.str()), None)


def denied(error: KafkaError, name: str, right: str = "") -> ClusterRefusedError:
    """What is said where our user lacks a right.

    Args:
        error: of `DENIED`.
        name: of what it is lacking on.
        right: the operation, where it is not the usual one.
    """
    kind, usual = DENIED[error.code()]
    made = ClusterRefusedError(
        f"{name}: Kafka denies our user {right or usual} on this {kind} ({error.str()}); add the ACL with kafka-acls "
        "(docs/how-to/run-on-kafka.md lists what each command needs), or set FLEXLOG_KAFKA__OPTIONS__… to a user that "
        "has it"
    )
    made.error = error
    return made


def stranger(error: KafkaError) -> ClusterRefusedError:
    """What is said where no broker lets us in."""
    if error.code() == KafkaError._SSL:  # noqa: SLF001
        way = "set FLEXLOG_KAFKA__OPTIONS__SSL_CA_LOCATION (and SSL_CERTIFICATE_LOCATION, SSL_KEY_LOCATION)"
    else:
        way = "set FLEXLOG_KAFKA__OPTIONS__SASL_USERNAME, SASL_PASSWORD and SASL_MECHANISM"
    return ClusterRefusedError(f"Kafka does not let us in: {error.str()}; {way} to what the brokers take")


def passing(error: KafkaError) -> bool:
    """Whether an error gets better by itself."""
    return (error.retriable() or error.code() in PASSING) and not error.fatal()


def nothing() -> None:
    """What is called while waiting where nothing need be checked."""
