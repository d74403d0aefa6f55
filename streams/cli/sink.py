"""``flexlog sink``: the history's worker on a cluster."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from streams.logs import Form


@click.command()
@click.option("--once", is_flag=True, help="End when all that is there has been brought.")
@click.option(
    "--topology",
    envvar="FLEXLOG_TOPOLOGY",
    metavar="MODULE:FUNCTION",
    help="Makes the topology from partitions=…, whose topics are brought; else those that are installed.",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How lines are said."
)
def sink(topology: str | None, log_format: "Form", *, once: bool) -> None:
    """Bring every topic from the cluster into ClickHouse, and then what comes, until it is stopped.

    The cluster is that of FLEXLOG_KAFKA__..., the registry that of FLEXLOG_REGISTRY__..., the history that of
    FLEXLOG_CLICKHOUSE__... What is away is waited for. Two sinks at once do no harm: each row is there once for a
    reader. /healthz, /readyz and /metrics are at FLEXLOG_CLICKHOUSE__HEALTH_PORT.

    A second SIGTERM or SIGINT waits for nothing; nothing is lost.
    """
    import os
    import signal
    from contextlib import ExitStack

    from streams import logs
    from streams.contracts import Contracts
    from streams.kafka.child import load_topology
    from streams.kafka.settings import Settings
    from streams.kafka.sinking import SinkView, SinkWorker
    from streams.observe import Pages

    logs.configure(log_format, lambda: {"processor": SinkView.name})
    settings = Settings.load()
    if topology is None:
        contracts = Contracts.installed()
    else:
        contracts = load_topology(topology, settings.kafka.partitions.by_lane()).contracts
    worker = SinkWorker(settings, contracts)
    asked: list[int] = []

    def ask(*_: object) -> None:
        asked.append(1)
        if len(asked) > 1:
            os._exit(1)
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    with ExitStack() as pages:
        if settings.clickhouse.health_port and not once:
            view, held = SinkView(worker), settings
            pages.enter_context(Pages(view, host=held.kafka.health_host, port=held.clickhouse.health_port))
        worker.run(once=once)
    click.echo(f"{sum(worker.rows.values()):,} rows of {len(worker.rows)} topics brought", err=True)
