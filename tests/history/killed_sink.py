"""A process that fills a history from a log, step by step, until somebody kills it.

It says ``ready`` when it begins, ``insert`` before and ``inserted`` after each insert, ``done`` at the end.
"""

import json
import random
import sys
from pathlib import Path

import polars as pl

from streams.contracts.codec import Codec, MemoryRegistry
from streams.history import History, Sink
from streams.hosts.memory import MemoryLog
from tests.history.world import INTERVAL, PARTITIONS
from topics import CONTRACTS


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(folder: Path, seed: int, hold: int) -> None:
    log = MemoryLog(folder / "log", clock=lambda: 0, look_only=True)
    codec = Codec(MemoryRegistry([tuple(item) for item in json.loads((folder / "registry.json").read_text())]))
    draw = random.Random(seed)
    with History.embedded(folder / "history", CONTRACTS, hold_rows=hold) as history:
        real = history._session.insert

        def insert(table: str, frame: pl.DataFrame, token: str | None) -> None:
            say("insert")
            real(table, frame, token)
            say("inserted")

        history._session.insert = insert  # type: ignore[method-assign]
        sink = Sink(log, history, codec)
        last = {place: log.end(INTERVAL.name, place) for place in range(PARTITIONS)}
        ends = {place: history.held(INTERVAL, place) for place in range(PARTITIONS)}
        say("ready")
        while ends != last:
            for place, end in last.items():
                ends[place] = min(end, ends[place] + draw.choice([0, 1, 3, 30, 200]))
            sink.advance(INTERVAL, ends)
    say("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
