"""``flexlog sink``: the history's worker on a cluster."""

import click


@click.command()
@click.option("--once", is_flag=True, help="End when all that is there has been brought.")
def sink(*, once: bool) -> None:
    """Bring every topic from the cluster into ClickHouse, and then what comes, until it is stopped.

    The cluster is that of FLEXLOG_KAFKA__..., the registry that of FLEXLOG_REGISTRY__..., the history that of
    FLEXLOG_CLICKHOUSE__... Two sinks at once do no harm: each row is there once for a reader.
    """
    import logging
    import signal

    from streams.contracts import Contracts
    from streams.kafka.settings import Settings
    from streams.kafka.sinking import SinkWorker

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    worker = SinkWorker(Settings.load(), Contracts.installed())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    worker.run(once=once)
    click.echo(f"{sum(worker.rows.values()):,} rows of {len(worker.rows)} topics brought", err=True)
