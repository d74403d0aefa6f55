"""``flexlog replay``: the recorded past, run again and compared to the byte."""

import json
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streams.hosts.folder import Folder
    from streams.kafka.past import ClusterPast


@click.command()
@click.option(
    "--data",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="A run's folder. Left out: the cluster that FLEXLOG_KAFKA__… and FLEXLOG_REGISTRY__… name.",
)
@click.option("--processor", "only", multiple=True, help="Only this processor (may be given again).")
@click.option("--all-differences", is_flag=True, help="Go on after the first difference, with the other tasks.")
@click.option(
    "--fresh-history", is_flag=True, help="Build the history that is read anew from the log, beside the run's."
)
@click.option("--topology", metavar="MODULE:FUNCTION", help="What ran on a cluster; all that is installed by default.")
@click.option("--follow", is_flag=True, help="Go on with what a host that still runs there adds, until it ends.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line every second, and last the outcome.")
def replay(
    folder: Path | None,
    only: tuple[str, ...],
    *,
    all_differences: bool,
    fresh_history: bool,
    topology: str | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Run the recorded cuts of a run, or of a cluster, again and compare what comes out, byte for byte.

    Prints the first difference by processor, partition, commit and field, and ends with 1 if there is one.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from streams.hosts.cores import keep_to_one

    keep_to_one()
    console = Console(stderr=True)
    said = perf_counter()
    with _past(folder, topology, fresh_history=fresh_history or follow) as past:
        total = None if follow else past.count_commits()
        columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, disable=as_json) as progress:
            bar = progress.add_task("", total=total)

            def on_progress(done: int) -> None:
                nonlocal said
                progress.update(bar, completed=done)
                if as_json and perf_counter() - said > 1:
                    said = perf_counter()
                    click.echo(json.dumps({"commits": done}))

            outcome = past.replay().run(
                only=only or None,
                stop_at_first=not all_differences,
                on_progress=on_progress,
                more=past.follow if follow else None,
            )
    if as_json:
        found = {
            "commits": outcome.commits,
            "records": outcome.records,
            "skipped": outcome.skipped,
            "mismatches": list(map(str, outcome.mismatches)),
        }
        click.echo(json.dumps(found))
        raise SystemExit(bool(outcome.mismatches))
    for task, count in outcome.skipped.items():
        click.echo(f"skipped {task}: {count} commits of a processor or version that is not installed", err=True)
    for mismatch in outcome.mismatches:
        click.echo(str(mismatch))
    if outcome.mismatches:
        raise SystemExit(1)
    click.echo(f"{outcome.commits} commits replayed, {outcome.records} records: the same bytes")


def _past(folder: Path | None, topology: str | None, *, fresh_history: bool) -> "Folder | ClusterPast":
    if folder is not None:
        from streams.hosts.folder import Folder

        return Folder(folder, fresh_history=fresh_history)
    from streams.kafka.child import load_topology
    from streams.kafka.past import ClusterPast
    from streams.kafka.settings import Settings

    settings = Settings.load()
    return ClusterPast(settings, load_topology(topology, settings.kafka.partitions.by_lane()))
