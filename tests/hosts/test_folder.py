"""A folder: one writer, killed at any moment, opened again."""

import os
import random
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streams.errors import StreamsError, WiringError
from streams.hosts.board import micros
from streams.hosts.folder import Folder
from streams.hosts.journal import Journal
from streams.hosts.memory import MemoryLog
from tests.hosts.world import END, START, bytes_of, host, topology

ROOT = Path(__file__).parents[2]
TOPICS = ("plant.counter.v1", "plant.hour.v1", "plant.day.v1", "plant.factor.v1", "clock.tick.v1")


def kill_after(folder: Path, steps: int, seconds: float) -> str:
    """Let a host of its own process go some steps and a moment on, then kill it; what it said after that."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.hosts.world", str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(steps):
            process.stdout.readline()
        time.sleep(seconds)
        process.kill()
        return process.stdout.read()


def test_a_host_killed_in_the_middle_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    with host() as calm:
        calm.run(END)
        expected, sums = bytes_of(calm.log, *TOPICS), calm.edges[0].session("s1")
    draw, before = random.Random(3), 0
    for _ in range(2):
        said = kill_after(tmp_path, draw.randrange(10, 30), draw.uniform(0, 0.02))
        assert "done" not in said, "it came to an end before it was killed: give it more to do"
        with Folder(tmp_path, topology()) as folder:
            commits = folder.count_commits()
        assert commits > before, "it was killed before it did anything"
        before = commits
    with host(tmp_path) as again:
        again.run(END)
        assert bytes_of(again.log, *TOPICS) == expected
        assert again.edges[0].session("s1") == sums
        with Folder(tmp_path, topology()) as folder:
            replayed = folder.replay().run()
        assert (replayed.mismatches, replayed.commits) == ([], again.commits())


def test_after_a_kill_time_goes_on_where_the_last_commit_was(tmp_path: Path) -> None:
    first = host(tmp_path)
    first.run(START + timedelta(minutes=40))
    at = int(first.log.read("clock.tick.v1", 0, 0).appended_at[-1])
    first.log.close()  # and nothing else: the process is gone
    with host(tmp_path) as second:
        assert second.now == START + timedelta(minutes=40)
        assert at >= micros(START + timedelta(minutes=30)), "ticks lie before it, and no later one"
        assert len(second.log.read("clock.tick.v1", 0, 0)) == 3


def test_a_second_host_on_a_folder_is_turned_away_and_a_look_is_not(tmp_path: Path) -> None:
    with host(tmp_path) as first:
        first.run(START + timedelta(hours=1))
        with pytest.raises(StreamsError, match=r"log is being written by a host that is still open; close that one"):
            host(tmp_path)
        with Folder(tmp_path, topology()) as look:
            assert look.count_commits() == first.commits()
        first.run(START + timedelta(hours=2))
    with host(tmp_path) as second:
        assert second.now == START + timedelta(hours=2)


def test_a_host_that_cannot_start_lets_go_of_its_folder(tmp_path: Path) -> None:
    host(tmp_path).close()
    with pytest.raises(WiringError, match="has 2 partitions, 3 were asked for"):
        host(tmp_path, topology(partitions=3))
    host(tmp_path).close()


def filled(folder: Path, count: int = 3) -> MemoryLog:
    log = MemoryLog(folder, clock=lambda: 1)
    log.create("a", 1)
    for number in range(count):
        put(log, b"%d" % number)
    return log


def put(log: MemoryLog, value: bytes) -> None:
    transaction = log.transaction("p")
    transaction.append("a", 0, [b"k"], [value])
    transaction.commit({})


def test_a_damaged_journal_is_an_error_and_nothing_of_it_is_cut_off(tmp_path: Path) -> None:
    filled(tmp_path).close()
    path = tmp_path / "journal.bin"
    whole = path.read_bytes()
    for at in (0, 20, len(whole) // 2):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(StreamsError, match=r"journal\.bin is damaged at byte \d+ of \d+"):
            MemoryLog(tmp_path, clock=lambda: 1)
        assert path.read_bytes() == damaged
    path.write_bytes(whole)
    again = MemoryLog(tmp_path, clock=lambda: 1)
    assert again.read("a", 0, 0).values == [b"0", b"1", b"2"]
    again.close()


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_a_write_that_fails_halfway_costs_nothing_that_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    log = filled(tmp_path)
    real = os.pwrite

    def half(file: int, data: Any, at: int) -> int:
        real(file, data[: len(data) // 2], at)
        raise error

    transaction = log.transaction("p")
    transaction.append("a", 0, [b"k"], [b"lost" * 100])
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", half)
        with pytest.raises(type(error)):
            transaction.commit({})
    transaction.abort()
    put(log, b"later")
    log.close()
    again = MemoryLog(tmp_path, clock=lambda: 1)
    assert again.read("a", 0, 0).values == [b"0", b"1", b"2", b"later"]
    again.close()


def test_a_journal_that_is_looked_at_is_left_as_it_is(tmp_path: Path) -> None:
    filled(tmp_path).close()
    path = tmp_path / "journal.bin"
    torn = path.read_bytes()[:-3]
    path.write_bytes(torn)
    journal = Journal(path, look_only=True)
    assert len(list(journal.records())) == 2
    journal.close()
    assert path.read_bytes() == torn
