"""``flexlog kafka``: a Kafka cluster and a schema registry on this machine."""

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.errors import StreamsError

if TYPE_CHECKING:
    from streams.kafka.local.cluster import ClusterStatus, LocalCluster

_PORT = click.IntRange(1, 65_535)


@click.group()
def kafka() -> None:
    """Run Kafka and a schema registry on this machine.

    Needs Java 17 or newer, and Maven the first time. A cluster is known by its name; its data, logs and state are in
    a folder of the user's cache.
    """


def _cluster(name: str | None, report: Callable[[str], None] = click.echo) -> "LocalCluster":
    if os.name == "nt":
        raise StreamsError("the local cluster runs on Linux and macOS; on Windows use it within WSL")
    from streams.kafka.local.cluster import DEFAULT, LocalCluster

    return LocalCluster(name or DEFAULT, report=report)


def _as_json(cluster: "LocalCluster", status: "ClusterStatus") -> dict[str, Any]:
    return {**asdict(status), "state": status.state, "environment": cluster.environment()}


def _exports(cluster: "LocalCluster") -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in cluster.environment().items()]


@kafka.command()
@click.option("--name", help="The cluster; several run side by side.  [default: default]")
@click.option("--brokers", type=click.Choice(["1", "3"]), help="As many as it has; 1 for a new cluster.")
@click.option("--port", type=_PORT, help="Of the first broker, the others take the next ones; else free ports.")
@click.option("--registry-port", type=_PORT, help="Of the schema registry; else a free port.")
@click.option("--no-registry", is_flag=True, help="Start no schema registry.")
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Folder for a new cluster's data; else the cache."
)
@click.option("--env", is_flag=True, help='Print the variables alone: eval "$(flexlog kafka up --env)".')
@click.option("--json", "as_json", is_flag=True, help="Print the cluster as JSON.")
def up(
    name: str | None,
    brokers: str | None,
    port: int | None,
    registry_port: int | None,
    data: Path | None,
    *,
    no_registry: bool,
    env: bool,
    as_json: bool,
) -> None:
    """Start a cluster, or what of it does not run; ends when it is ready."""
    quiet = env or as_json
    cluster = _cluster(name, lambda line: click.echo(line, err=quiet))
    cluster.up(
        brokers=int(brokers) if brokers else None,
        registry=not no_registry,
        port=port,
        registry_port=registry_port,
        data=data,
    )
    if as_json:
        click.echo(json.dumps(_as_json(cluster, cluster.status()), indent=1))
        return
    if not quiet:
        click.echo(f"cluster {cluster.name} is up; flexlog uses it with")
    for line in _exports(cluster):
        click.echo(line)


@kafka.command()
@click.option("--name", help="The cluster.  [default: default]")
@click.option("--delete", is_flag=True, help="Delete its topics, schemas and logs as well.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def down(name: str | None, *, delete: bool, as_json: bool) -> None:
    """End a cluster; its data stays unless --delete is given."""
    cluster = _cluster(name)
    known = cluster.name in cluster.names()
    clean = cluster.down(delete=delete)
    if as_json:
        click.echo(json.dumps({"name": cluster.name, "known": known, "clean": clean, "deleted": known and delete}))
    elif not known:
        click.echo(f"there is no cluster {cluster.name}")
    else:
        ended = "is down" if clean else "is down; what did not end by itself was killed"
        click.echo(f"cluster {cluster.name} {ended}{', its data deleted' if delete else ''}")


@kafka.command()
@click.option("--name", help="One cluster; all by default.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(name: str | None, *, as_json: bool) -> None:
    """Show clusters: processes, ports, memory, and since when they run."""
    clusters = [_cluster(each) for each in ([name] if name else _cluster(None).names())]
    found = [(cluster, cluster.status()) for cluster in clusters]
    if as_json:
        click.echo(json.dumps([_as_json(*each) for each in found], indent=1))
        return
    if not found:
        click.echo("there is no cluster; `flexlog kafka up` starts one")
    for cluster, shown in found:
        versions = f"Kafka {shown.versions['kafka']}, Apicurio Registry {shown.versions['registry']}"
        click.echo(f"{shown.name}: {shown.state}, {versions}, in {shown.folder}")
        for each in shown.processes:
            if each.pid is None:
                click.echo(f"  {each.title:<9} port {each.port:<5}  down")
                continue
            answers = "" if each.answers else "  does not answer"
            click.echo(
                f"  {each.title:<9} port {each.port:<5}  pid {each.pid:<8} {each.memory_mb:>5.0f} MB  "
                f"up {_span(each.uptime_s)}{answers}"
            )
        if shown.state != "down":
            for line in _exports(cluster):
                click.echo(f"  {line}")


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
