"""``flexlog demo``."""

from pathlib import Path

import click


@click.command()
@click.option("--homes", type=click.IntRange(1, 100_000), default=17, show_default=True, help="How many homes.")
@click.option("--days", type=click.IntRange(1, 300), default=7, show_default=True, help="Days of delivery traded.")
@click.option("--learn", type=click.IntRange(7, 300), default=28, show_default=True, help="Days to learn from before.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all that is drawn.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=True),
    default=Path("out/demo"),
    show_default=True,
    help="Folder for log, history, report and summary; a former demo in it is replaced.",
)
@click.option("--replay/--no-replay", default=True, help="Run all commits again beside it and compare the bytes.")
def demo(*, homes: int, days: int, learn: int, seed: int, out: Path, replay: bool) -> None:
    """Trade real homes' flexibility in a simulated market, dispatch, settle, and run it all again.

    17 homes with measured load, PV and batteries; more are resampled from these. The data (16 MB) is fetched once.
    Ends with 1 if the figures do not add up or the replay gives other bytes.
    """
    from rich.console import Console  # noqa: PLC0415  # heavy, as the rest is: `flexlog --help` is quick

    from demo import homes as measured  # noqa: PLC0415
    from demo.play import play, prepare  # noqa: PLC0415
    from demo.scenario import Plan  # noqa: PLC0415
    from demo.screen import Phases, show  # noqa: PLC0415

    console = Console()
    plan = Plan(homes=homes, days=days, learn=learn, seed=seed)
    prepare(out)
    with Phases(console) as phases:
        with phases.phase("data", "load, PV, batteries") as step:
            data = measured.folder(say=lambda words: step(0.0, words))
        summary = play(plan, out, data, phases, replay=replay, where=str(out))
    show(console, summary, str(out))
    if summary.problems:
        raise SystemExit(1)
