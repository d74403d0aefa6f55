"""The embedded log behaves as a broker does where that matters."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import FencedError, StreamsError, WiringError
from streams.hosts.log import Slab
from streams.hosts.memory import MemoryLog


def make(folder: Path | None = None, **options: Any) -> MemoryLog:
    log = MemoryLog(folder, clock=lambda: 1_000, **options)
    log.create("a", 2)
    log.create("b", 1)
    return log


def put(log: MemoryLog, topic: str, *values: bytes, partition: int = 0, producer: str = "p") -> None:
    transaction = log.transaction(producer)
    transaction.append(topic, partition, [b"k"] * len(values), values)
    transaction.commit({})


def test_a_transaction_takes_an_offset_for_its_control_marker() -> None:
    log = make()
    put(log, "a", b"1", b"2")
    put(log, "a", b"3")
    slab = log.read("a", 0, 0)
    assert slab.values == [b"1", b"2", b"3"]
    assert slab.offsets.tolist() == [0, 1, 3]
    assert log.end("a", 0) == slab.next_offset == 5


def test_aborted_records_take_offsets_and_are_never_read() -> None:
    log = make()
    transaction = log.transaction("p")
    transaction.append("a", 0, [None], [b"lost"])
    transaction.abort()
    put(log, "a", b"kept")
    slab = log.read("a", 0, 0)
    assert slab.values == [b"kept"]
    assert slab.offsets.tolist() == [2]


def test_readers_stop_at_the_last_stable_offset() -> None:
    log = make()
    open_one = log.transaction("slow")
    open_one.append("a", 0, [b"k"], [b"open"])
    put(log, "a", b"later")
    assert log.read("a", 0, 0).values == []
    assert log.end("a", 0) == 0
    assert log.end("a", 0, committed=False) == 3
    open_one.commit({})
    assert log.read("a", 0, 0).values == [b"open", b"later"]


def test_a_successor_fences_its_namesake() -> None:
    log = make()
    zombie = log.transaction("p")
    zombie.append("a", 0, [b"k"], [b"zombie"])
    put(log, "a", b"successor")
    with pytest.raises(FencedError, match="fenced"):
        zombie.commit({})
    assert log.read("a", 0, 0).values == [b"successor"]


def test_a_commit_with_an_old_fence_is_refused_and_leaves_nothing() -> None:
    log = make()
    old = log.join("group")
    log.join("group")
    transaction = log.transaction("p", old)
    transaction.append("a", 0, [b"k"], [b"stale"])
    with pytest.raises(FencedError, match="superseded"):
        transaction.commit({("a", 0): 7})
    assert log.read("a", 0, 0).values == []
    assert log.committed("group", ("a", 0)) is None


def test_append_times_ascend_even_when_the_clock_stands_or_goes_back() -> None:
    times = iter([50, 50, 10, 99])
    log = MemoryLog(clock=lambda: next(times))
    log.create("a", 1)
    for value in (b"1", b"2", b"3", b"4"):
        put(log, "a", value)
    assert log.read("a", 0, 0).appended_at.tolist() == [50, 51, 52, 99]
    assert log.ends_at("a", 51) == [4]  # offsets 0, 2, 4, 6
    assert log.ends_at("a", 99) == [log.end("a", 0)]


@pytest.mark.parametrize("point", ["begin", "append", "flush", "before_commit"])
def test_a_crash_before_the_commit_leaves_nothing(point: str) -> None:
    log = make()

    def crash(at: str) -> None:
        if at == point:
            raise KeyboardInterrupt

    log.crash = crash
    with pytest.raises(KeyboardInterrupt):
        put_flushed(log)
    log.crash = None
    log.abort_open()
    assert log.read("a", 0, 0).values == []
    assert log.end("a", 0) == log.end("a", 0, committed=False)


def put_flushed(log: MemoryLog) -> None:
    transaction = log.transaction("p")
    transaction.append("a", 0, [b"k"], [b"v"])
    transaction.flush()
    transaction.commit({})


def test_a_crash_after_the_commit_loses_nothing() -> None:
    log = make()

    def crash(at: str) -> None:
        if at == "after_commit":
            raise KeyboardInterrupt

    log.crash = crash
    with pytest.raises(KeyboardInterrupt):
        put_flushed(log)
    assert log.read("a", 0, 0).values == [b"v"]


def test_a_partition_count_never_changes() -> None:
    log = make()
    log.create("a", 2)
    with pytest.raises(WiringError, match="a has 2 partitions, 3 were asked for"):
        log.create("a", 3)


def test_truncation_forgets_the_past_and_refuses_the_unstable() -> None:
    log = make()
    put(log, "b", b"1")
    put(log, "b", b"2")
    log.truncate("b", 0, 2)
    assert log.start("b", 0) == 2
    assert log.read("b", 0, 0).values == [b"2"]
    with pytest.raises(StreamsError, match="beyond the stable offset"):
        log.truncate("b", 0, 99)


def seen(log: MemoryLog) -> list[tuple[list[int], list[int], list[bytes | None], list[bytes | None], int]]:
    slabs: list[Slab] = [log.read("a", 0, 0), log.read("a", 1, 0), log.read("b", 0, 0)]
    return [(s.offsets.tolist(), s.appended_at.tolist(), s.keys, s.values, s.next_offset) for s in slabs]


steps = st.lists(
    st.tuples(
        st.sampled_from(["x", "y"]),
        st.sampled_from(["append a0", "append a1", "append b0", "commit", "abort"]),
        st.lists(st.one_of(st.none(), st.binary(max_size=3)), min_size=1, max_size=3),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_a_folder_opened_again_is_the_same_log(steps: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = make(folder, cache_bytes=1)
    open_ones: dict[str, Any] = {}
    for producer, action, values in steps:
        if action.startswith("append"):
            transaction = open_ones.get(producer)
            if transaction is None:
                transaction = open_ones[producer] = log.transaction(producer)
            transaction.append(action[-2], int(action[-1]), values, values, origin=producer)
        elif producer in open_ones:
            transaction = open_ones.pop(producer)
            transaction.commit({("a", 0): 1}) if action == "commit" else transaction.abort()
    log.abort_open()
    before = seen(log)
    log.close()
    again = make(folder)
    assert seen(again) == before
    put(again, "a", b"more")
    assert again.read("a", 0, 0).values[-1] == b"more"
    again.close()


def test_a_torn_tail_of_the_journal_is_cut_off(tmp_path: Path) -> None:
    log = make(tmp_path)
    put(log, "a", b"whole")
    put(log, "a", b"torn")
    log.close()
    journal = tmp_path / "journal.bin"
    raw = journal.read_bytes()
    for cut in (1, 7, 20):
        journal.write_bytes(raw[:-cut])
        again = make(tmp_path)
        assert again.read("a", 0, 0).values == [b"whole"]
        put(again, "a", b"next")
        assert again.read("a", 0, 0).values == [b"whole", b"next"]
        again.close()
