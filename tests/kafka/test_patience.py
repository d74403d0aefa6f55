"""What is waited out and what ends a worker, as Kafka's error codes say (kafka.apache.org/protocol, error codes)."""

import logging
import time
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import StreamsError
from streams.kafka.cluster import Cluster, ClusterError
from streams.kafka.patience import Admin, ClusterRefusedError, lacking, nothing, patiently
from streams.kafka.settings import KafkaSettings

TIMED_OUT, UNTRUSTED = KafkaError(KafkaError._TIMED_OUT), KafkaError(KafkaError._SSL, "certificate verify failed")
NO_LEADER = KafkaError(KafkaError._NOENT, "Failed to query partition leaders: No leaders found")
NOWHERE = KafkaSettings(bootstrap_servers="127.0.0.1:9", request_timeout_ms=1_000)


def failing(*errors: KafkaError) -> Callable[[], str]:
    """Something that fails so often before it succeeds."""
    left = list(errors)

    def act() -> str:
        if left:
            raise KafkaException(left.pop(0))
        return "done"

    return act


def test_what_passes_is_waited_for_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    passing = (TIMED_OUT, KafkaError(6), KafkaError(14), KafkaError(15), KafkaError(16), KafkaError(51), NO_LEADER)
    assert patiently(failing(*passing), "topic a.b", nothing) == "done"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"topic a.b: {TIMED_OUT.str()}; waiting for the cluster"
    ]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (29, "Describe on this topic"),
        (30, "Read on this group"),
        (53, "Write on this transactional id"),
        (31, "IdempotentWrite on this cluster"),
    ],
)
def test_a_right_that_is_lacking_ends_it_with_the_right_and_the_name(code: int, told: str) -> None:
    with pytest.raises(ClusterRefusedError, match=rf"^a\.b: Kafka denies our user {told} \(.*authorization failed\)"):
        patiently(failing(TIMED_OUT, KafkaError(code)), "a.b", nothing)
    with pytest.raises(ClusterRefusedError, match="denies our user Delete on this"):
        patiently(failing(KafkaError(code)), "a.b", nothing, right="Delete")


def test_whoever_is_not_let_in_ends_and_whoever_hears_nothing_waits() -> None:
    said = [None, None, UNTRUSTED]
    with pytest.raises(ClusterRefusedError, match=r"does not let us in: certificate verify .*OPTIONS__SSL_CA_LOCATION"):
        patiently(failing(*[TIMED_OUT] * 9), "a.b", nothing, refusal=lambda: said.pop(0))
    assert said == []
    assert patiently(failing(TIMED_OUT), "a.b", nothing, refusal=lambda: None) == "done"


def test_a_denial_is_known_where_it_is_only_quoted() -> None:
    quoted = KafkaError(KafkaError._STATE, "Failed to add partition(s): Broker: Topic authorization failed (1 ms)")
    found = lacking(quoted)
    assert found is not None
    assert found.code() == 29
    assert lacking(TIMED_OUT) is None
    assert lacking(KafkaError(KafkaError.PRODUCER_FENCED)) is None


def test_what_does_not_pass_is_given_on() -> None:
    with pytest.raises(KafkaException):
        patiently(failing(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no", False, False, False)), "a.b", nothing)


def test_a_refusal_is_believed_only_where_no_broker_lets_us_in(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = Admin(NOWHERE.common())
    assert admin.refusal() is None
    admin._hear(TIMED_OUT)
    assert admin.refusal() is None, "being away is no refusal"
    admin._hear(UNTRUSTED)
    monkeypatch.setattr(admin, "list_topics", lambda timeout: timeout)
    assert admin.refusal() is None, "another broker answers"

    def silent(timeout: float) -> None:
        raise KafkaException(TIMED_OUT)

    monkeypatch.setattr(admin, "list_topics", silent)
    assert admin.refusal() is None, "that was of before"
    admin._hear(UNTRUSTED)
    assert admin.refusal() is UNTRUSTED


def test_a_cluster_that_is_away_is_not_one_that_refuses(capfd: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    with pytest.raises(ClusterError, match=r"^Kafka at 127\.0\.0\.1:9: .*; see whether it runs") as told:
        Cluster(NOWHERE).names()
    assert time.monotonic() - begun < 5
    assert not isinstance(told.value, ClusterRefusedError)
    assert isinstance(told.value, StreamsError)
    assert capfd.readouterr() == ("", ""), "the client prints nothing beside it"
