"""One run from the first reading to the report."""

import json
import resource
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from zoneinfo import ZoneInfo

from demo import facts, report
from demo.facts import Traded
from demo.following import FollowingReplay
from demo.scenario import Plan, topology
from demo.screen import Phases, Step
from demo.summary import Summary, finished, summarise
from streams.errors import StreamsError
from streams.hosts.local import LocalHost
from streams.hosts.log import count

MARK = "demo.json"
"""What tells a demo's folder from others: the plan that it was made by."""
_SETTLE = timedelta(days=2, hours=6)
"""After the last traded day: the latest readings come 28 hours late, what they change is stated a day after that."""
_MOST_SETTLING = timedelta(days=7)


class DemoError(StreamsError):
    """The demo cannot be run as asked."""


def prepare(out: Path) -> None:
    """Make an empty folder; a former demo's is emptied.

    Raises:
        DemoError: It holds something else, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise DemoError(f"{out} is a file; give the demo a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).exists():
        raise DemoError(f"{out} is not empty and holds no demo (no {MARK} in it); give another --out")
    try:
        for name in ("log", "history", "pictures"):
            if (out / name).exists():
                shutil.rmtree(out / name)
        for name in ("report.html", "summary.json", MARK):
            (out / name).unlink(missing_ok=True)
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"{out} cannot be written: {error.strerror}; give another --out") from None


def play(plan: Plan, out: Path, data: Path, phases: Phases, *, replay: bool, where: str) -> Summary:
    """Run the demo into a folder.

    Args:
        plan: What to play.
        out: The folder, prepared.
        data: Folder with the measured year.
        phases: Where progress is shown.
        replay: Whether another process runs all commits again, beside this one.
        where: The folder as a person types it, for the report.

    Returns:
        The run's figures, as written to ``summary.json``.
    """
    begin = perf_counter()
    (out / MARK).write_text(json.dumps({"flexlog": "demo", **plan.model_dump()}, indent=2) + "\n", encoding="utf-8")
    traded = plan.traded
    with ExitStack() as stack:
        with LocalHost(topology(plan, data), start=plan.start, folder=out) as host:
            following = stack.enter_context(FollowingReplay(out)) if replay else None
            with phases.phase("learn", "starting") as step:
                host.run(traded.since, _dated(step, plan.start, traded.since, traded))
            with phases.phase("trade") as step:
                host.run(traded.until, _dated(step, traded.since, traded.until, traded))
            _settle(host, traded, phases)
            with phases.phase("report", "summary, pictures") as step:
                query = host.history().query
                summary = summarise(query, traded, rejected=rejected(host))
                step(0.3, "")
                pictures = report.draw(query, traded, summary)
                step(0.9, "")
            commits = host.commits()
        outcome = None
        if following is not None:
            with phases.phase("replay") as step:
                outcome = following.finish(commits, step)
    summary = finished(
        summary,
        commits=commits,
        outcome=outcome,
        phases=phases.seconds,
        seconds=perf_counter() - begin,
        memory_mb=_memory_mb(),
    )
    (out / "summary.json").write_text(summary.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (out / "report.html").write_text(report.page(pictures, summary, where), encoding="utf-8")
    (out / "pictures").mkdir(exist_ok=True)
    for name, picture in pictures.files():
        (out / "pictures" / f"{name}.svg").write_text(report.standalone(picture), encoding="utf-8")
    return summary


def _dated(step: Step, since: datetime, until: datetime, traded: Traded) -> Callable[[datetime], None]:
    """Say the simulated local date beside the bar."""
    zone, span = ZoneInfo(traded.timezone), (until - since).total_seconds()

    def said(now: datetime) -> None:
        local = now.astimezone(zone)
        step((now - since).total_seconds() / span, f"{local:%a} {local.day} {local:%b %Y %H:%M}")

    return said


def _settle(host: LocalHost, traded: Traded, phases: Phases) -> None:
    """Let time pass without trade until all is settled and stated."""
    since, until = traded.until, traded.until + _SETTLE
    while True:
        with phases.phase("settle") as step:
            host.run(until, _dated(step, since, until, traded))
        with phases.phase("history") as step:
            _fill(host, step)
        query = host.history().query
        unequal = facts.accounts(query).filter(facts.UNEQUAL).height
        if (facts.settled_until(query) >= traded.until and not unequal) or until >= traded.until + _MOST_SETTLING:
            return
        since, until = until, until + timedelta(days=1)


def _fill(host: LocalHost, step: Step) -> None:
    """Bring everything into the history."""
    topics = list(host.topology.contracts.topics)
    host.fill_history(lambda topic: step(topics.index(topic) / len(topics), topic))


def rejected(host: LocalHost) -> int:
    """Count the records in all rejected topics, which are no part of the history."""
    contracts = host.topology.contracts
    return sum(count(host.log, contracts.rejected(topic).name) for topic in contracts.topics.values())


def _memory_mb() -> float:
    """The most memory that this process and the replay beside it have had, added."""
    most = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most / (1 << 20) if sys.platform == "darwin" else most / 1024
