"""Times of state: a million keys with 50,000 changes a batch, and the few rows of a tick.

Run as ``python -m bench.state [--keys N] [--changes N] [--batches N] [--ticks N]`` in the repository.
"""

import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import argparse
import gc
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import perf_counter

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from streams.columns import UTC_MICROS, Col, Keyed
from streams.state import StateStore

START = datetime(2026, 1, 1, tzinfo=UTC)
STARTS = 10
"""Periods a site has open in the large case: the keys are sites times periods."""


class Open(Keyed, key=("site_id", "period_start"), expires="period_start"):
    """An open quarter-hour of a site."""

    site_id: Col[str]
    period_start: Col[datetime]
    energy_uwh: Col[int]
    covered_s: Col[float]
    last_at: Col[datetime]
    quality: Col[str | None]


def rows_of(keys: NDArray[np.int64], batch: int) -> pl.DataFrame:
    """Rows for keys given as numbers; values differ from batch to batch."""
    micros = int(START.timestamp() * 1_000_000) + (keys % STARTS) * 900_000_000
    frame = pl.DataFrame({"site": keys // STARTS, "period_start": micros, "energy_uwh": keys * 7 + batch})
    return frame.select(
        pl.format("site-{}", pl.col("site").cast(pl.String).str.zfill(8)).alias("site_id"),
        pl.col("period_start").cast(UTC_MICROS),
        "energy_uwh",
        covered_s=pl.col("energy_uwh") / 3,
        last_at=(pl.col("period_start") + batch * 1_000_000).cast(UTC_MICROS),
        quality=pl.when(pl.col("site") % 3 > 0).then(pl.lit("MEASURED")),
    )


class Times:
    """Milliseconds by name, over repetitions."""

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Note how long the block takes."""
        began = perf_counter()
        yield
        self.of.setdefault(name, []).append((perf_counter() - began) * 1e3)

    def table(self, title: str, unit: str = "ms", factor: float = 1.0) -> Table:
        """Median, mean and maximum a name."""
        table = Table(title=title, title_justify="left")
        table.add_column("what")
        for column in ("median", "mean", "max"):
            table.add_column(f"{column} {unit}", justify="right")
        for name, values in self.of.items():
            figures = (statistics.median(values), statistics.mean(values), max(values))
            table.add_row(name, *(f"{figure * factor:.1f}" for figure in figures))
        return table


def large(keys: int, changes: int, batches: int, console: Console) -> None:
    """Many keys: distinct random changes a batch, then what happens rarely."""
    random = np.random.default_rng(1)
    store = StateStore([Open])
    state = store[Open]
    for part in np.array_split(np.arange(keys), max(1, keys // changes)):
        state.put(rows_of(part, 0))
        store.commit()
    store.end_tick()
    store.commit()
    times = Times()
    tail: list[bytes] = []
    for batch in range(1, batches + 1):
        rows = rows_of(random.choice(keys, changes, replace=False), batch)
        asked = rows.select("site_id", "period_start")
        gc.collect()
        with times("all four"):
            with times("get + put"):
                with times("get"):
                    state.get(asked)
                with times("put"):
                    state.put(rows)
            with times("drain"):
                tail.extend(store.drain())
            with times("commit (copies the living rows when most are dead)"):
                store.commit()
    console.print(times.table(f"{keys:,} keys, {changes:,} distinct changes a batch, {batches} batches"))
    rarely(store, tail, console)
    console.print(
        f"changelog {sum(map(len, tail)) / batches / 1e3:.0f} KB a batch, memory {store.nbytes / 1e6:.0f} MB\n"
    )


def rarely(store: StateStore, tail: list[bytes], console: Console) -> None:
    """Scans, snapshot, restore, digest, expiry and rollback of a large state."""
    state = store[Open]
    cut = START + timedelta(minutes=15)
    times = Times()
    with times("scan(where a time) that finds a tenth"):
        state.scan(Open.period_start < cut)
    with times("scan(where a time) that finds nothing"):
        state.scan(Open.period_start < START)
    with times("scan()"):
        state.scan()
    with times("changed()"):
        state.changed()
    with times("snapshot"):
        snapshot = list(store.snapshot())
    copy = StateStore([Open])
    with times(f"restore of a snapshot ({len(store):,} rows)"):
        for record in snapshot:
            copy.apply(record)
    with times("digest"):
        digest = store.digest()
    assert copy.digest() == digest
    with times("restore of the batches' changelog on top"):
        for record in tail:
            copy.apply(record)
    assert copy.digest() == digest
    with times("expire a tenth"):
        state.expire(cut)
    with times("rollback of that"):
        store.rollback()
    console.print(times.table("once"))
    console.print(f"snapshot {sum(map(len, snapshot)) / 1e6:.1f} MB in {len(snapshot)} records")


def small(keys: int, changes: int, ticks: int, console: Console) -> None:
    """The few rows of a tick in the embedded host: one get, put, scan, changed and commit a tick."""
    random = np.random.default_rng(2)
    store = StateStore([Open])
    state = store[Open]
    for part in np.array_split(np.arange(keys), max(1, keys // 50_000)):
        state.put(rows_of(part, 0))
        store.commit()
    copy = StateStore([Open])
    for record in store.snapshot():
        copy.apply(record)
    inputs = [rows_of(random.choice(keys, changes, replace=False), batch) for batch in range(ticks)]
    times = Times()
    records: list[bytes] = []
    early = Open.period_start < START
    for rows in inputs:
        with times("get"):
            state.get(rows, suffix="_was")
        with times("put"):
            state.put(rows)
        with times("scan(where) that finds nothing"):
            state.scan(early)
        with times("the same again"):
            state.scan(early)
        with times("changed"):
            state.changed()
        with times("expire, nothing to"):
            state.expire(START)
        with times("end_tick"):
            store.end_tick()
        with times("drain"):
            records.extend(store.drain())
        with times("commit"):
            store.commit()
    for record in records:
        with times("apply"):
            copy.apply(record)
    assert copy.digest() == store.digest()
    idle(store, inputs, times)
    console.print(times.table(f"{keys:,} keys, {changes} rows a call, {ticks} ticks", "us", 1e3))
    console.print(f"changelog {sum(map(len, records)) / ticks:.0f} bytes a tick\n")


def idle(store: StateStore, inputs: list[pl.DataFrame], times: Times) -> None:
    """Calls with nothing to do, and a rollback."""
    state, nothing = store[Open], inputs[0].head(0)
    for rows in inputs:
        with times("get nothing"):
            state.get(nothing, suffix="_was")
        with times("put nothing"):
            state.put(nothing)
        with times("changed, nothing"):
            state.changed()
        with times("len"):
            len(state)
        with times("drain and commit, nothing"):
            store.drain()
            store.commit()
        with times("put and rollback"):
            state.put(rows)
            store.rollback()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=50_000)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--ticks", type=int, default=2_000)
    options = parser.parse_args()
    console = Console(width=100)
    large(options.keys, options.changes, options.batches, console)
    for keys, changes in ((100, 1), (100, 10), (2_000, 200), (options.keys, 10)):
        small(keys, changes, options.ticks, console)


if __name__ == "__main__":
    main()
