"""``flexlog demo-kafka``."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from demo.foreign import JavaClient
    from demo.on_kafka import Outcome
    from demo.screen import Phases
    from demo.workers import Kill
    from streams.contracts.topic import Lane
    from streams.kafka.local.cluster import LocalCluster

KEPT = "demo"
"""The cluster that --keep leaves."""


@click.command("demo-kafka")
@click.option("--homes", type=click.IntRange(1, 1_000), default=17, show_default=True, help="How many homes.")
@click.option("--days", type=click.IntRange(1, 30), default=1, show_default=True, help="Days of delivery traded.")
@click.option("--learn", type=click.IntRange(7, 60), default=7, show_default=True, help="Days to learn from before.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all that is drawn, kills too.")
@click.option("--kills", type=click.IntRange(0, 200), default=6, show_default=True, help="How many workers are killed.")
@click.option(
    "--partitions", type=click.IntRange(1, 64), default=2, show_default=True, help="Of the topics keyed by site."
)
@click.option("--keep", is_flag=True, help=f"Leave the cluster up, under the name {KEPT!r}; a former one is replaced.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out/demo-kafka"),
    show_default=True,
    help="Folder for summary.json and what the workers log.",
)
def demo_kafka(
    *, homes: int, days: int, learn: int, seed: int, kills: int, partitions: int, keep: bool, out: Path
) -> None:
    """Run the demo's chain on a real Kafka, kill workers on the way, and compare with one process.

    A broker and a schema registry start on this machine, one worker process a processor, and the simulated world in
    this one. Both runs must have the same events, the settlement to the last line, and a Java client that shares no
    code with flexlog must read the same sums. Needs Java 17, and Maven the first time. Ends with 1 where anything
    differs.
    """
    from rich.console import Console  # noqa: PLC0415  # heavy, as the rest is: `flexlog --help` is quick

    from demo import homes as measured  # noqa: PLC0415
    from demo.on_kafka import Stage, play, spans  # noqa: PLC0415
    from demo.scenario import Plan  # noqa: PLC0415
    from demo.screen import Phases  # noqa: PLC0415
    from demo.workers import drawn  # noqa: PLC0415
    from streams.topology import discover  # noqa: PLC0415

    console = Console()
    plan = Plan(homes=homes, days=days, learn=learn, seed=seed)
    planned = drawn(kills, seed, spans(plan), [spec.name for spec in discover().processors])
    _say(console, planned, seed)
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / "logs", ignore_errors=True)
    with Phases(console) as phases, _work(out) as work, _running(phases, keep=keep) as (cluster, client):
        with phases.phase("data", "load, PV, batteries") as step:
            data = measured.folder(say=lambda words: step(0.0, words))
        counts: dict[Lane, int] = {"site": partitions, "portfolio": 1, "account": 1, "reference": 1}
        outcome = play(plan, Stage(data, work, cluster, counts, phases, client), planned)
    (out / "summary.json").write_text(json.dumps(plan.model_dump() | outcome.as_json(), indent=2) + "\n")
    show(console, outcome)
    if keep:
        _tell_kept(console)
    if outcome.problems:
        raise SystemExit(1)


@contextmanager
def _work(out: Path) -> Iterator[Path]:
    """A folder for logs and histories; what the workers logged stays in the one that was asked for."""
    with tempfile.TemporaryDirectory(prefix="flexlog-demo-") as scratch:
        try:
            yield Path(scratch)
        finally:
            if (Path(scratch) / "logs").exists():
                shutil.copytree(Path(scratch) / "logs", out / "logs", dirs_exist_ok=True)


@contextmanager
def _running(phases: "Phases", *, keep: bool) -> Iterator[tuple["LocalCluster", "JavaClient"]]:
    """An empty cluster, a temporary one or a named one that stays, and the client of another make."""
    from demo.deployment import BROKER  # noqa: PLC0415
    from demo.foreign import JavaClient  # noqa: PLC0415
    from streams.kafka.local.cluster import LocalCluster  # noqa: PLC0415

    with ExitStack() as stack:
        with phases.phase("cluster", "a Kafka broker and a registry") as step:

            def report(line: str) -> None:
                step(0.0, line)

            client = stack.enter_context(JavaClient.ready(report))
            if keep:
                running = LocalCluster(KEPT, report=report)
                running.down(delete=True)
                running.up(settings=BROKER)
            else:
                running = stack.enter_context(LocalCluster.temporary(settings=BROKER, report=report))
        yield running, client


def _say(console: "Console", kills: "Sequence[Kill]", seed: int) -> None:
    """Say which kills will come."""
    if not kills:
        return
    told = ", ".join(f"{kill.worker} from {kill.at:%d %b %H:%M} UTC ({kill.phase})" for kill in kills)
    console.print(f"Seed {seed}; killed with SIGKILL, at the next work after a simulated time: {told}", highlight=False)


def show(console: "Console", outcome: "Outcome") -> None:
    """Show what both runs have, and how the one on Kafka went.

    Args:
        console: Where.
        outcome: Of the run.
    """
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for name in ("topic", "embedded", "on Kafka", "equal"):
        table.add_column(name, justify="right" if name in ("embedded", "on Kafka") else "left")
    for one in outcome.compared:
        equal = "[green]yes[/green]" if one.equal else f"[bold red]{one.differing:,} differ[/bold red]"
        table.add_row(one.topic, f"{one.rows[0]:,}", f"{one.rows[1]:,}", equal)
    console.print(table)
    working = sum(at_work for _, at_work in outcome.kills)
    console.print(
        f"{len(outcome.kills)} of {outcome.planned} kills done, {working} of them inside the work on a tick; "
        f"{outcome.restarts} restarts",
        highlight=False,
    )
    console.print(
        f"{outcome.ticks:,} ticks and {outcome.commits:,} commits in {outcome.ran_s:.1f} s on Kafka: "
        f"{outcome.ticks_per_s:.1f} ticks a second; "
        f"the same in one process: {outcome.seconds.get('embedded', 0):.1f} s",
        highlight=False,
    )
    most = sorted(outcome.memory_mb.items(), key=lambda item: -item[1])
    console.print(
        f"memory: {outcome.total_mb:,.0f} MB together at most ({', '.join(f'{name} {mb:.0f}' for name, mb in most)})",
        highlight=False,
    )
    if outcome.told is not None and outcome.told.read:
        console.print(str(outcome.told), style="red" if outcome.told.problem else "green", highlight=False)
    for problem in outcome.problems:
        console.print(problem, style="bold red", highlight=False)
    if not outcome.problems:
        console.print("The settlement on Kafka equals the embedded run's, line for line.", style="green")


def _tell_kept(console: "Console") -> None:
    """Say how to look at the cluster that stays."""
    console.print("\nThe cluster stays up; look at it with", style="bold")
    for line in (
        f'eval "$(flexlog kafka up --name {KEPT} --env)"',
        f"flexlog kafka status --name {KEPT}",
        f"flexlog kafka down --name {KEPT} --delete",
    ):
        console.print(line, highlight=False, soft_wrap=True)
