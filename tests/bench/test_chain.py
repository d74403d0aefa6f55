"""What the benchmark of the whole chain works out beside the cluster: calls, waits, the order of what is written."""

import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from bench.kafka import calls
from bench.kafka.__main__ import lines
from bench.kafka.chain import Recorded, Run
from bench.kafka.place import answer
from edges import clock
from streams.contracts import Contracts
from streams.hosts.local import LocalHost
from streams.testing import utc
from streams.topology import CLOCK, Topology
from topics import ActivationRequested

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def ms(*values: float) -> pl.Series:
    return pl.Series("appended_ms", values, pl.Float64)


def test_an_activation_waits_until_the_last_instruction_of_its_tick_can_be_read() -> None:
    called = pl.DataFrame({"activation_id": ["a", "b", "c"]}).with_columns(ms(95, 195, 290))
    minutes = pl.Series("tick_at", [NOON + timedelta(minutes=m) for m in (0, 1, 15)], pl.Datetime("us", "UTC"))
    ticks = pl.DataFrame([minutes, ms(100, 200, 300)])
    told = pl.DataFrame(
        {
            "activation_id": ["a", "a", "a", "b", "c", "c"],
            "appended_ms": [120.0, 121.0, 220.0, 305.0, 310.0, 311.0],
            "readable_ms": [130.0, 145.0, 230.0, 315.0, 330.0, 325.0],
        }
    )
    found = calls.waits(called, ticks, told)
    assert found.rows() == [
        ("a", "full hour", 50.0, 45.0),  # what came after the tick of 200 was asked of others later
        ("b", "minute", None, None),  # not at its tick
        ("c", "quarter-hour", 40.0, 30.0),
    ]
    told_all = calls.summary(found)
    assert (told_all["activations"], told_all["answered"]) == (3, 2)
    assert (told_all["p50_ms"], told_all["max_ms"]) == (50.0, 50.0)
    assert told_all["by_tick"]["quarter-hour"] == {"answered": 1, "p50_ms": 40.0, "p99_ms": 40.0, "max_ms": 40.0}
    assert "minute" not in told_all["by_tick"]


def test_without_any_answer_there_is_no_figure() -> None:
    none = pl.DataFrame({"wait_ms": [None], "tick_ms": [None], "tick": ["hour"]})
    with pytest.raises(RuntimeError, match="none of 1 activations"):
        calls.summary(none)


def test_calls_come_at_their_pace_for_a_quarter_hour_not_sooner_than_the_notice() -> None:
    since = NOON + timedelta(minutes=50)
    edges = (calls.edge(calls.Config(since=since, count=4)), clock.spec(clock.Config(start=NOON)))
    with LocalHost(Topology(Contracts.installed(), (), edges, absent=True), start=NOON) as host:
        host.run(NOON + timedelta(hours=3))
        topic = ActivationRequested.__topic__
        slab = host.log.read(topic.name, 0, 0)
        rows = host.codec.decode(topic, slab.keys, slab.values).frame
        ticked = host.codec.decode_events(host.topology.topic(CLOCK), host.log.read(CLOCK, 0, 0).events)
    expected = [since + timedelta(minutes=5 * number) for number in range(4)]
    assert (slab.appended_at / 1e6).tolist() == [at.timestamp() for at in expected]
    assert set(expected) < {event["tick_at"] for event in ticked}  # a tick follows each at once
    assert rows["period_start"].to_list() == [
        utc(f"2026-03-02 {at}") for at in ("13:15", "13:15", "13:15", "13:30")
    ]  # 12:50, 12:55 and 13:00 with a quarter of an hour's notice; 13:05
    assert rows["activation_id"].n_unique() == 4


class Noted:
    """In place of the writer: what came, and where it was waited for."""

    def __init__(self) -> None:
        self.came: list[Any] = []

    def put(self, topic: str, keys: Iterable[bytes], values: Iterable[bytes], places: Iterable[int]) -> None:
        self.came += [(topic, value, place) for _, value, place in zip(keys, values, places, strict=True)]

    def flush(self) -> None:
        self.came.append("flush")


def run(topic: str, partition: int, *at: int) -> Run:
    values = [f"{topic}{one}".encode() for one in at]
    return Run(topic, partition, np.array(at, np.int64), values, values)


def test_what_was_recorded_is_written_around_its_ticks_up_to_the_last_that_counts() -> None:
    told = Recorded([run("r", 1, 5, 10, 11, 25), run("p", 0, 20)], run("clock", 0, 10, 20, 30), 29.0)
    assert (told.ticks.tolist(), told.count("r"), told.count("p")) == ([10, 20], 3, 1)
    noted: Any = Noted()
    told.write(noted)
    assert noted.came == [
        ("r", b"r5", 1),
        ("r", b"r10", 1),  # within the millisecond of the tick counts as before it
        "flush",
        ("clock", b"clock10", 0),
        "flush",
        ("r", b"r11", 1),
        ("p", b"p20", 0),
        "flush",
        ("clock", b"clock20", 0),
        "flush",
    ]


def test_what_was_not_measured_is_not_told() -> None:
    assert list(lines({"latency": [], "activation": None, "restore": None})) == []
    part = {"answered": 2, "p50_ms": 5.0, "p99_ms": 9.0, "max_ms": 9.0}
    told = [*lines({"activation": {"activations": 3, **part, "by_tick": {"full hour": part}}})]
    assert [row[1] for row in told] == ["p50 5.0, p99 9.0 ms (2 of 3 activations)", "p50 5.0, most 9.0 ms (2)"]
    assert "load_forecast" in told[1][0]


def test_an_answer_larger_than_a_pipe_comes_whole_while_others_are_looked_after() -> None:
    words = "import json, time; print(json.dumps({'seen': ['x'] * 100_000}), flush=True); time.sleep(0.5)"
    looked: list[int] = []
    with subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, text=True) as process:
        found = answer(process, 20, lambda: looked.append(1))
    assert len(found["seen"]) == 100_000
    assert looked
