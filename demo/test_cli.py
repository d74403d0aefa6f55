"""``flexlog demo``: what it refuses, what it replaces, what it says and how it ends. The run itself is in tests/e2e."""

import io
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from demo import homes as measured
from demo import play as playing
from demo.cli import demo
from demo.conftest import TRADED, World
from demo.facts import Query
from demo.play import MARK, DemoError, prepare, rejected
from demo.screen import Phases, show
from demo.summary import Summary, finished, summarise
from streams.cli import main
from streams.hosts.replay import Outcome
from topics import ReadingTaken


@pytest.fixture
def summary(told: Query) -> Summary:
    return finished(
        summarise(told, TRADED), commits=9, outcome=Outcome(commits=9), phases={}, seconds=2.0, memory_mb=1.0
    )


def test_a_folder_with_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("precious")
    (tmp_path / "log").mkdir()  # an embedded host's folder has one too
    with pytest.raises(DemoError, match=r"holds no demo .* give another --out"):
        prepare(tmp_path)
    assert (tmp_path / "thesis.doc").read_text() == "precious"


def test_a_former_demo_is_replaced_and_what_is_not_of_it_stays(tmp_path: Path) -> None:
    for name in (MARK, "summary.json", "report.html", "notes.txt"):
        (tmp_path / name).write_text("old")
    for name in ("log", "history", "pictures"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text("old")
    prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_new_and_empty_folders_are_taken(tmp_path: Path) -> None:
    prepare(tmp_path)
    prepare(tmp_path / "new" / "deep")
    assert (tmp_path / "new" / "deep").is_dir()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--homes", "0"], "--homes"),
        (["--days", "0"], "--days"),
        (["--learn", "6"], "--learn"),
        (["--seed", "-1"], "--seed"),
        (["--out", "file"], "file is a file; give the demo a folder"),
    ],
)
def test_what_a_person_got_wrong_is_one_clear_line(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    result = CliRunner().invoke(main, ["demo", *arguments])
    assert result.exit_code != 0
    assert told in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("problems", [(), ("all lines together are 7 millionths, not 0",)])
def test_a_run_that_does_not_add_up_ends_with_1(
    problems: tuple[str, ...], summary: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def played(plan: Any, out: Path, data: Path, phases: Phases, **rest: Any) -> Summary:
        asked.append((plan.homes, plan.days, plan.learn, plan.seed, out, data, rest["replay"]))
        return summary.model_copy(update={"problems": problems})

    monkeypatch.setattr(measured, "folder", lambda say: Path("data"))
    monkeypatch.setattr(playing, "play", played)
    result = CliRunner().invoke(demo, ["--homes", "3", "--days", "2", "--out", str(tmp_path / "out"), "--no-replay"])
    assert result.exit_code == (1 if problems else 0), result.output
    assert asked == [(3, 2, 28, 1, tmp_path / "out", Path("data"), False)]
    assert all(problem in result.output for problem in problems)


def test_the_screen_tells_what_happened_and_where_to_look(summary: Summary) -> None:
    written = io.StringIO()
    show(Console(file=written, width=100), summary, "out/here")
    screen = written.getvalue()
    for words in (
        "3 readings (0 rejected), 10 intervals (1 restated)",
        "200 W mean absolute error",
        "33% better",
        "1 of 3 bids won, 6.0 of 12.0 kW on average (50%); simulated",
        "2.9 of 5.0 kWh asked (58%) in 1 activation",
        "homes 0.40 USD",
        "2 of 14 lines, 2 of 8 statements",
        "statements equal lines",
        "9 of 9 commits run again: the same bytes",
        "out/here/report.html",
        "flexlog replay --data out/here",
    ):
        assert words in screen, words
    assert len(screen.splitlines()) <= 30
    assert max(map(len, screen.splitlines())) <= 100


def test_phases_are_lines_where_there_is_no_terminal() -> None:
    written = io.StringIO()
    with Phases(Console(file=written, width=100)) as phases:
        with phases.phase("learn", "starting") as step:
            step(0.5, "Mon 1 May")
        with phases.phase("learn") as step:
            step(0.9, "Tue 2 May")
    assert [line.split("  ")[0] for line in written.getvalue().splitlines()] == ["learn", "learn"]
    assert "Tue 2 May" in written.getvalue()
    assert list(phases.seconds) == ["learn"]


def test_rejected_records_are_counted_in_their_topics(bare: World) -> None:
    host = bare.driver.host
    assert rejected(host) == 0
    name = host.topology.contracts.rejected(ReadingTaken.__topic__).name
    transaction = host.log.transaction("test")
    transaction.append(name, 0, [b"a", b"b"], [b"1", b"2"])
    transaction.commit({})
    assert rejected(host) == 2
