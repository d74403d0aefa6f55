"""A small demo, from the command line to the last statement, and what can be done with its folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def flexlog(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=os.environ | {"COLUMNS": "200"},
    )
    assert done.returncode == code, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, homes_data: Path) -> str:
    """Six homes, eight days to learn from, one traded day."""
    del homes_data
    out = str(tmp_path_factory.mktemp("demo") / "out")
    printed = flexlog("demo", "--homes", "6", "--learn", "8", "--days", "1", "--seed", "3", "--out", out)
    assert "imulated" in printed
    return out


@pytest.fixture(scope="module")
def summary(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "summary.json").read_text())
    return found


def test_the_summary_has_what_others_rely_on(summary: dict[str, Any]) -> None:
    wanted = [
        *("homes", "readings", "intervals", "rejected", "bids", "activations", "instructions", "settlement_lines"),
        *("correction_lines", "currency", "accounts", "lines_sum_micros", "forecast_mae_w", "naive_mae_w", "commits"),
        *("replay_commits", "replay_mismatches", "seconds"),
    ]
    assert [name for name in wanted if name not in summary] == []
    assert summary["homes"] == 6
    # four resources a home, twelve readings an hour, eleven days and six hours with the time to settle; some are lost
    assert 0.95 < summary["readings"] / (6 * 4 * 12 * 24 * 11.25) < 1.01
    assert summary["rejected"] == 0


def test_all_lines_together_are_zero_and_statements_are_their_lines(summary: dict[str, Any]) -> None:
    assert summary["settlement_lines"] > 0
    assert summary["lines_sum_micros"] == 0
    assert len(summary["accounts"]) >= 3
    for name, account in summary["accounts"].items():
        assert account["lines_micros"] == account["statements_micros"], name
    assert sum(account["lines_micros"] for account in summary["accounts"].values()) == 0


def test_the_replay_gave_the_same_bytes_for_every_commit(summary: dict[str, Any]) -> None:
    assert summary["commits"] == summary["replay_commits"] > 1_000
    assert summary["replay_mismatches"] == 0


def test_the_forecast_beats_the_week_before(summary: dict[str, Any]) -> None:
    assert 0 < summary["forecast_mae_w"] <= 0.9 * summary["naive_mae_w"]


def test_the_folder_answers_sql(folder: str) -> None:
    sql = "SELECT account_id, sum(amount_micros) AS micros FROM settlement_line_v1 GROUP BY account_id ORDER BY 1"
    rows = json.loads(flexlog("query", sql, "--data", folder, "--format", "json"))
    assert sum(row["micros"] for row in rows) == 0
    assert "aggregator" in [row["account_id"] for row in rows]


def test_a_wrong_query_is_one_clear_line(folder: str) -> None:
    printed = flexlog("query", "SELECT nothing FROM nowhere", "--data", folder, code=1)
    assert len(printed.strip().splitlines()) <= 2
    assert "nowhere" in printed


def test_the_folder_shows_its_events_as_json(folder: str) -> None:
    (line,) = flexlog("tail", "settlement.statement.v1", "--data", folder, "-n", "1").strip().splitlines()
    event = json.loads(line)
    assert "statement_id" in str(event)


def test_the_folder_can_be_replayed_again(folder: str) -> None:
    printed = flexlog("replay", "--data", folder, "--processor", "settlement", "--processor", "statement")
    assert "the same bytes" in printed


def test_a_folder_without_a_run_is_one_clear_line(tmp_path: Path) -> None:
    for words in (("replay",), ("tail", "clock.tick.v1"), ("query", "SELECT 1")):
        printed = flexlog(*words, "--data", str(tmp_path), code=1)
        assert str(tmp_path) in printed
        assert len(printed.strip().splitlines()) <= 2


def test_the_report_is_one_file_without_any_network(folder: str) -> None:
    page = (Path(folder) / "report.html").read_text()
    assert page.count("<svg") >= 5
    for outside in ('src="http', "src='http", 'href="http', "url(http", "@import", "<link"):
        assert outside not in page
    assert "imulated" in page


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, homes_data: Path) -> None:
    del homes_data
    (tmp_path / "mine.txt").write_text("precious")
    printed = flexlog("demo", "--homes", "1", "--learn", "8", "--days", "1", "--out", str(tmp_path), code=1)
    assert "not empty" in printed
    assert (tmp_path / "mine.txt").read_text() == "precious"
