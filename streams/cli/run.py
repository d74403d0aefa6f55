"""``flexlog run``: processors on a cluster, each runner in a process of its own."""

import re
import signal
import socket
from types import FrameType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streams.logs import Form
    from streams.topology import Topology


def ordinal(hostname: str) -> int:
    """A StatefulSet's pod ``settlement-3`` has 3; any other host 0."""
    found = re.fullmatch(r".*-(0|[1-9]\d{0,3})", hostname.partition(".")[0])
    return int(found[1]) if found else 0


@click.command()
@click.argument("names", nargs=-1, metavar="[PROCESSOR]...")
@click.option("--all", "everything", is_flag=True, help="All processors.")
@click.option("--runners", type=click.IntRange(1), default=1, show_default=True, help="Runners of each processor here.")
@click.option(
    "--slot",
    type=click.IntRange(0),
    help="Number of this worker among those of the same processors; no two alike at once.  "
    "[default: N of a hostname that ends in -N, as a StatefulSet's; else 0]",
)
@click.option(
    "--topology",
    envvar="FLEXLOG_TOPOLOGY",
    metavar="MODULE:FUNCTION",
    help="Makes the topology from partitions=…; else all that is installed.",
)
@click.option(
    "--grace", type=click.FloatRange(0), default=5.0, show_default=True, help="Seconds for a handler when it is ended."
)
@click.option(
    "--stuck",
    type=click.FloatRange(1),
    default=300.0,
    show_default=True,
    help="Seconds that a handler may take before /healthz says that the runner is not well.",
)
@click.option("--from", "begin", type=click.Choice(["beginning"]), help="Where a new version of a processor begins.")
@click.option("--shadow", is_flag=True, help="With --from beginning: beside the old version, outputs to shadow.vN.…")
@click.option("--take-over", is_flag=True, help="Go on for all to see from where the old version has ended.")
@click.option("--stop-all", is_flag=True, help="End all when one cannot go on.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How lines are said."
)
@click.pass_context
def run(
    ctx: click.Context,
    names: tuple[str, ...],
    runners: int,
    slot: int | None,
    topology: str | None,
    grace: float,
    stuck: float,
    log_format: "Form",
    begin: str | None,
    *,
    everything: bool,
    shadow: bool,
    take_over: bool,
    stop_all: bool,
) -> None:
    """Run processors on the cluster of FLEXLOG_KAFKA__BOOTSTRAP_SERVERS until SIGTERM or SIGINT.

    Each runner is a process; Kafka's group protocol gives the tasks of a processor to all its runners, wherever they
    are. One that crashes is started again; one that cannot go on says why and is not. A second SIGTERM or SIGINT
    waits for nothing.

    A new version of a processor has a state of its own. Build it from the log beside the old version with
    --from beginning --shadow; compare what it writes to the topics shadow.vN.…; end both, and go on with --take-over.
    Without --shadow a new version would write all its outputs again, from the beginning of the log.

    Exit codes: 0 ended as asked; 1 a runner could not go on.
    """
    from streams import logs
    from streams.kafka.child import load_topology
    from streams.kafka.settings import Settings
    from streams.kafka.worker import Supervisor

    logs.configure(log_format)
    settings = Settings.load()
    chosen = _chosen(names, load_topology(topology, settings.kafka.partitions.by_lane()), everything=everything)
    supervisor = Supervisor(
        topology=topology,
        slot=ordinal(socket.gethostname()) if slot is None else slot,
        runners=runners,
        health_port=settings.kafka.health_port,
        grace_s=grace,
        stuck_s=stuck,
        stop_all=stop_all,
        options=["--start", _start(begin, shadow=shadow, take_over=take_over)],
        tell=logs.Printer(log_format),
    )

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        asked.append(1)

    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    supervisor.start(chosen)
    while not asked and not supervisor.wait(0.2):
        pass
    supervisor.ask()
    while len(asked) < 2 and not supervisor.wait(0.1) and supervisor.patient:
        pass
    ctx.exit(supervisor.stop(at_once=len(asked) > 1))


def _start(begin: str | None, *, shadow: bool, take_over: bool) -> str:
    if shadow and begin is None:
        raise click.UsageError("--shadow goes with --from beginning")
    if take_over and begin is not None:
        raise click.UsageError("--take-over goes on from where the old version has ended; leave out --from")
    return "take-over" if take_over else "shadow" if shadow else begin or "resume"


def _chosen(names: tuple[str, ...], topology: "Topology", *, everything: bool) -> list[str]:
    known = [spec.name for spec in topology.ordered]
    if everything and names:
        raise click.UsageError("name processors or give --all, not both")
    if not everything and not names:
        raise click.UsageError(f"name processors or give --all; there are {', '.join(sorted(known))}")
    for name in names:
        if name not in known:
            raise click.UsageError(f"there is no processor {name!r}; there are {', '.join(sorted(known))}")
    return known if everything else list(dict.fromkeys(names))
