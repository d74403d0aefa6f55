"""The log of a cluster is written as the seam promises: all or nothing, by the owner alone."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import AbortedError, FencedError, StreamsError
from streams.hosts.log import Fence
from streams.kafka.log import KafkaLog
from streams.kafka.membership import Membership
from streams.kafka.settings import KafkaSettings
from tests.kafka.onlog import GROUP, LEAD, Make, put

# --- writing -------------------------------------------------------------------------------------------------------


def test_flush_gives_the_offsets_taken(make: Make) -> None:
    log = make()
    put(log, "a", b"0")
    transaction = log.transaction("p")
    transaction.append("a", 0, [None] * 3, [b"1", b"2", b"3"])
    transaction.append("a", 1, [None], [b"4"])
    assert transaction.flush() == {("a", 0): (2, 5), ("a", 1): (0, 1)}
    transaction.append("a", 0, [None], [b"5"])
    assert transaction.flush()["a", 0] == (2, 6)
    transaction.commit({})
    assert log.end("a", 0) == 7


def test_a_transaction_that_is_over_takes_nothing_more(make: Make) -> None:
    transaction = make().transaction("p")
    transaction.append("a", 0, [None], [b"1"])
    transaction.commit({})
    transaction.abort()  # harmless
    for act in (lambda: transaction.append("a", 0, [None], [b"2"]), transaction.flush, lambda: transaction.commit({})):
        with pytest.raises(StreamsError, match="is over"):
            act()


@pytest.mark.parametrize("elsewhere", [True, False], ids=["another process", "the same process"])
def test_a_successor_fences_its_namesake_and_ends_its_open_transaction(make: Make, *, elsewhere: bool) -> None:
    log = make()
    successor = make() if elsewhere else log
    zombie = log.transaction("p")
    zombie.append("a", 0, [b"k"], [b"zombie"])
    zombie.flush()
    begin = time.monotonic()
    put(successor, "a", b"successor")
    assert successor.read("a", 0, 0).values == [b"successor"]
    assert time.monotonic() - begin < 4  # the broker's own timeout is 10
    with pytest.raises(FencedError if elsewhere else StreamsError):
        zombie.commit({})
    assert make().read("a", 0, 0).values == [b"successor"]
    put(log, "a", b"again")  # under a new producer, which fences the successor in turn
    assert make().read("a", 0, 0).values == [b"successor", b"again"]


def test_a_fenced_producer_is_told_at_the_next_append_too(make: Make) -> None:
    log, successor = make(), make()
    zombie = log.transaction("p")
    zombie.append("a", 0, [b"k"], [b"zombie"])
    zombie.flush()
    put(successor, "a", b"successor")

    def go_on() -> None:
        for _ in range(50):
            zombie.append("a", 0, [b"k"], [b"zombie"])
            zombie.flush()

    with pytest.raises((FencedError, AbortedError)):
        go_on()
    assert make().read("a", 0, 0).values == [b"successor"]


def test_a_record_that_is_too_large_is_named_and_leaves_nothing(make: Make) -> None:
    log = make()
    transaction = log.transaction("p")
    with pytest.raises(StreamsError, match=r"a\[1\]: a record of 2,000,000 bytes"):
        transaction.append("a", 1, [None, None], [b"small", bytes(2_000_000)])
    transaction.abort()
    put(log, "a", b"next", partition=1)
    assert log.read("a", 1, 0).values == [b"next"]


def test_a_full_queue_of_the_client_only_takes_time(make: Make) -> None:
    log = make()
    put(log, "a", b"0")
    real = log._producers["p"]
    refused: list[int] = []

    class Full:
        """The producer, with a queue that is full at times."""

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def produce(self, *args: Any) -> None:
            if len(refused) < 9 and len(refused) % 3 < 2:
                refused.append(1)
                raise BufferError("queue full")
            refused.append(0)
            real.produce(*args)

    log._producers["p"] = Full()  # type: ignore[assignment]
    put(log, "a", *[b"%d" % number for number in range(1, 8)])
    assert sum(refused) == 6
    assert log.read("a", 0, 0).values == [b"%d" % number for number in range(8)]


@pytest.mark.parametrize("point", ["begin", "append", "flush", "before_commit", "after_commit"])
def test_a_crash_leaves_all_or_nothing(make: Make, point: str) -> None:
    log = make()

    def crash(at: str) -> None:
        if at == point:
            raise KeyboardInterrupt

    def write() -> None:
        put(log, "a", b"v")
        log.transaction("p").flush()  # put does not flush

    log.crash = crash
    with pytest.raises(KeyboardInterrupt):
        write()
    log.crash = None
    log.abort_open()
    expected = [b"v"] if point in ("flush", "after_commit") else []
    assert log.read("a", 0, 0).values == expected
    assert log.end("a", 0) == log.end("a", 0, committed=False)


def test_a_dead_producers_open_transaction_ends_by_itself(settings: KafkaSettings, make: Make) -> None:
    dead = KafkaLog(settings.model_copy(update={"transaction_timeout_ms": 1_000}))
    transaction = dead.transaction("dead")
    transaction.append("a", 0, [None], [b"lost"])
    transaction.flush()
    log = make()
    put(make(prompt=False), "a", b"kept")
    assert log.read("a", 0, 0).values == []
    assert log.read("a", 0, 0, stop=3).values == [b"kept"]  # the broker looks every 10 s
    with pytest.raises((FencedError, AbortedError)):
        transaction.commit({})
    put(dead, "a", b"back", producer="dead")
    assert make().read("a", 0, 0).values == [b"kept", b"back"]
    dead.close()


# --- owning --------------------------------------------------------------------------------------------------------


def commit(log: KafkaLog, fence: Fence, value: bytes, position: int) -> None:
    transaction = log.transaction(f"of {id(log)}", fence)
    try:
        transaction.append("a", 0, [None], [value])
        transaction.commit({(LEAD, fence.partition or 0): position, ("a", 0): 2 * position})
    finally:
        transaction.abort()


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def member(log: KafkaLog, settings: KafkaSettings) -> Membership:
    made = Membership(settings, GROUP, LEAD)
    log.attach(made)
    return made


def test_positions_are_committed_with_the_records(make: Make) -> None:
    log = make()
    fence = log.join(GROUP)
    assert log.committed(GROUP, (LEAD, 0)) is None
    commit(log, fence, b"1", 1)
    assert log.committed(GROUP, (LEAD, 0)) == 1
    assert log.committed(GROUP, ("a", 0)) == 2
    assert log.committed(GROUP, (LEAD, 1)) is None


def test_a_commit_with_an_old_fence_is_refused_and_leaves_nothing(make: Make) -> None:
    log = make()
    old = log.join(GROUP)
    new = log.join(GROUP)
    with pytest.raises(FencedError, match="no longer ours"):
        commit(log, old, b"stale", 7)
    commit(log, new, b"good", 1)
    assert log.read("a", 0, 0).values == [b"good"]
    assert log.committed(GROUP, (LEAD, 0)) == 1


def test_a_group_that_is_not_ours_cannot_be_written_for(make: Make) -> None:
    with pytest.raises(FencedError, match="no member of the group strangers"):
        make().transaction("p", Fence("strangers", 1, 0))


def test_tasks_move_to_a_second_member_and_back_and_old_proofs_are_void(make: Make, settings: KafkaSettings) -> None:
    first_log, second_log = make(), make()
    first = member(first_log, settings)
    until(lambda: len(first.owned()) == 2)
    before = first.owned()
    commit(first_log, before[0], b"1", 1)
    second = member(second_log, settings)
    until(lambda: len(first.owned()) == len(second.owned()) == 1)
    (moved,) = second.owned()
    assert set(first.owned()) == {1 - moved}
    with pytest.raises(FencedError, match=f"task {moved} is no longer ours"):
        commit(first_log, before[moved], b"stale", 9)
    commit(first_log, first.owned()[1 - moved], b"2", 2)
    commit(second_log, second.owned()[moved], b"3", 3)
    second.close()  # leaves at once
    begin = time.monotonic()
    until(lambda: len(first.owned()) == 2)
    assert time.monotonic() - begin < 5  # the session would end after 6
    assert first.owned()[moved] != before[moved]
    with pytest.raises(FencedError):
        commit(first_log, before[moved], b"stale", 9)
    assert sorted(v or b"" for v in make().read("a", 0, 0).values) == [b"1", b"2", b"3"]


def test_no_task_moves_while_a_transaction_is_open(make: Make, settings: KafkaSettings) -> None:
    log = make()
    first = member(log, settings)
    until(lambda: len(first.owned()) == 2)
    fence = first.owned()[0]
    transaction = log.transaction("p", fence)
    second = member(make(), settings)
    time.sleep(1)
    assert second.owned() == {}
    transaction.append("a", 0, [None], [b"mine"])
    expected = [b"mine"]
    try:
        transaction.commit({(LEAD, 0): 1})
    except FencedError:  # the group has counted on meanwhile: refused, though the task has not moved
        expected = []
    until(lambda: len(second.owned()) == 1)
    assert make().read("a", 0, 0).values == expected
    assert log.committed(GROUP, (LEAD, 0)) == (1 if expected else None)


def test_the_broker_refuses_a_zombie_that_believes_itself_the_owner(
    make: Make, settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie_log, log = make(), make()
    zombie = member(zombie_log, settings)
    until(lambda: len(zombie.owned()) == 2)
    fence = zombie.owned()[0]
    metadata = zombie.consumer.consumer_group_metadata()
    zombie._over.set()  # it no longer hears what the group says, as if it slept ...
    zombie._thread.join()
    zombie.consumer.unsubscribe()  # ... and the group has given its tasks away
    heir = member(log, settings)
    until(lambda: len(heir.owned()) == 2)
    commit(log, heir.owned()[0], b"heir", 1)
    monkeypatch.setattr(zombie, "_poll", lambda: None)
    monkeypatch.setattr(zombie, "holds", lambda _: True)

    class Asleep:
        """Its consumer, with what it knew before."""

        def consumer_group_metadata(self) -> Any:
            return metadata

        def memberid(self) -> str:
            return "zombie"

        def close(self) -> None:
            real.close()

    real = zombie.consumer
    zombie.consumer = Asleep()  # type: ignore[assignment]
    with pytest.raises(FencedError, match="another owner has taken over"):
        commit(zombie_log, fence, b"zombie", 2)
    assert make().read("a", 0, 0).values == [b"heir"]
    assert log.committed(GROUP, (LEAD, 0)) == 1


def test_an_error_of_the_client_in_a_transaction_aborts_it(make: Make) -> None:
    log = make()
    put(log, "a", b"0")
    real = log._producers["p"]

    class Denied:
        """The producer, after the broker has refused something."""

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def produce(self, *_: Any) -> None:
            raise KafkaException(KafkaError(KafkaError._STATE))

    log._producers["p"] = Denied()  # type: ignore[assignment]
    transaction = log.transaction("p")
    with pytest.raises(AbortedError):
        transaction.append("a", 0, [None], [b"1"])
    assert not transaction.open
    log._producers["p"] = real
    put(log, "a", b"2")
    assert log.read("a", 0, 0).values == [b"0", b"2"]
