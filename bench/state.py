"""Times of state: a million keys with 50,000 changes a batch, and the few rows of a tick.

Run as ``POLARS_MAX_THREADS=1 python bench/state.py [--keys N] [--changes N] [--batches N]``.
"""

import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import argparse
import gc
import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter

import numpy as np
import polars as pl
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


def rows_of(keys: np.ndarray, batch: int) -> pl.DataFrame:
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

    def __call__(self, name: str, work: Callable[[], object]) -> None:
        """Do the work and note how long it takes."""
        began = perf_counter()
        work()
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
    """Many keys: distinct random changes a batch, snapshot, restore, scans, expiry."""
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
        began = perf_counter()
        times("get", lambda asked=asked: state.get(asked))
        times("put", lambda rows=rows: state.put(rows))
        times("drain", lambda: tail.extend(store.drain()))
        times("commit (copies the living rows when most are dead)", store.commit)
        times.of.setdefault("all four", []).append((perf_counter() - began) * 1e3)
    both = [get + put for get, put in zip(times.of["get"], times.of["put"], strict=True)]
    times.of["get + put"] = both
    cut = START + timedelta(minutes=15)
    one = Times()
    one("scan(where a time) that finds a tenth", lambda: state.scan(Open.period_start < cut))
    one("scan(where a time) that finds nothing", lambda: state.scan(Open.period_start < START))
    one("scan()", state.scan)
    one("changed()", state.changed)
    snapshot: list[bytes] = []
    one("snapshot", lambda: snapshot.extend(store.snapshot()))
    copy = StateStore([Open])
    one(f"restore of a snapshot ({len(store):,} rows)", lambda: [copy.apply(record) for record in snapshot])
    one("digest", store.digest)
    assert copy.digest() == store.digest()
    one(f"restore of a tail ({changes * batches:,} changes)", lambda: [copy.apply(record) for record in tail])
    assert copy.digest() == store.digest()
    one("expire a tenth", lambda: state.expire(cut))
    one("rollback of that", store.rollback)
    console.print(times.table(f"{keys:,} keys, {changes:,} distinct changes a batch, {batches} batches"))
    console.print(one.table("once"))
    console.print(
        f"snapshot {sum(map(len, snapshot)) / 1e6:.1f} MB in {len(snapshot)} records, "
        f"changelog {sum(map(len, tail)) / batches / 1e3:.0f} KB a batch, memory {store.nbytes / 1e6:.0f} MB\n"
    )


def small(keys: int, changes: int, ticks: int, console: Console) -> None:
    """The few rows of a tick in the embedded host: one get, put, scan, changed and commit a tick."""
    random = np.random.default_rng(2)
    store = StateStore([Open])
    state = store[Open]
    state.put(rows_of(np.arange(keys), 0))
    store.drain()
    store.commit()
    inputs = [rows_of(random.choice(keys, changes, replace=False), batch) for batch in range(ticks)]
    times = Times()
    records: list[bytes] = []
    cut = START + timedelta(minutes=15)
    for rows in inputs:
        times("get", lambda rows=rows: state.get(rows, suffix="_was"))
        times("put", lambda rows=rows: state.put(rows))
        times("scan(where)", lambda: state.scan(Open.period_start < cut))
        times("scan(where) again", lambda: state.scan(Open.period_start < cut))
        times("changed", state.changed)
        times("expire, nothing to", lambda: state.expire(START))
        times("end_tick", store.end_tick)
        times("drain", lambda: records.extend(store.drain()))
        times("commit", store.commit)
    copy = StateStore([Open])
    copy[Open].put(rows_of(np.arange(keys), 0))
    copy.commit()
    for record in records:
        times("apply", lambda record=record: copy.apply(record))
    assert copy.digest() == store.digest()
    for _ in range(ticks):
        times("get nothing", lambda: state.get(inputs[0].head(0), suffix="_was"))
        times("put nothing", lambda: state.put(inputs[0].head(0)))
        times("changed, nothing", state.changed)
        times("drain and commit, nothing", lambda: (store.drain(), store.commit()))
        times("put and rollback", lambda: (state.put(inputs[1]), store.rollback()))
    console.print(times.table(f"{keys:,} keys, {changes} rows a call, {ticks} ticks", "us", 1e3))
    console.print(f"changelog {sum(map(len, records)) / ticks:.0f} bytes a tick\n")


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
