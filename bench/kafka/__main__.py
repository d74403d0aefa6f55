"""The Kafka host's speed beside a plain consumer and what a user would pick instead: ``python -m bench.kafka``.

One run, one broker on this machine, the same bytes for all, the same sums of all, compared one by one. Writes
bench/kafka.json.
"""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import polars as pl
from confluent_kafka import KafkaException, libversion
from rich.console import Console
from rich.table import Table

from bench.kafka import chain, data, latency, peers, restore
from bench.kafka.place import Place, answer, pace, raw, sums
from demo.scenario import LEAST_LEARNED, Plan
from streams.errors import StreamsError
from streams.kafka.local.cluster import LocalCluster
from topics import IntervalMeasured, ReadingTaken

AIMS: Final = {
    "ratio_raw": (0.4, "x the plain consumer"),
    "ratio_kafka_streams": (1.75, "x Kafka Streams, exactly once, one thread"),
    "ratio_quix": (15.0, "x Quix Streams, exactly once"),
    "ratio_faust": (100.0, "x Faust"),
}
NAMES: Final = {
    "raw": "plain read_committed consumer",
    "flexlog": "flexlog, one runner",
    "intervals": "flexlog, processors/intervals unchanged",
    "kafka_streams": "Kafka Streams, exactly_once_v2, one thread",
    "quix": "Quix Streams, exactly-once",
    "faust": "Faust, at least once",
}
PARTITIONS: Final = 4
PARTS: Final = ["side-by-side", "latency", "restore", "runners", "backlog", "chain"]
BEFORE: Final = {
    "minute": "dispatch alone",
    "quarter-hour": "flexibility first",
    "full hour": "intervals, load_forecast and flexibility first",
}
"""Who decides at a tick before dispatch."""


class Bench:
    """One run: what was found so far, printed as it comes and kept on the way."""

    def __init__(self, asked: argparse.Namespace, cluster: LocalCluster) -> None:
        self.asked, self.cluster, self.console = asked, cluster, Console()
        self.rates: dict[str, list[float]] = {}
        self.told: list[dict[str, Any]] = []
        self.found: dict[str, Any] = {}

    def part(self, name: str, work: Callable[..., Any], *given: Any) -> Any:
        """One measurement; what fails is said, and the others go on."""
        with self.console.status(name):
            try:
                return work(*given)
            except (RuntimeError, peers.AbsentError, StreamsError, KafkaException) as error:
                self.console.print(f"[red]{name}: {error}[/red]")
                self.found.setdefault("left_out", {})[name] = str(error)
        return None

    def rate(self, who: str, work: Callable[..., float], *given: Any) -> None:
        """One run of somebody, in records a second."""
        found = self.part(who, work, *given)
        if found is not None:
            self.rates.setdefault(who, []).append(found)
            self.console.print(f"{NAMES[who]}: {found:,.0f} a second")

    # What is measured.

    def side_by_side(self) -> None:
        """All on the same bytes, in turn, so that a busy machine is busy for all."""
        sizes = {"quix": self.asked.quix, "faust": self.asked.faust}
        places = {size: self.filled(f"bench{size}.", size) for size in {self.asked.readings, *sizes.values()}}
        for run in range(self.asked.runs):
            place, expected = places[self.asked.readings]
            self.rate("raw", raw, place, ReadingTaken.__topic__.name, self.asked.readings)
            self.rate("flexlog", self.summed, place, expected)
            self.rate("intervals", self.intervals, place)
            for peer in peers.ALL:
                if peer in self.asked.without:
                    continue
                size = sizes.get(peer, self.asked.readings)
                there, sums_there = places[size]
                self.rate(peer, peers.measure, peer, there, size, sums_there, run)

    def filled(self, prefix: str, readings: int) -> tuple[Place, pl.DataFrame]:
        """A deployment with readings, and what they sum to."""
        place = Place(self.cluster, prefix, PARTITIONS)
        place.install("sums")
        place.install("intervals")
        with self.console.status(f"{readings:,} readings"):
            written = data.fill(place.writer(), readings)
        if written != readings:
            raise RuntimeError(f"{written:,} readings were written; give a multiple of {data.SITES:,}")
        return place, data.summed(readings)

    def summed(self, place: Place, expected: pl.DataFrame) -> float:
        """Our runner."""
        found, told = sums(place, self.asked.readings, expected)
        self.told.append(told)
        return found

    def intervals(self, place: Place) -> float:
        """The processor of the chain that comes closest to the job."""
        run, topic = place.install("intervals"), IntervalMeasured.__topic__
        starts = place.ends(topic.name)
        told = answer(place.runner("intervals", run, 0, self.asked.readings))
        if told["consumed"] != self.asked.readings or place.ends(topic.name) == starts:
            raise RuntimeError(f"intervals consumed {told['consumed']:,} of {self.asked.readings:,} readings")
        return pace(told)

    def latency(self) -> None:
        """One hop at several rates."""
        hops = []
        for rate in self.asked.rates:
            place = Place(self.cluster, f"hop{rate}.", PARTITIONS)
            found = self.part(f"latency at {rate:,}", latency.measure, place, rate, self.asked.seconds)
            if found:
                hops.append(found)
                self.console.print(f"latency at {rate:,} a second: p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms")
        self.found["latency"] = hops
        self.found["latency_p99_ms_10k"] = next((h["p99_ms"] for h in hops if h["rate"] == 10_000), None)

    def restore(self) -> None:
        """A state that is had again."""
        found = self.part("restore", restore.restored, Place(self.cluster, "state.", PARTITIONS), self.asked.rows)
        self.found["restore"] = found
        self.found["restore_1m_s"] = found["seconds"] if found and found["rows"] == 1_000_000 else None

    def runners(self) -> None:
        """Several runners of one processor."""
        readings = self.asked.readings
        place = Place(self.cluster, "many.", 8)
        place.install("sums")
        data.fill(place.writer(), readings)
        expected, several = data.summed(readings), []
        for count in (1, 2, 4):
            found = self.part(f"{count} runners", restore.together, place, readings, expected, count)
            if found:
                several.append(found)
                self.console.print(f"{count} runner(s) on 8 partitions: {found['per_s']:,.0f} a second")
        self.found["on_8_partitions"] = several

    def backlog(self) -> None:
        """Memory of a runner that comes upon a backlog."""
        if self.asked.backlog:
            place = Place(self.cluster, "backlog.", PARTITIONS)
            found = self.part("backlog", restore.backlog, place, self.asked.backlog)
            self.found["backlog"] = found
            self.found["backlog_peak_mb"] = found["peak_mb"] if found else None

    def chain(self) -> None:
        """The whole chain."""
        plan = Plan(homes=self.asked.homes, learn=LEAST_LEARNED, days=1)
        with TemporaryDirectory(prefix="flexlog-bench-") as folder:
            found = self.part("the chain", chain.measure, self.cluster, plan, self.asked.calls, Path(folder))
        found = found or {"activation": None, "chain": None}
        self.found |= found
        waited, whole = found["activation"] or {}, found["chain"] or {}
        self.found["activation_p50_ms"], self.found["activation_p99_ms"] = waited.get("p50_ms"), waited.get("p99_ms")
        self.found["chain_readings_per_s"] = whole.get("per_s")

    # What is told.

    def written(self) -> dict[str, Any]:
        """All figures, flat where others look for them."""
        median = {who: statistics.median(rates) for who, rates in self.rates.items()}
        ours = median.get("flexlog")
        figures: dict[str, Any] = {f"{who}_per_s": median.get(who) for who in NAMES}
        for name in AIMS:
            other = median.get(name.removeprefix("ratio_"))
            figures[name] = ours / other if ours and other else None
        figures |= self.found
        if self.told:
            figures["peak_mb"] = max(told["peak_mb"] for told in self.told)
            figures["cpu_us_per_reading"] = statistics.median(t["cpu_s"] / t["consumed"] * 1e6 for t in self.told)
        figures["aims"] = {name: aim for name, (aim, _) in AIMS.items()} | {
            "latency_p99_ms_10k": 150,
            "restore_1m_s": 10,
        }
        figures["all_runs_per_s"] = self.rates
        figures["asked"] = {name: held for name, held in vars(self.asked).items() if name != "out"}
        figures["on"] = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "load_1m": os.getloadavg()[0],
            "librdkafka": libversion()[0],
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return figures

    def table(self, figures: dict[str, Any]) -> None:
        """What a person reads."""
        if self.rates:
            self.console.print(self.speeds(figures))
        rest = Table(title="Beside it")
        for name in ("what", "found", "aim"):
            rest.add_column(name)
        for row in lines(figures):
            rest.add_row(*row)
        self.console.print(rest)

    def speeds(self, figures: dict[str, Any]) -> Table:
        """All on the same job."""
        table = Table(title="Readings summed per site and quarter-hour (medians, equal sums where a rate is given)")
        for name in ("who", "readings a second", "flexlog is", "aim"):
            table.add_column(name, justify="left" if name == "who" else "right")
        for who, text in NAMES.items():
            rate, ratio = figures[f"{who}_per_s"], figures.get(f"ratio_{who}")
            aim = AIMS.get(f"ratio_{who}")
            shown = f"{rate:,.0f}" if rate else "left out"
            table.add_row(text, shown, f"{ratio:.2f} x" if ratio else "", f"{aim[0]} x" if aim else "")
        return table


def lines(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What is told beside the speeds: what, how much, and the aim; only what was measured."""
    for hop in figures.get("latency") or []:
        limit = "p99 at most 150 ms" if hop["rate"] == 10_000 else ""
        yield f"append to effect, {hop['rate']:,} a second", f"p50 {hop['p50_ms']}, p99 {hop['p99_ms']} ms", limit
    if again := figures.get("restore"):
        yield f"restore of {again['rows']:,} keyed rows", f"{again['seconds']:.1f} s", "10 s for a million"
    for one in figures.get("on_8_partitions") or []:
        yield f"{one['runners']} runner(s) on 8 partitions", f"{one['per_s']:,.0f} a second", ""
    if lag := figures.get("backlog"):
        yield f"most memory over {lag['readings']:,} readings", f"{lag['peak_mb']:,.0f} MiB", "1 GB at 20 million"
    if waited := figures.get("activation"):
        what = "activation to its instructions, dispatch deciding at a tick that follows at once"
        times = f"p50 {waited['p50_ms']:,}, p99 {waited['p99_ms']:,} ms"
        yield what, f"{times} ({waited['answered']} of {waited['activations']} activations)", ""
        for kind, part in waited["by_tick"].items():
            times = f"p50 {part['p50_ms']:,}, most {part['max_ms']:,} ms ({part['answered']})"
            yield f"  at a {kind}: {BEFORE[kind]}", times, ""
    if whole := figures.get("chain"):
        what = f"{whole['homes']} homes, {whole['readings']:,} readings to {whole['lines']:,} settlement lines"
        yield what, f"{whole['per_s']:,.0f} readings a second ({whole['seconds']:.1f} s)", ""


def main() -> None:
    """Measure, print, write bench/kafka.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, default=4_000_000)
    parser.add_argument("--quix", type=int, default=200_000, help="readings for Quix Streams")
    parser.add_argument("--faust", type=int, default=60_000, help="readings for Faust")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--without", nargs="*", default=[], choices=peers.ALL, help="peers to leave out")
    parser.add_argument("--rates", type=int, nargs="*", default=[1_000, 10_000, 100_000], help="of the latency")
    parser.add_argument("--seconds", type=int, default=12, help="of each latency run")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of state to restore")
    parser.add_argument(
        "--backlog", type=int, default=4_000_000, help="readings of the backlog: 20000000 takes some minutes; 0: none"
    )
    parser.add_argument("--homes", type=int, default=17, help="of the chain; the demo has 17")
    parser.add_argument("--calls", type=int, default=36, help="activations of the chain, five minutes apart")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument(
        "--out", type=Path, help="bench/kafka.json; with --only out/bench-kafka.json, where the other parts stay"
    )
    asked = parser.parse_args()
    root = Path(__file__).parents[2]
    out = asked.out or root / ("bench/kafka.json" if asked.only == PARTS else "out/bench-kafka.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(out.read_text()) if out.exists() and asked.only != PARTS else {}
    measured = kept.get("measured", {})
    with LocalCluster.temporary() as cluster:
        bench = Bench(asked, cluster)
        for name in PARTS:
            if name in asked.only:
                getattr(bench, name.replace("-", "_"))()
                figures = bench.written()
                measured |= {name: figures["on"]["at"]}
                figures = kept | {key: found for key, found in figures.items() if found is not None}
                figures["measured"] = measured
                out.write_text(json.dumps(figures, indent=1) + "\n")
    bench.table(figures)
    bench.console.print(f"wrote {out.relative_to(root) if out.is_relative_to(root) else out}")


if __name__ == "__main__":
    main()
