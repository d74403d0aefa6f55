"""The long form: ``python -m tests.faults.soak --kills 200 --seed 7`` kills until so many have died, and proves it.

Rounds have a deployment of their own each; after each the cuts, the replay and the world are compared.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from streams.kafka.local.cluster import LocalCluster
from tests.faults.chaos import Chaos
from tests.faults.deployment import BROKERS, Deployment
from tests.faults.proof import Proof, prove

_A_ROUND = 25


def say(line: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stdout.flush()


def a_round(cluster: LocalCluster, seed: str, kills: int) -> tuple[Counter[str], Proof]:
    """So many kills, and the proof.

    Raises:
        Exception: something was lost, doubled or stood still; the folder with the workers' logs stays.
    """
    folder = Path(tempfile.mkdtemp(prefix="flexlog-faults-"))
    say(f"round {seed}, logs in {folder}")
    patience = random.Random(seed).choice([4, 10])
    with Deployment(cluster, folder, transaction_s=patience) as deployment:
        chaos = Chaos(deployment, seed, say)

        def disturb() -> None:
            deployment.await_progress()
            while chaos.kills < kills:
                chaos.one_of_all()
                deployment.await_progress()

        until = deployment.go_on(disturb, least=timedelta(hours=3))
        found = prove(deployment, until)
    assert not chaos.unrefused, chaos.unrefused
    say(f"round {seed} holds up to {until:%d %H:%M}: {found}")
    return deployment.counts, found


def main() -> int:
    """Run rounds; the summary as JSON, and 0 where all held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--out", type=Path, help="file for the summary")
    given = parser.parse_args()
    say(f"--kills {given.kills} --seed {given.seed}")
    begin, counts, rounds = time.monotonic(), Counter[str](), list[Proof]()
    with LocalCluster.temporary(brokers=3, settings=BROKERS, report=say) as cluster:
        while (killed := _killed(counts)) < given.kills:
            kills = min(_A_ROUND, given.kills - killed)
            found, proof = a_round(cluster, f"{given.seed}/{len(rounds)}", kills)
            counts += found
            rounds.append(proof)
    told = {
        "seed": given.seed,
        "kills": _killed(counts),
        "rounds": len(rounds),
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "commits": sum(proof.commits for proof in rounds),
        "inputs": sum(proof.inputs for proof in rounds),
        "outputs": sum(proof.outputs for proof in rounds),
        "faults": dict(sorted(counts.items())),
    }
    text = json.dumps(told, indent=2)
    say(text)
    if given.out:
        given.out.write_text(f"{text}\n", encoding="utf-8")
    return 0


def _killed(counts: Counter[str]) -> int:
    return sum(count for what, count in counts.items() if what.startswith("killed"))


if __name__ == "__main__":
    sys.exit(main())
