"""A sink that is killed, inside an insert too, leaves every row once for the reader."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.contracts.codec import MemoryRegistry
from streams.history import History, Sink
from tests.history.world import INTERVAL, PARTITIONS, TABLE, World, interval, read_all
from topics import CONTRACTS

ROOT = Path(__file__).parents[2]
EVENTS, KILLS = 12_000, 5


def filled_log(folder: Path) -> World:
    """Events over many months, so that an insert is of several parts; some are undecodable."""
    world = World(folder / "log")
    world.create(INTERVAL)
    for start in range(0, EVENTS, 500):
        world.append(
            INTERVAL,
            [interval(n % 40, n * 37 % 20_000, energy=float(n), revision=n) for n in range(start, start + 500)],
        )
        world.put(INTERVAL, {start // 500 % PARTITIONS: [(b"key", b"rubbish")]})
    assert isinstance(world.codec.registry, MemoryRegistry)
    (folder / "registry.json").write_text(json.dumps(world.codec.registry.items()))
    return world


def run_and_kill(folder: Path, seed: int, hold: int) -> str:
    """Let the sink run, kill it some inserts later, a random moment into the next; what it said last."""
    draw = random.Random(seed)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.history.killed_sink", str(folder), str(seed), str(hold)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        inserts, said = draw.randrange(1, 12), ""
        for line in process.stdout:
            said = line.strip()
            inserts -= said == "insert"
            if inserts == 0:
                time.sleep(draw.choice([0, 0.001, 0.003, 0.006, 0.012]))
                process.kill()
                inserts = -1
        process.wait(60)
    return said


@pytest.mark.parametrize("hold", [0, 700])
def test_a_sink_killed_again_and_again_leaves_every_row_once(tmp_path: Path, hold: int) -> None:
    world = filled_log(tmp_path)
    ends = world.ends(INTERVAL)
    expected = sorted(world.rows(INTERVAL).select("_partition", "_offset").rows())
    assert len(expected) == EVENTS
    said = [run_and_kill(tmp_path, seed, hold) for seed in range(hold, hold + KILLS)]
    assert "done" not in said, "it came to an end before it was killed: give it more to do"
    assert "insert" in said, "at least one was killed inside an insert"
    with History.embedded(tmp_path / "history", CONTRACTS) as history:
        before = history.query(f"SELECT count() AS n FROM {TABLE}").item()
        assert 0 < before < EVENTS, "the kills left a part of the way"
        Sink(world.log, history, world.codec).advance(INTERVAL, ends)
        found = read_all(history, INTERVAL, ends, latest=False)
        assert sorted(found.get_column("energy_wh").to_list()) == [float(n) for n in range(EVENTS)]
        assert history.query(f"SELECT _partition, _offset FROM {TABLE} ORDER BY ALL").rows() == expected
        assert history.query("SELECT count() AS n FROM _undecodable").item() == EVENTS // 500
    world.log.close()
