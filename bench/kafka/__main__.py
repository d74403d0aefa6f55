"""The Kafka host's speed beside a plain consumer and what a user would pick instead: ``python -m bench.kafka``.

One run, one broker on this machine, the same bytes for all, the same sums of all, compared one by one. Writes
bench/kafka.json.
"""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import polars as pl
from confluent_kafka import KafkaException, libversion
from rich.console import Console
from rich.table import Table

from bench.kafka import data, latency, peers, restore
from bench.kafka.place import Place, answer, raw, sums
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
        return float(self.asked.readings / (told["last"] - told["ready"]))

    def beside(self) -> None:
        """Latency, restore, memory, several runners."""
        asked, cluster = self.asked, self.cluster
        hops = []
        for rate in asked.rates:
            place = Place(cluster, f"hop{rate}.", PARTITIONS)
            found = self.part(f"latency at {rate:,}", latency.measure, place, rate, asked.seconds)
            if found:
                hops.append(found)
                self.console.print(f"latency at {rate:,} a second: p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms")
        self.found["latency"] = hops
        self.found["latency_p99_ms_10k"] = next((h["p99_ms"] for h in hops if h["rate"] == 10_000), None)
        found = self.part("restore", restore.restored, Place(cluster, "state.", PARTITIONS), asked.rows)
        self.found["restore"] = found
        self.found["restore_1m_s"] = found["seconds"] if found and found["rows"] == 1_000_000 else None
        if asked.together:
            place, _ = self.filled_with(8, "many.", asked.readings)
            several = [
                self.part(f"{count} runners", restore.together, place, asked.readings, count) for count in (1, 2, 4)
            ]
            self.found["on_8_partitions"] = [one for one in several if one]
        if asked.backlog:
            backlog = Place(cluster, "backlog.", PARTITIONS)
            self.found["backlog"] = self.part("backlog", restore.backlog, backlog, asked.backlog)

    def filled_with(self, partitions: int, prefix: str, readings: int) -> tuple[Place, int]:
        """A deployment of another partition count with readings."""
        place = Place(self.cluster, prefix, partitions)
        place.install("sums")
        return place, data.fill(place.writer(), readings)

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
        table = Table(title="Readings summed per site and quarter-hour (medians, equal sums where a rate is given)")
        for name in ("who", "readings a second", "flexlog is", "aim"):
            table.add_column(name, justify="left" if name == "who" else "right")
        for who, text in NAMES.items():
            rate, ratio = figures[f"{who}_per_s"], figures.get(f"ratio_{who}")
            aim = AIMS.get(f"ratio_{who}")
            shown = f"{rate:,.0f}" if rate else "left out"
            table.add_row(text, shown, f"{ratio:.2f} x" if ratio else "", f"{aim[0]} x" if aim else "")
        self.console.print(table)
        rest = Table(title="Beside it")
        for name in ("what", "found", "aim"):
            rest.add_column(name)
        for hop in figures.get("latency", []):
            limit = "p99 at most 150 ms" if hop["rate"] == 10_000 else ""
            times = f"p50 {hop['p50_ms']}, p99 {hop['p99_ms']} ms"
            rest.add_row(f"append to effect, {hop['rate']:,} a second", times, limit)
        if again := figures.get("restore"):
            rest.add_row(f"restore of {again['rows']:,} keyed rows", f"{again['seconds']:.1f} s", "10 s for a million")
        for one in figures.get("on_8_partitions", []):
            rest.add_row(f"{one['runners']} runner(s) on 8 partitions", f"{one['per_s']:,.0f} a second", "")
        if lag := figures.get("backlog"):
            rest.add_row(
                f"most memory over {lag['readings']:,} readings", f"{lag['peak_mb']:,.0f} MiB", "1 GB at 20 million"
            )
        self.console.print(rest)


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
    parser.add_argument("--together", action=argparse.BooleanOptionalAction, default=True, help="several runners")
    parser.add_argument("--backlog", type=int, default=4_000_000, help="readings of the backlog; 0 for none")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "kafka.json")
    asked = parser.parse_args()
    with LocalCluster.temporary() as cluster:
        bench = Bench(asked, cluster)
        for part in (bench.side_by_side, bench.beside):
            part()
            figures = bench.written()
            asked.out.write_text(json.dumps(figures, indent=1) + "\n")
    bench.table(figures)
    bench.console.print(f"wrote {asked.out.name}")


if __name__ == "__main__":
    main()
