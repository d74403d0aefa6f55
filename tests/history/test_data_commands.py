"""``flexlog query`` and ``flexlog tail`` on the folder of a run."""

import csv
import io
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.cli.data import plain
from streams.contracts.codec import Codec
from streams.contracts.examples import read_examples
from streams.history import History, Sink
from streams.hosts.registry import LogRegistry
from tests.history.world import INTERVAL, TABLE, World, interval
from topics import CONTRACTS

ROOT = Path(__file__).parents[2]
STEPS, SITES = 30, 6
MODEL = CONTRACTS.topic("forecast.model.v1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder: log and history."""
    folder = tmp_path_factory.mktemp("run")
    world = World(folder / "log")
    world.codec = Codec(LogRegistry(world.log))
    world.create(INTERVAL)
    world.create(MODEL, 1)
    for step in range(STEPS):
        world.append(INTERVAL, [interval(site, step, energy=step + site / 10) for site in range(SITES)])
    world.put(INTERVAL, {0: [(b"\xff", b"rubbish")]})
    world.append(MODEL, read_examples(MODEL))
    with History.embedded(folder / "history", CONTRACTS) as history:
        for topic in (INTERVAL, MODEL):
            Sink(world.log, history, world.codec).advance(topic, world.ends(topic))
    world.log.close()
    return folder


def flexlog(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


# --- query ---------------------------------------------------------------------------------------------------------


def test_a_query_is_shown_as_a_table(run: Path) -> None:
    result = flexlog(
        "query", f"SELECT site_id, count() AS n FROM {TABLE} GROUP BY site_id ORDER BY site_id", "--data", run
    )
    assert result.exit_code == 0
    shown = [line.split() for line in result.output.splitlines()]
    assert ["site_id", "n"] in shown
    assert ["site-003", "30"] in shown
    assert result.output.rstrip().endswith(f"{SITES} rows")


def test_a_long_table_says_what_it_does_not_show(run: Path) -> None:
    result = flexlog("query", "SELECT number FROM numbers(1000)", "--data", run)
    assert "1000 rows, 800 of them not shown; --format csv gives all" in result.output


def test_csv_and_json_have_iso_times_base64_and_valid_numbers(run: Path) -> None:
    sql = (
        "SELECT toDateTime64('2026-01-31 23:45:00.000001', 6, 'UTC') AS at, toDate32('2026-01-31') AS day, "
        "unhex('FF00') AS raw, nan AS none, inf AS much, NULL AS nothing, [1, 2] AS list, 'a,\"b' AS text, true AS yes"
    )
    as_json = flexlog("query", sql, "--data", run, "--format", "json")
    assert json.loads(as_json.output) == [
        {
            "at": "2026-01-31T23:45:00.000001Z",
            "day": "2026-01-31",
            "raw": "/wA=",
            "none": "NaN",
            "much": "Infinity",
            "nothing": None,
            "list": [1, 2],
            "text": 'a,"b',
            "yes": True,
        }
    ]
    as_csv = flexlog("query", sql, "--data", run, "--format", "csv")
    assert list(csv.reader(io.StringIO(as_csv.output))) == [
        ["at", "day", "raw", "none", "much", "nothing", "list", "text", "yes"],
        ["2026-01-31T23:45:00.000001Z", "2026-01-31", "/wA=", "NaN", "Infinity", "", "[1, 2]", 'a,"b', "true"],
    ]


def test_no_rows_are_no_error(run: Path) -> None:
    assert (
        json.loads(flexlog("query", f"SELECT * FROM {TABLE} WHERE 0", "--data", run, "--format", "json").output) == []
    )
    assert "0 rows" in flexlog("query", f"SELECT * FROM {TABLE} WHERE 0", "--data", run).output


def test_a_wrong_query_is_one_line(run: Path) -> None:
    result = flexlog("query", "SELECT nothing", "--data", run)
    assert result.exit_code == 1
    assert result.output.startswith("Error: history: query: Unknown expression")
    assert result.output.count("\n") == 1


def test_a_folder_without_a_history_is_one_line_and_is_not_made(tmp_path: Path) -> None:
    result = flexlog("query", "SELECT 1", "--data", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "holds no history; give the folder that a run wrote" in result.output
    assert not (tmp_path / "nowhere").exists()


def test_a_history_that_somebody_holds_is_one_line(run: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom streams.history import History\nfrom topics import CONTRACTS\n"
        f"with History.embedded(Path({str(run / 'history')!r}), CONTRACTS):\n"
        "    print('held', flush=True)\n    sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        result = flexlog("query", "SELECT 1", "--data", run)
        assert result.exit_code == 1
        assert f"another process (pid {holder.pid}) holds this folder open" in result.output
        assert result.output.count("\n") == 1
        holder.stdin.close()
        holder.wait(30)


def test_fill_brings_what_a_killed_run_had_not_inserted(tmp_path: Path) -> None:
    world = World(tmp_path / "log")
    world.codec = Codec(LogRegistry(world.log))
    world.create(INTERVAL)
    world.append(INTERVAL, [interval(site, 0) for site in range(SITES)])
    world.log.close()
    assert "--fill makes one of its log" in flexlog("query", "SELECT 1", "--data", tmp_path).output
    count = f"SELECT count() AS n FROM {TABLE}"
    for _ in range(2):
        result = flexlog("query", count, "--data", tmp_path, "--format", "json", "--fill")
        assert json.loads(result.output) == [{"n": SITES}]
    assert json.loads(flexlog("query", count, "--data", tmp_path, "--format", "json").output) == [{"n": SITES}]


# --- tail ----------------------------------------------------------------------------------------------------------


def test_tail_shows_the_last_events_oldest_first_with_their_place(run: Path) -> None:
    found = lines(flexlog("tail", INTERVAL.name, "--data", run, "-n", "13"))
    assert len(found) == 13
    moments = [datetime.fromisoformat(one["appended_at"]) for one in found]
    assert moments == sorted(moments)
    *events, bad = found
    assert sorted(one["event"]["energy_wh"] for one in events) == pytest.approx(
        sorted([step + site / 10 for step in (STEPS - 2, STEPS - 1) for site in range(SITES)])
    )
    last = events[-1]
    assert last["event"]["period_start"].endswith("Z")
    assert last["key"] == last["event"]["site_id"]
    assert bad == {
        "partition": 0,
        "offset": bad["offset"],
        "appended_at": bad["appended_at"],
        "key_base64": "/w==",
        "error": "no Confluent frame",
        "value_base64": "cnViYmlzaA==",
    }


def test_tail_gives_ten_unless_told_and_the_first_ones_from_the_beginning(run: Path) -> None:
    assert len(lines(flexlog("tail", INTERVAL.name, "--data", run))) == 10
    first = lines(flexlog("tail", INTERVAL.name, "--data", run, "--from-beginning", "-n", "5"))
    assert {one["event"]["period_start"] for one in first} == {"2026-01-01T00:00:00Z"}
    assert len(lines(flexlog("tail", INTERVAL.name, "--data", run, "--from-beginning"))) == STEPS * SITES + 1


def test_tail_keeps_to_a_key_and_a_partition(run: Path) -> None:
    found = lines(flexlog("tail", INTERVAL.name, "--data", run, "--key", "site-003", "-n", "25"))
    assert [one["event"]["energy_wh"] for one in found] == pytest.approx([step + 0.3 for step in range(5, 30)])
    place = found[0]["partition"]
    there = lines(flexlog("tail", INTERVAL.name, "--data", run, "--partition", place, "-n", "1000"))
    assert {one["partition"] for one in there} == {place}
    assert [one["offset"] for one in there] == sorted(one["offset"] for one in there)
    elsewhere = (place + 1) % 4
    assert not lines(flexlog("tail", INTERVAL.name, "--data", run, "--key", "site-003", "--partition", elsewhere))


def test_tail_shows_bytes_in_base64(run: Path) -> None:
    found = lines(flexlog("tail", MODEL.name, "--data", run))
    example = read_examples(MODEL)[0]
    assert found[0]["event"]["payload"] == plain(example["payload"])
    assert found[0]["event"]["model_id"] == example["model_id"]


def test_tail_of_a_topic_that_is_not_there_names_the_nearest(run: Path) -> None:
    result = flexlog("tail", "telemetry.intervals.v1", "--data", run)
    assert result.exit_code == 1
    assert "nearest: telemetry.interval.v1" in result.output


def test_tail_of_no_folder_is_one_line_and_makes_none(tmp_path: Path) -> None:
    result = flexlog("tail", INTERVAL.name, "--data", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "holds no log; give the folder that a run wrote" in result.output
    assert not (tmp_path / "nowhere").exists()


def test_tail_changes_nothing_in_a_log_that_is_being_written(tmp_path: Path) -> None:
    world = World(tmp_path / "log")
    world.codec = Codec(LogRegistry(world.log))
    world.create(INTERVAL)
    world.append(INTERVAL, [interval(site, 0) for site in range(SITES)])
    journal = tmp_path / "log" / "journal.bin"
    with journal.open("ab") as half:
        half.write(journal.read_bytes()[:100])  # as a writer leaves it for a moment
    before = journal.read_bytes()
    assert len(lines(flexlog("tail", INTERVAL.name, "--data", tmp_path))) == SITES
    assert journal.read_bytes() == before
    world.log.close()
