"""``flexlog demo-kafka``: how runs are compared, who is killed and when, what is said. `make demo-kafka` is the run."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from demo import workers as working
from demo.comparing import Compared, Source, compare
from demo.conftest import World
from demo.deployment import deployed
from demo.on_kafka import MONEY, Outcome, spans
from demo.scenario import Plan
from demo.workers import Kill, Workers, WorkersError, drawn
from streams.cli import main
from streams.errors import StreamsError
from streams.kafka.worker import Status
from streams.testing import utc
from streams.topology import ONE_PARTITION
from topics import IntervalMeasured, SiteRegistered

SITE = {
    "status": "ACTIVE", "kind": "home", "country": "US", "timezone": "UTC", "simulated": True, "origin": "t",
    "origin_id": "1",
}  # fmt: skip
HOURS = {
    "commodity": "ELECTRICITY", "samples": 3, "method": "test", "coverage": 1.0, "quality": "MEASURED",
    "resource_id": "r", "revision": 0,
}  # fmt: skip


@pytest.fixture
def pair() -> Iterator[tuple[World, World]]:
    one, other = World(), World()
    yield one, other
    one.driver.close()
    other.driver.close()


def intervals(world: World, rows: str) -> None:
    world.put("2023-05-01 12:00", IntervalMeasured, f"site_id | period_start | energy_wh\n{rows}", **HOURS)


def compared(pair: tuple[World, World], record: Any) -> Compared:
    names = ("one process", "Kafka")
    one, other = (Source(name, w.driver.host.log, w.driver.host.codec) for name, w in zip(names, pair, strict=True))
    return compare(record.__topic__, one, other)


def test_the_order_of_events_and_how_they_were_committed_do_not_matter(pair: tuple[World, World]) -> None:
    intervals(pair[0], "a | 2023-05-01 10:00 | 5\nb | 2023-05-01 10:00 | 6")
    for row in ("b | 2023-05-01 10:00 | 6", "a | 2023-05-01 10:00 | 5"):
        intervals(pair[1], row)
    assert compared(pair, IntervalMeasured) == Compared("telemetry.interval.v1", (2, 2), 0)


def test_another_value_is_told_with_its_identity_and_both_values(pair: tuple[World, World]) -> None:
    intervals(pair[0], "a | 2023-05-01 10:00 | 5\nb | 2023-05-01 10:00 | 6")
    intervals(pair[1], "a | 2023-05-01 10:00 | 5\nb | 2023-05-01 10:00 | 7")
    found = compared(pair, IntervalMeasured)
    assert (found.rows, found.differing) == ((2, 2), 2)
    assert "resource_id r" in found.first
    assert "energy_wh 6.0 and 7.0 (one process and Kafka)" in found.first


def test_an_event_that_is_lost_and_one_that_is_doubled_are_found(pair: tuple[World, World]) -> None:
    intervals(pair[0], "a | 2023-05-01 10:00 | 5\nb | 2023-05-01 10:00 | 6")
    intervals(pair[1], "a | 2023-05-01 10:00 | 5")
    lost = compared(pair, IntervalMeasured)
    assert (lost.rows, lost.differing) == ((2, 1), 1)
    assert "one process has it and Kafka has not: site_id=b" in lost.first
    intervals(pair[1], "b | 2023-05-01 10:00 | 6")
    assert compared(pair, IntervalMeasured).equal
    intervals(pair[1], "b | 2023-05-01 10:00 | 6")
    doubled = compared(pair, IntervalMeasured)
    assert (doubled.rows, doubled.differing) == ((2, 3), 1)


def test_where_in_the_log_a_cause_lies_is_each_logs_own(pair: tuple[World, World]) -> None:
    for world, offset in zip(pair, (4, 9), strict=True):
        cause = {"cause_topic": "market.activation.v1", "cause_partition": 0, "cause_offset": offset}
        world.put("2023-05-01", SiteRegistered, "site_id | valid_from\na | 2023-05-01", **SITE, **cause)
    assert compared(pair, SiteRegistered) == Compared("registry.site.v1", (1, 1), 0)


NAMES = ("a", "b", "c", "d")
PHASES = spans(Plan(learn=7, days=1))


@pytest.mark.parametrize("seed", range(20))
def test_kills_are_drawn_from_a_seed_one_in_each_phase_and_within_it(seed: int) -> None:
    kills = drawn(6, seed, PHASES, NAMES)
    assert kills == drawn(6, seed, PHASES, NAMES) != drawn(6, seed + 1, PHASES, NAMES)
    assert {kill.phase for kill in kills} == set(PHASES)
    assert len(kills) == 6
    assert all(PHASES[kill.phase][0] <= kill.at < PHASES[kill.phase][1] for kill in kills)
    assert [kill.at for kill in kills] == sorted(kill.at for kill in kills)
    assert {kill.worker for kill in kills} == set(NAMES)  # nobody is spared while others are killed twice


def test_the_phases_follow_each_other() -> None:
    learn, trade, settle = PHASES.values()
    assert learn[1] == trade[0]
    assert trade[1] == settle[0]
    assert trade[1] - trade[0] == timedelta(days=1)
    assert settle[1] - settle[0] > timedelta(days=1, hours=4)  # the latest readings come 28 hours late


class Standing:
    """In place of the supervisor: it tells who was killed."""

    def __init__(self, **_: Any) -> None:
        self.killed: list[str] = []
        self.away: set[str] = set()
        self.stopped = ""

    def kill(self, name: str) -> int | None:
        if name in self.away:
            return None
        self.killed.append(name)
        return 1

    def status(self) -> list[Status]:
        return [
            Status(name, 0, "stopped" if name == self.stopped else "runs", os.getpid(), 2, 0, "a bad row")
            for name in NAMES
        ]


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "Supervisor", Standing)


@pytest.mark.usefixtures("standing")
def test_a_worker_is_killed_once_the_time_has_come_and_it_has_work(tmp_path: Path) -> None:
    at = utc("2023-04-10 12:00")
    workers = Workers(NAMES, {}, tmp_path / "logs", [Kill("learn", at, 0.0, "b")])
    supervisor: Any = workers._supervisor
    busy = {"b"}
    workers.busy = busy.__contains__
    workers.reached(at - timedelta(seconds=1))
    workers.check()
    workers.check()
    assert supervisor.killed == []  # too early
    busy.clear()
    workers.reached(at)
    workers.check()
    workers.check()
    assert supervisor.killed == []  # nothing to do
    busy.add("b")
    workers.check()
    supervisor.away.add("b")
    workers.check()
    assert workers.killed == []  # it is being started again
    supervisor.away.clear()
    workers.check()
    workers.check()
    workers.check()
    assert supervisor.killed == ["b"]
    assert workers.killed == [(Kill("learn", at, 0.0, "b"), True)]


@pytest.mark.usefixtures("standing")
def test_a_worker_that_cannot_go_on_ends_the_run_with_its_words(tmp_path: Path) -> None:
    workers = Workers(NAMES, {}, tmp_path / "logs")
    workers.check()
    supervisor: Any = workers._supervisor
    supervisor.stopped = "c"
    workers._measured = 0.0
    with pytest.raises(WorkersError, match=r"worker c cannot go on: a bad row .*c\.log"):
        workers.check()
    assert workers.total_mb > 0
    assert workers.restarts == len(NAMES)


def test_a_difference_no_settlement_at_all_and_a_kill_that_did_not_come_are_problems() -> None:
    good = [Compared(name, (3, 3), 0) for name in MONEY]
    assert Outcome(compared=good).problems == []
    assert Outcome(compared=[Compared(MONEY[0], (0, 0), 0), good[1]]).problems == [
        f"{MONEY[0]}: there is nothing in it"
    ]
    (told,) = Outcome(compared=[Compared(MONEY[0], (3, 4), 1, "line x"), good[1]]).problems
    assert told == f"{MONEY[0]}: 1 events differ; the first: line x"
    assert Outcome(compared=good, planned=2).problems == ["only 0 of 2 kills came about"]


def test_the_chain_is_not_deployed_without_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEXLOG_DEMO_PLAN", raising=False)
    monkeypatch.delenv("FLEXLOG_DEMO_DATA", raising=False)
    with pytest.raises(StreamsError, match="FLEXLOG_DEMO_PLAN and FLEXLOG_DEMO_DATA; `flexlog demo-kafka` sets them"):
        deployed(ONE_PARTITION)


def test_without_java_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = CliRunner().invoke(
        main,
        ["demo-kafka", "--out", str(tmp_path / "out")],
        env={"PATH": "", "JAVA_HOME": "", "FLEXLOG_CACHE": str(tmp_path / "cache")},
    )
    assert done.exit_code == 1
    assert "Java" in done.output.splitlines()[-1]
    assert "Traceback" not in done.output
