"""Readings to quarter-hour intervals on the embedded host, beside bare decoders of the same bytes.

One processor hop: frames, decode, windowed state, changelog, commit with its event, encode. The host reads what a
broker would give it; making the readings is not timed.
"""

import argparse
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import fastavro
import numpy as np
import polars as pl
import pyruhvro
from rich.console import Console
from rich.table import Table

from energy import rules
from processors.intervals import SPEC
from streams.contracts import Contracts
from streams.contracts.partition import partitions_of
from streams.hosts.local import LocalHost
from streams.hosts.task import Limits
from streams.topology import CLOCK, Topology
from topics import IntervalMeasured, ReadingTaken, RulePublished

START = datetime(2026, 3, 2, tzinfo=UTC)
STEP = timedelta(seconds=10)
QUARTER = timedelta(minutes=15)


def readings(resources: int, rounds: range) -> pl.DataFrame:
    """One reading of every resource a round, event time rising by 10 s."""
    rng = np.random.default_rng(rounds.start)
    count = resources * len(rounds)
    sites = np.array([f"site-{i:06d}" for i in range(resources)])
    at = np.repeat(np.arange(rounds.start, rounds.stop), resources) * 10_000_000 + int(START.timestamp() * 1e6)
    site = np.tile(sites, len(rounds))
    return pl.DataFrame(
        {
            "site_id": site,
            "resource_id": pl.Series(site) + "/meter",
            "commodity": ["ELECTRICITY"] * count,
            "occurred_at": pl.Series(at).cast(pl.Datetime("us", "UTC")),
            "duration_s": np.full(count, 10.0),
            "power_w": rng.uniform(0, 3_000, count).round(1),
            "quality": ["MEASURED"] * count,
        }
    )


def host_with(resources: int, total: int, limits: Limits) -> tuple[LocalHost, list[bytes]]:
    """A host whose log holds all readings and ticks, and the bare bodies of the readings."""
    topology = Topology(Contracts.installed(), (SPEC,), absent=True)
    host = LocalHost(topology, start=START, limits=limits)
    published = [row | {"origin": "bench", "origin_id": row["rule_id"]} for row in rules.rows(rules.load())]
    append(host, RulePublished, host.codec.prepare(RulePublished.__topic__, published))
    tick(host, START)
    bodies: list[bytes] = []
    rounds = total // resources
    per_quarter = int(QUARTER / STEP)
    for first in range(0, rounds, per_quarter):
        part = range(first, min(first + per_quarter, rounds))
        frame = readings(resources, part)
        host.pass_time(START + STEP * part.stop)
        bodies += append(host, ReadingTaken, host.codec.prepare(ReadingTaken.__topic__, frame))
        tick(host, START + STEP * part.stop)
    over = START + QUARTER * (-(-rounds // per_quarter) + 1)  # all quarter-hours are over, lateness included
    host.pass_time(over)
    tick(host, over)
    return host, bodies


def append(host: LocalHost, record: Any, frame: pl.DataFrame) -> list[bytes]:
    """Put prepared rows on their topic; the bare bodies."""
    topic = record.__topic__
    encoded = host.codec.encode(topic, frame)
    transaction = host.log.transaction("bench")
    places = partitions_of(encoded.keys, host.log.partitions(topic.name))
    assert not places.any()
    transaction.append(topic.name, 0, encoded.keys, encoded.values)
    transaction.commit({})
    return [value[5:] for value in encoded.values]


def tick(host: LocalHost, at: datetime) -> None:
    """A tick at a time."""
    event = {"clock_id": "bench", "tick_at": at, "sequence": 0, "missed": 0, "simulated": True}
    transaction = host.log.transaction("clock")
    values = host.codec.encode_events(host.topology.topic(CLOCK), [event])
    transaction.append(CLOCK, 0, [b"bench"], values)
    transaction.commit({})


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def bare_fastavro(bodies: list[bytes]) -> None:
    """Each body by itself, as a consumer loop would."""
    schema: Any = fastavro.parse_schema(json.loads(ReadingTaken.__topic__.text))
    for body in bodies:
        fastavro.schemaless_reader(io.BytesIO(body), schema, None)


def measure(resources: int, total: int, runs: int) -> dict[str, float]:
    """Medians of several runs, one after the other in turn."""
    text = ReadingTaken.__topic__.text
    hop, fast, bare = [], [], []
    intervals = 0
    for _ in range(runs):
        host, bodies = host_with(resources, total, Limits())
        hop.append(len(bodies) / timed(host.settle))
        sample = bodies[:100_000]
        fast.append(len(sample) / timed(partial(bare_fastavro, sample)))
        bare.append(len(bodies) / timed(partial(pyruhvro.deserialize_array, bodies, text)))
        topic = IntervalMeasured.__topic__.name
        intervals = len(host.log.read(topic, 0, 0, limit=10_000_000))
        assert intervals > 0, "no interval came out: the hop was not run"
        host.close()
    return {
        "resources": resources,
        "readings": total,
        "intervals": intervals,
        "readings_per_s": statistics.median(hop),
        "fastavro_per_s": statistics.median(fast),
        "pyruhvro_per_s": statistics.median(bare),
        "ratio_fastavro": statistics.median(h / f for h, f in zip(hop, fast, strict=True)),
        "ratio_pyruhvro": statistics.median(h / b for h, b in zip(hop, bare, strict=True)),
    }


def main() -> None:
    """Measure, print a table, write bench/local.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--resources", type=int, nargs="*", default=[2_000, 10_000, 50_000, 100_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("local.json"))
    asked = parser.parse_args()
    console = Console()
    table = Table(title="Readings to intervals, one task on the embedded host (thousands a second, medians)")
    for name in ("resources", "intervals", "flexlog", "fastavro bare", "pyruhvro bare", "x fastavro", "x pyruhvro"):
        table.add_column(name, justify="right")
    rows = []
    for resources in asked.resources:
        with console.status(f"{resources:,} resources"):
            found = measure(resources, asked.readings, asked.runs)
        rows.append(found)
        rates = (f"{found[name] / 1e3:,.0f}" for name in ("readings_per_s", "fastavro_per_s", "pyruhvro_per_s"))
        ratios = (f"{found[name]:.2f}" for name in ("ratio_fastavro", "ratio_pyruhvro"))
        table.add_row(f"{resources:,}", f"{found['intervals']:,.0f}", *rates, *ratios)
    console.print(table)
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    written = rows[0] | {"by_resources": rows, "runs": asked.runs, "on": machine}
    asked.out.write_text(json.dumps(written, indent=1) + "\n")
    console.print(f"wrote {asked.out.name}")


if __name__ == "__main__":
    main()
