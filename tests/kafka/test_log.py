"""The log of a cluster keeps what the seam promises, as the one in memory does (tests/hosts/test_memory.py)."""

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import AbortedError, FencedError, StreamsError, WiringError
from streams.hosts.log import Fence
from streams.kafka import reading
from streams.kafka.cluster import Cluster
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.log import KafkaLog
from streams.kafka.membership import Membership
from streams.kafka.settings import KafkaSettings

Make = Callable[..., KafkaLog]
GROUP = "group"
LEAD = f"{GROUP}.changelog"


@pytest.fixture
def settings(cluster: LocalCluster) -> KafkaSettings:
    made = KafkaSettings(
        bootstrap_servers=cluster.bootstrap_servers,
        prefix=f"l{uuid.uuid4().hex[:10]}.",
        replication_factor=1,
        session_timeout_ms=6_000,
    )
    config = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete", "retention.ms": "-1"}
    names = {"a": 2, "b": 1, "many": 8, LEAD: 2}
    Cluster(made).create({made.topic(name): (count, config) for name, count in names.items()})
    return made


@pytest.fixture
def make(settings: KafkaSettings) -> Iterator[Make]:
    """Logs as other processes would have them; all are closed at the end."""
    logs: list[KafkaLog] = []

    def made(**options: Any) -> KafkaLog:
        logs.append(KafkaLog(settings, **{"prompt": True, **options}))
        return logs[-1]

    yield made
    for log in logs:
        log.crash = None
        log.close()


def put(log: KafkaLog, topic: str, *values: bytes, partition: int = 0, producer: str = "p") -> None:
    transaction = log.transaction(producer)
    transaction.append(topic, partition, [b"k"] * len(values), values)
    transaction.commit({})


def drop(log: KafkaLog, topic: str, *values: bytes, partition: int = 0, producer: str = "p") -> None:
    transaction = log.transaction(producer)
    transaction.append(topic, partition, [b"k"] * len(values), values)
    transaction.flush()  # what never left the client would take no offsets
    transaction.abort()


# --- reading -------------------------------------------------------------------------------------------------------


def test_a_transaction_takes_an_offset_for_its_control_marker(make: Make) -> None:
    log = make()
    put(log, "a", b"1", b"2")
    put(log, "a", b"3")
    slab = log.read("a", 0, 0)
    assert slab.values == [b"1", b"2", b"3"]
    assert slab.offsets.tolist() == [0, 1, 3]
    assert log.end("a", 0) == slab.next_offset == 5
    assert log.read("a", 0, 5).next_offset == 5
    assert log.read("a", 0, 2).offsets.tolist() == [3]  # from a marker on


def test_aborted_records_take_offsets_and_are_never_read(make: Make) -> None:
    log = make()
    drop(log, "a", b"lost")
    put(log, "a", b"kept")
    slab = log.read("a", 0, 0)
    assert (slab.values, slab.offsets.tolist(), slab.next_offset) == ([b"kept"], [2], 4)


def test_a_read_ends_behind_an_aborted_tail(make: Make) -> None:
    log = make()
    put(log, "a", b"kept")
    drop(log, "a", b"lost", b"lost")
    assert log.end("a", 0) == 5
    for stop in (2, 3, 4, 5):
        slab = log.read("a", 0, 0, stop=stop)
        assert (slab.values, slab.next_offset) == ([b"kept"], stop)
    assert log.read("a", 0, 2, stop=5).values == []


def test_a_partition_that_was_never_written_is_read_to_its_end(make: Make) -> None:
    log = make()
    assert (log.start("b", 0), log.end("b", 0)) == (0, 0)
    assert log.read("b", 0, 0).next_offset == 0
    assert log.reached("b", 0, 0)
    assert not log.reached("b", 0, 1)


def test_keys_values_origins_and_append_times_come_back(make: Make) -> None:
    log = make(origins=True)
    before = time.time_ns() // 1_000_000_000 * 1_000_000
    transaction = log.transaction("p")
    transaction.append("a", 0, [b"k", None, b""], [b"v", b"", None], origin="t/1")
    transaction.append("a", 0, [b"k"], [b"w"])
    transaction.commit({})
    slab = log.read("a", 0, 0)
    assert slab.keys == [b"k", None, b"", b"k"]
    assert slab.values == [b"v", b"", None, b"w"]
    assert slab.origins == [(1, "t/1")] * 3 + [(1, "")]
    assert before <= int(slab.appended_at[0]) <= int(slab.appended_at[-1]) <= time.time_ns() // 1_000
    assert (slab.appended_at % 1_000 == 0).all()  # Kafka knows milliseconds


def test_readers_stop_at_the_last_stable_offset(make: Make) -> None:
    log, other = make(), make()
    open_one = other.transaction("slow")
    open_one.append("a", 0, [b"k"], [b"open"])
    open_one.flush()
    put(make(prompt=False), "a", b"later")
    assert log.read("a", 0, 0).values == []
    assert log.end("a", 0) == 0
    assert log.end("a", 0, committed=False) == 3
    assert log.reached("a", 0, 0)
    assert not log.reached("a", 0, 1)
    open_one.commit({})
    assert other.read("a", 0, 0).values == [b"open", b"later"]
    assert log.reached("a", 0, 3)


def test_a_read_up_to_a_stop_waits_until_all_before_it_is_decided(make: Make) -> None:
    log, other = make(), make()
    open_one = other.transaction("slow")
    open_one.append("a", 0, [b"k"], [b"open"])
    open_one.flush()
    end = log.end("a", 0, committed=False)
    threading.Timer(0.5, lambda: open_one.commit({})).start()
    begin = time.monotonic()
    assert log.read("a", 0, 0, stop=end).values == [b"open"]
    assert time.monotonic() - begin > 0.4


def test_what_is_waited_for_can_be_given_up(make: Make) -> None:
    def over() -> None:
        raise KeyboardInterrupt

    log, other = make(), make()
    open_one = other.transaction("slow")
    open_one.append("a", 0, [b"k"], [b"open"])
    open_one.flush()
    log.check = over
    with pytest.raises(KeyboardInterrupt):
        log.read("a", 0, 0, stop=1)


def test_what_a_process_has_committed_it_reads_at_once(make: Make) -> None:
    log = make()
    for number in range(60):  # the cluster answers a commit before its markers are written
        put(log, "a", b"%d" % number, partition=number % 2)
        assert log.read("a", number % 2, 0).values[-1] == b"%d" % number


def test_reads_anywhere_back_and_forth_equal_what_was_written(
    make: Make, settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_HELD", 0)  # so the least is held, a thousand a partition, and fetching pauses
    monkeypatch.setattr(reading, "_PULL", 700)
    rng = random.Random(7)
    written: list[list[tuple[int, bytes]]] = [[] for _ in range(8)]
    ends = [0] * 8
    writer = make()
    for step in range(60):
        transaction, kept = writer.transaction("p"), rng.random() < 0.7
        for partition in rng.sample(range(8), rng.randrange(1, 5)):
            values = [b"%d/%d/%d" % (step, partition, i) for i in range(rng.choice([1, 3, 40, 900]))]
            transaction.append("many", partition, [None] * len(values), values)
            at = ends[partition]
            if kept:
                written[partition] += [(at + i, value) for i, value in enumerate(values)]
            ends[partition] = at + len(values) + 1
        transaction.flush()
        transaction.commit({}) if kept else transaction.abort()
    log = make(inputs=["many"])
    for partition in range(8):
        assert log.end("many", partition) == ends[partition]
    for _ in range(150):
        partition = rng.randrange(8)
        start, limit = rng.randrange(ends[partition] + 1), rng.choice([1, 7, 500, 50_000])
        stop = rng.choice([None, rng.randrange(ends[partition] + 1)])
        bound = ends[partition] if stop is None else stop
        due = [(o, v) for o, v in written[partition] if start <= o < bound]
        slab = log.read("many", partition, start, stop=stop, limit=limit)
        assert list(zip(slab.offsets.tolist(), slab.values, strict=True)) == due[:limit], (partition, start, stop)
        if len(due) > limit:
            assert due[limit - 1][0] < slab.next_offset <= due[limit][0]
        else:
            assert slab.next_offset == max(bound, start)
    for partition in range(8):  # and all, in steps
        at, found = 0, []
        while at < ends[partition]:
            slab = log.read("many", partition, at, stop=ends[partition], limit=rng.choice([1_000, 3_000]))
            found += slab.values
            at = slab.next_offset
        assert found == [value for _, value in written[partition]]


def test_a_partition_that_was_let_go_of_is_read_again(make: Make) -> None:
    log = make()
    put(log, "a", b"1")
    assert log.read("a", 0, 0).values == [b"1"]
    log.forget([("a", 0), ("a", 1)])
    put(log, "a", b"2")
    assert log.read("a", 0, 0).values == [b"1", b"2"]


def test_offset_after_is_the_first_of_a_later_millisecond(make: Make) -> None:
    log = make()
    for value in (b"1", b"2", b"3"):
        put(log, "a", value)
        time.sleep(0.005)
    stamps = log.read("a", 0, 0).appended_at.tolist()
    assert stamps[0] < stamps[1] < stamps[2]
    for number, stamp in enumerate(stamps[:2]):  # records at 0, 2, 4, and a marker between two may be later too
        assert log.offset_after("a", 0, stamp) in (2 * number + 1, 2 * number + 2)
    assert log.offset_after("a", 0, stamps[0] - 1_000) == 0
    assert log.offset_after("a", 0, stamps[2] + 60_000_000) is None


def test_truncation_forgets_the_past(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    log = make()
    put(log, "b", b"1")
    put(log, "b", b"2")
    log.truncate("b", 0, 2)
    assert log.start("b", 0) == 2
    for reader in (log, make()):
        slab = reader.read("b", 0, 0)
        assert (slab.values, slab.next_offset) == ([b"2"], 4)
    log.truncate("b", 0, 99)  # it only saves room: no reason to stop
    assert "was not trimmed" in caplog.text
    assert log.read("b", 0, 2).values == [b"2"]


def test_topics_are_asked_for_by_name(make: Make, settings: KafkaSettings) -> None:
    log = make()
    assert (log.partitions("a"), log.partitions("b")) == (2, 1)
    assert log.uuid("a") != log.uuid("b")
    assert log.uuid("a") == make().uuid("a")
    with pytest.raises(WiringError, match=rf"topic {settings.prefix}none is not on the cluster .* run `flexlog topics"):
        log.partitions("none")
    with pytest.raises(WiringError, match=r"a has 2 partitions, 3 are asked for"):
        log.create("a", 3)


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
