"""A replay finds what has changed, and says where."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ConfigDict

from streams import Emit
from streams.cli import main
from streams.errors import ReplayError
from streams.hosts.folder import Folder
from streams.hosts.replay import Mismatch, Outcome
from streams.topology import COMMIT
from tests.conformance.plant import DAYS, HOURS, HourSummed, sum_hours
from tests.hosts.world import START, host, topology


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with host(folder) as made:
        made.run(START + timedelta(hours=2))
    return folder


def changed(change: Callable[[pl.DataFrame], pl.DataFrame], minute: int = 30) -> Any:
    """The processor with the same version and other code: from some minute on it says something else."""

    def on_tick(ctx: Any) -> Iterator[Emit[Any]]:
        for emit in sum_hours(ctx):
            assert isinstance(emit.rows, pl.DataFrame)
            rows = emit.rows.select(list(HourSummed.__topic__.columns))
            yield Emit(HourSummed, change(rows) if ctx.now >= START + timedelta(minutes=minute) else rows)

    return dataclasses.replace(HOURS, on_tick=on_tick)


def replay(run: Path, *processors: Any, **options: Any) -> Outcome:
    with Folder(run, topology(*processors)) as folder:
        return folder.replay().run(**options)


def commit_at(run: Path, task: str, minute: int) -> dict[str, Any]:
    """The commit of a task that decided at a minute."""
    with Folder(run, topology()) as folder:
        events = folder.codec.decode_events(folder.topology.topic(COMMIT), folder.log.read(COMMIT, 0, 0).events)
    at = START + timedelta(minutes=minute)
    return next(e for e in events if e["task"] == task and e["now"] == at)


def test_unchanged_code_gives_the_same_bytes(run: Path) -> None:
    outcome = replay(run)
    with Folder(run, topology()) as folder:
        assert outcome.commits == folder.count_commits() > 20
    assert (outcome.mismatches, outcome.skipped) == ([], {})


def test_a_changed_field_is_named_by_processor_partition_commit_and_field(run: Path) -> None:
    outcome = replay(run, changed(lambda rows: rows.with_columns(pl.col("energy_wh") + 1)), DAYS)
    found = {m.partition: m for m in outcome.mismatches if isinstance(m, Mismatch)}
    assert set(found) == {0, 1}, "each task once: what follows on a wrong state says nothing"
    for partition, mismatch in found.items():
        recorded = commit_at(run, f"hours.v1.{partition}", 30)
        assert (mismatch.processor, mismatch.commit_no) == ("hours", recorded["commit_no"])
        assert mismatch.what == f"plant.hour.v1[{partition}] row 0 field energy_wh"
        assert int(mismatch.replayed) == int(mismatch.recorded) + 1
        told = f"hours partition {partition} commit {recorded['commit_no']}: {mismatch.what}: recorded "
        assert str(mismatch) == f"{told}{mismatch.recorded}, replayed {mismatch.replayed}"


def test_it_may_stop_at_the_first_difference(run: Path) -> None:
    wrong = changed(lambda rows: rows.with_columns(factor_ppm=pl.lit(0)))
    (mismatch,) = replay(run, wrong, DAYS, stop_at_first=True).mismatches
    assert isinstance(mismatch, Mismatch)
    assert mismatch.what.endswith("row 0 field factor_ppm")
    assert (mismatch.recorded, mismatch.replayed) == ("1000000", "0")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda rows: rows.head(0), "number of records"),
        (lambda rows: pl.concat([rows, rows]), "number of records|row 1"),
        (lambda rows: rows.with_columns(site_id=pl.lit("other")), "row 0 key|number of records"),
        (lambda rows: rows.select("nowhere"), "it stops"),
    ],
)
def test_whatever_else_differs_is_named(run: Path, change: Any, what: str) -> None:
    (mismatch, *_) = replay(run, changed(change), DAYS).mismatches
    assert isinstance(mismatch, Mismatch)
    assert any(part in mismatch.what for part in what.split("|")), mismatch.what
    if what == "it stops":
        assert mismatch.replayed.startswith("ColumnNotFoundError: ")


def test_state_that_goes_wrong_is_found_where_it_first_shows(run: Path) -> None:
    def forgetful(ctx: Any, batch: Any) -> None:
        if ctx.now < START + timedelta(minutes=45):
            HOURS.on_batch(ctx, batch)  # type: ignore[misc]

    (mismatch, *_) = replay(run, dataclasses.replace(HOURS, on_batch=forgetful), DAYS).mismatches
    assert isinstance(mismatch, Mismatch)
    # the batch of the tick at 1:00 is the first for which 0:45 is the newest tick
    assert mismatch.commit_no <= commit_at(run, f"hours.v1.{mismatch.partition}", 60)["commit_no"]
    assert mismatch.commit_no > commit_at(run, f"hours.v1.{mismatch.partition}", 45)["commit_no"]


def test_other_versions_are_skipped_and_counted_not_called_equal(run: Path) -> None:
    outcome = replay(run, dataclasses.replace(HOURS, version=2), DAYS)
    assert set(outcome.skipped) == {"hours.v1.0", "hours.v1.1"}
    assert outcome.commits + sum(outcome.skipped.values()) == replay(run).commits


def test_a_processor_that_is_not_there_is_an_error_not_an_empty_success(run: Path) -> None:
    with pytest.raises(ReplayError, match="there is no processor 'ours'; there are days, hours"):
        replay(run, only=["ours"])
    assert 0 < replay(run, only=["hours"]).commits < replay(run).commits


def test_flexlog_replay_says_the_first_difference_and_ends_with_1(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flexlog(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["replay", "--data", str(run), *arguments])

    monkeypatch.setattr("streams.hosts.folder.discover", topology)
    same = flexlog()
    assert same.exit_code == 0, same.output
    assert "the same bytes" in same.output
    wrong = changed(lambda rows: rows.with_columns(pl.col("energy_wh") + 1))
    monkeypatch.setattr("streams.hosts.folder.discover", lambda: topology(wrong, DAYS))
    other = flexlog()
    assert other.exit_code == 1
    assert "row 0 field energy_wh: recorded " in other.output
    assert other.stdout.count("\n") == 1
    both = flexlog("--all-differences", "--json")
    assert both.exit_code == 1
    assert len(json.loads(both.stdout)["mismatches"]) == 2


class Factor(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    factor: int = 1


def times(factor: int) -> Any:
    def on_tick(ctx: Any) -> Iterator[Emit[Any]]:
        for emit in sum_hours(ctx):
            assert isinstance(emit.rows, pl.DataFrame)
            yield Emit(HourSummed, emit.rows.with_columns(pl.col("energy_wh") * ctx.config.factor))

    return dataclasses.replace(HOURS, on_tick=on_tick, config=Factor(factor=factor))


def test_the_configuration_that_ran_is_taken_from_the_log(tmp_path: Path) -> None:
    """Three times with one setting, then on with another: the installed one is neither."""
    for factor, hours in ((3, 1), (4, 2)):
        with host(tmp_path, topology(times(factor), DAYS)) as made:
            made.run(START + timedelta(hours=hours))
    outcome = replay(tmp_path, times(1), DAYS)
    assert outcome.mismatches == []
    assert outcome.commits > 20
    assert outcome.skipped == {}


def test_a_configuration_that_the_installed_version_does_not_have_is_an_error(tmp_path: Path) -> None:
    class Other(BaseModel):
        model_config = ConfigDict(frozen=True, extra="forbid")

    with host(tmp_path, topology(times(3), DAYS)) as made:
        made.run(START + timedelta(hours=1))
    with pytest.raises(ReplayError, match="processor hours: the configuration of a commit does not fit"):
        replay(tmp_path, dataclasses.replace(times(3), config=Other()), DAYS)


def test_a_run_is_followed_while_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The follower begins before the first commit is there and ends when the host does."""
    monkeypatch.setattr("streams.hosts.folder.discover", topology)
    command = [sys.executable, "-m", "tests.hosts.world", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            running.stdout.readline()  # it has begun
            found = CliRunner().invoke(main, ["replay", "--data", str(tmp_path), "--follow", "--json"])
            assert running.stdout.read().endswith("done\n")
        finally:
            running.kill()
    assert found.exit_code == 0, found.output
    with Folder(tmp_path, topology()) as folder:
        assert json.loads(found.stdout.splitlines()[-1])["commits"] == folder.count_commits() > 100
