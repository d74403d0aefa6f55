"""The log of a cluster is read as the seam promises, as the one in memory is (tests/hosts/test_memory.py)."""

import random
import threading
import time

import pytest

from streams.errors import WiringError
from streams.kafka import reading
from streams.kafka.patience import ClusterRefusedError
from streams.kafka.settings import KafkaSettings
from tests.kafka.onlog import Make, drop, put


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
        if rng.random() < 0.3:  # as while a commit waits
            log.meanwhile(lambda: time.sleep(0.005))
        slab = log.read("many", partition, start, stop=stop, limit=limit)
        assert list(zip(slab.offsets.tolist(), slab.values, strict=True)) == due[:limit], (partition, start, stop)
        if len(due) >= limit:  # then it may end before or after a marker
            last = due[limit][0] if len(due) > limit else max(bound, start)
            assert due[limit - 1][0] < slab.next_offset <= last
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


def test_a_topic_ends_at_a_moment_before_the_first_record_of_a_later_millisecond(make: Make) -> None:
    log = make()
    for value in (b"1", b"2", b"3"):
        put(log, "a", value)
        time.sleep(0.005)
    stamps = log.read("a", 0, 0).appended_at.tolist()
    assert stamps[0] < stamps[1] < stamps[2]
    for number, stamp in enumerate(stamps[:2]):  # records at 0, 2, 4, and a marker between two may be later too
        assert log.ends_at("a", stamp)[0] in (2 * number + 1, 2 * number + 2)
    assert log.ends_at("a", stamps[0] - 1_000) == [0, 0]
    assert log.ends_at("a", stamps[2] + 60_000_000) == [log.end("a", 0, committed=False), 0]


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


def test_inputs_are_taken_in_while_something_waits_for_the_cluster(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    put(make(), "a", *[b"%d" % number for number in range(5_000)])
    log = make(inputs=["a"], prompt=False)
    log.expect({("a", 0): 0})
    bulk = log._bulk
    assert bulk is not None

    def until_taken() -> str:
        end = time.monotonic() + 30
        while bulk.reached(("a", 0)) < 5_000 and time.monotonic() < end:
            time.sleep(0.005)
        return "answered"

    assert log.meanwhile(until_taken) == "answered"
    assert bulk.reached(("a", 0)) >= 5_000
    with pytest.raises(ZeroDivisionError):
        log.meanwhile(lambda: 1 // 0)

    def refuse(*_: object, **__: object) -> bool:
        raise ClusterRefusedError("a[0] cannot be read")

    monkeypatch.setattr(bulk, "_pull", refuse)
    assert log.meanwhile(lambda: "a commit is not broken off") == "a commit is not broken off"
    with pytest.raises(ClusterRefusedError, match="cannot be read"):
        log.read("a", 0, 0)
