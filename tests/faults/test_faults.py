"""Nothing is lost and nothing doubled, whoever dies when. The long form is ``python -m tests.faults.soak``."""

import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from streams.kafka.local.cluster import LocalCluster
from tests.faults.chaos import Chaos
from tests.faults.deployment import BROKERS, Deployment
from tests.faults.proof import prove
from tests.faults.worker import POINTS, REJOINED, REVOKED

SEED = os.environ.get("FAULTS_SEED") or str(random.SystemRandom().randrange(10**6))


@pytest.fixture(scope="module")
def three(kafka_parts: None) -> Iterator[LocalCluster]:
    with LocalCluster.temporary(brokers=3, settings=BROKERS) as running:
        yield running


def workers(chaos: Chaos) -> None:
    chaos.kill_at_points(*POINTS[:4])
    chaos.kill_at_points(*POINTS[4:])
    chaos.kill_at_a_point(REVOKED, chaos.workers("hours")[0])
    chaos.kill_all()


def zombies(chaos: Chaos) -> None:
    chaos.sleep_and_come_back("begin", "before_commit")
    chaos.sleep_and_come_back(REJOINED, "offsets_sent")


def open_transactions_and_no_registry(chaos: Chaos) -> None:
    chaos.foreign_open_transaction()
    chaos.die_with_an_open_transaction()
    chaos.kill_the_registry()


def brokers(chaos: Chaos) -> None:
    chaos.kill_a_broker(chaos.coordinator(), go_on_without=True)
    chaos.kill_at_random()
    chaos.fill_a_disk()


CASES = [workers, zombies, open_transactions_and_no_registry, brokers]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_nothing_is_lost_and_nothing_doubled(
    three: LocalCluster, tmp_path: Path, case: Callable[[Chaos], None]
) -> None:
    chaos = holds(three, tmp_path, case, transaction_s=12 if case is open_transactions_and_no_registry else 4)
    assert chaos.kills or case is zombies


@pytest.mark.skipif(os.environ.get("FAULTS") != "all", reason="a cluster of its own: FAULTS=all")
def test_a_full_disk_of_the_only_broker_is_waited_out(kafka_parts: None, tmp_path: Path) -> None:
    with LocalCluster.temporary(settings=BROKERS) as one:
        holds(one, tmp_path, Chaos.fill_the_only_disk)


def holds(cluster: LocalCluster, folder: Path, case: Callable[[Chaos], None], *, transaction_s: int = 4) -> Chaos:
    """Run the plant while something disturbs it, and prove that it does no harm."""
    print(f"FAULTS_SEED={SEED}")  # noqa: T201 -- pytest shows it where the test fails
    begin = time.monotonic()
    with Deployment(cluster, folder, transaction_s=transaction_s) as deployment:
        chaos = Chaos(deployment, f"{SEED}/{case.__name__}", print)

        def disturb() -> None:
            deployment.await_progress()
            case(chaos)
            deployment.await_progress()

        until = deployment.go_on(disturb, least=timedelta(hours=2))
        disturbed = time.monotonic()
        found = prove(deployment, until)
    assert not chaos.unrefused
    assert found.inputs > 0 < found.outputs
    print(f"{disturbed - begin:.1f} + {time.monotonic() - disturbed:.1f} s, {found}, {dict(deployment.counts)}")  # noqa: T201
    return chaos
