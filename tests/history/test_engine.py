"""One ClickHouse engine a process: shared, given up, and clearly refused where it cannot be had."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from streams.errors import HistoryError
from streams.history import History, Sink, engine
from tests.history.world import INTERVAL, TABLE, World, interval
from topics import CONTRACTS

ROOT = Path(__file__).parents[2]


def filled(path: Path | None, sites: int) -> History:
    world = World()
    world.create(INTERVAL)
    world.append(INTERVAL, [interval(site, 0) for site in range(sites)])
    history = History.embedded(path, CONTRACTS)
    Sink(world.log, history, world.codec).advance(INTERVAL, world.ends(INTERVAL))
    return history


def count(history: History) -> int:
    return int(history.query(f"SELECT count() AS n FROM {TABLE}").item())


def test_temporary_histories_do_not_see_each_other_and_leave_nothing_behind() -> None:
    first, second = filled(None, 3), filled(None, 5)
    assert (count(first), count(second)) == (3, 5)
    assert engine._running is not None
    home = engine._running.path
    first.close()
    assert count(second) == 5
    second.close()
    assert not list((home / "store").glob("*/*/*")), "their tables are gone from the disk"


def test_a_temporary_history_that_never_inserts_starts_no_engine() -> None:
    code = (
        "import sys\n"
        "from tests.history.test_engine import filled\n"
        "from tests.history.world import INTERVAL, read_all\n"
        "with filled(None, 3) as history:\n"
        "    assert read_all(history, INTERVAL, dict.fromkeys(range(4), 100)).height == 3\n"
        "assert 'chdb' not in sys.modules\n"
        "assert 'clickhouse_connect' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT, timeout=60)


def test_two_histories_of_one_folder_share_it_and_the_last_one_gives_it_up(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "history", 2), History.embedded(tmp_path / "x" / ".." / "history", CONTRACTS)
    one.flush()
    assert count(two) == 2
    one.close()
    assert count(two) == 2
    two.close()
    with History.embedded(tmp_path / "other", CONTRACTS) as other:
        other.ensure(INTERVAL)
        assert count(other) == 0
    with History.embedded(tmp_path / "history", CONTRACTS) as again:
        assert count(again) == 2


def test_a_second_folder_at_once_is_refused_and_a_temporary_history_is_not(tmp_path: Path) -> None:
    with filled(tmp_path / "one", 2) as one:
        with pytest.raises(HistoryError, match=r"two: this process already has .* open in .*one.*close that one"):
            History.embedded(tmp_path / "two", CONTRACTS)
        with filled(None, 4) as temporary:
            assert (count(one), count(temporary)) == (2, 4)
        assert engine.DATABASE in one.query("SHOW DATABASES").to_series().to_list()
        assert not [name for name in one.query("SHOW DATABASES").to_series() if name.startswith("temporary")]


def test_an_idle_temporary_engine_gives_way_to_a_folder(tmp_path: Path) -> None:
    with filled(None, 1) as temporary:
        assert count(temporary) == 1
    with filled(tmp_path, 2) as history:
        assert count(history) == 2


def test_a_folder_that_another_process_holds_is_one_clear_line(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom streams.history import History\nfrom topics import CONTRACTS\n"
        f"with History.embedded(Path({str(tmp_path)!r}), CONTRACTS):\n"
        "    print('held', flush=True)\n    sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HistoryError, match=rf"{tmp_path}: another process \(pid {holder.pid}\) holds this folder"):
            History.embedded(tmp_path, CONTRACTS)
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.wait(30) == 0
    with History.embedded(tmp_path, CONTRACTS) as history:  # nothing is left of the refusal
        history.ensure(INTERVAL)


def test_a_temporary_database_that_a_killed_process_left_is_dropped(tmp_path: Path) -> None:
    with History.embedded(tmp_path, CONTRACTS) as history:
        history._session._client.command("CREATE DATABASE temporary_left")
    with History.embedded(tmp_path, CONTRACTS) as history:
        assert "temporary_left" not in history.query("SHOW DATABASES").to_series().to_list()


def test_a_closed_history_says_so(tmp_path: Path) -> None:
    history = filled(tmp_path, 1)
    history.close()
    history.close()
    for use in (lambda: history.held(INTERVAL, 0), lambda: history.query("SELECT 1"), lambda: history.ensure(INTERVAL)):
        with pytest.raises(HistoryError, match="closed"):
            use()


def test_starting_and_using_the_engine_warns_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with filled(tmp_path, 3) as history:
            count(history)
    assert not heard
