"""The demo's chain as a deployment: what its workers run, and the variables that tell them of it."""

import os
from collections.abc import Mapping
from pathlib import Path

from demo.scenario import Plan, topology
from streams.contracts.topic import Lane
from streams.errors import StreamsError
from streams.topology import Topology

TOPOLOGY = "demo.deployment:deployed"
"""What makes it, as a worker takes it."""
PLAN, DATA = "FLEXLOG_DEMO_PLAN", "FLEXLOG_DEMO_DATA"
"""Variables: the plan as JSON, and the folder with the measured year."""
_SESSION_MS = 3_000
"""After this long a killed worker's tasks are given out again: short, for all runs on one machine."""
BROKER = {"group.min.session.timeout.ms": str(_SESSION_MS)}
"""Settings that the broker needs for it."""


def deployed(partitions: Mapping[Lane, int]) -> Topology:
    """Return the demo's chain as the environment has it.

    Raises:
        StreamsError: The variables are not set.
    """
    if missing := [name for name in (PLAN, DATA) if name not in os.environ]:
        raise StreamsError(f"the demo's chain needs {' and '.join(missing)}; `flexlog demo-kafka` sets them")
    return topology(Plan.model_validate_json(os.environ[PLAN]), Path(os.environ[DATA]), partitions)


def variables(
    plan: Plan, data: Path, history: Path, cluster: Mapping[str, str], partitions: Mapping[Lane, int]
) -> dict[str, str]:
    """Return the variables by which workers find plan, data, cluster and history.

    Args:
        plan: The run.
        data: Folder with the measured year.
        history: Folder for the workers' histories, each in one of its own.
        cluster: The variables of the cluster and its registry.
        partitions: How many partitions the topics of each lane have.
    """
    prefix = "FLEXLOG_KAFKA__"
    counts = {f"{prefix}PARTITIONS__{lane.upper()}": str(count) for lane, count in partitions.items()}
    return {
        **cluster,
        **counts,
        f"{prefix}REPLICATION_FACTOR": "1",
        f"{prefix}SESSION_TIMEOUT_MS": str(_SESSION_MS),
        "FLEXLOG_CLICKHOUSE__INTERFACE": "chdb",
        "FLEXLOG_CLICKHOUSE__PATH": str(history),
        PLAN: plan.model_dump_json(),
        DATA: str(data),
        "POLARS_MAX_THREADS": "1",
    }
