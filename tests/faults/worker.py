"""A runner that sends itself a signal when it comes to a chosen point for the n-th time.

``python -m tests.faults.worker PROCESSOR SLOT [POINT:N:SIGNAL]``; the cluster is in the environment. With
``open-transaction TOPIC PARTITION`` it is a foreign producer that dies with a transaction open. SIGUSR1 makes it write
where its threads are.
"""

import faulthandler
import os
import signal
import sys
import time
from typing import Any

POINTS = ("begin", "append", "flush", "before_commit", "offsets_sent", "after_commit", "restore", "assigned")
"""Before the transaction begins; while outputs are produced; before they are waited for; when all is produced and the
positions are not sent; when these are sent and nothing is committed; after the commit; in a restore; in a rebalance."""
REVOKED = "revoked"
"""In a rebalance that takes tasks away; somebody must come for that."""
REJOINED = "rejoined"
"""Before the transaction begins, and after a stop not before the group has this process as a member again: it holds a
batch of a task that it had, and the proof of a membership that is good."""
WOKE = "--- woke"
_LONG_S = 60


def haunt(point: str, nth: int, number: int) -> None:
    """Let this process get a signal at a point."""
    from streams.kafka.log import KafkaLog
    from streams.kafka.membership import Membership
    from streams.kafka.runner import Runner
    from streams.kafka.writing import KafkaTransaction

    seen = joined = 0
    where = "begin" if point == REJOINED else point

    def reached(here: str) -> None:
        nonlocal seen, joined
        joined += here == "assigned"
        if here == where:
            seen += 1
            if seen == nth:
                time.sleep(0.1)  # what was produced has left the client
                before, end = joined, time.monotonic() + _LONG_S
                os.kill(os.getpid(), number)
                while point == REJOINED and joined == before and time.monotonic() < end:
                    time.sleep(0.01)
                sys.stderr.write(f"{WOKE} at {point}\n")

    def before(kind: Any, name: str, here: Any) -> None:
        real = getattr(kind, name)

        def wrapped(self: Any, *args: Any) -> Any:
            reached(here(*args))
            return real(self, *args)

        assert callable(real)
        setattr(kind, name, wrapped)

    before(KafkaLog, "reach", lambda at: at)
    before(KafkaTransaction, "_do", lambda _, what: "offsets_sent" if what == "commit" else "")
    before(Runner, "_restored", lambda *_: "restore")
    before(Membership, "_assigned", lambda *_: "assigned")
    before(Membership, "_revoked", lambda *_: REVOKED)


def leave_open(topic: str, partition: int) -> None:
    """Begin, produce, die."""
    from streams.kafka.log import KafkaLog
    from streams.kafka.settings import Settings

    log = KafkaLog(Settings.load().kafka)
    transaction = log.transaction(f"foreign-{os.getpid()}")
    transaction.append(topic, partition, [b"site-1"] * 5, [b"\x01never committed"] * 5)
    transaction.flush()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)
    name, slot, *rest = sys.argv[1:]
    if name == "open-transaction":
        leave_open(slot, int(rest[0]))
    if rest:
        where, nth, number = rest[0].split(":")
        haunt(where, int(nth), getattr(signal, f"SIG{number}"))
    from streams.kafka import child

    child.leave(child.main([name, "--slot", slot, "--topology", "tests.faults.plant:topology"]))
