"""Whether the processes of a local cluster do their work, and why they do not."""

import http.client
from pathlib import Path

from streams.kafka.local import process
from streams.kafka.local.state import BROKER, Member

REGISTRY_PATH = "/apis/ccompat/v7"
_ASK_S = 2.0


def answers(member: Member, brokers: set[int]) -> bool:
    """Whether a process does its work: a broker knows a controller and these brokers, the registry lists subjects."""
    if member.role == BROKER:
        found = metadata(member.port, _ASK_S)
        return found is not None and found[1] >= 0 and {member.number, *brokers} <= found[0]
    asked = http.client.HTTPConnection(process.HOST, member.port, timeout=_ASK_S)
    try:
        asked.request("GET", f"{REGISTRY_PATH}/subjects")
        return asked.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()


def metadata(port: int, timeout_s: float) -> tuple[set[int], int] | None:
    """The brokers that one broker knows, and the controller it names (-1: none); None where it does not answer."""
    from confluent_kafka import KafkaException  # noqa: PLC0415  # not needed to stop a cluster
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415

    if process.is_free(port):  # the client would wait for somebody to listen
        return None
    # A new client each time: one that knows the cluster would ask any broker of it.
    admin = AdminClient({"bootstrap.servers": f"{process.HOST}:{port}", "log_level": 0})
    try:
        found = admin.list_topics(timeout=timeout_s)
    except KafkaException:
        return None
    return set(found.brokers), found.controller_id


def why(member: Member) -> str:
    """Where to look when a process failed, and the line there that says most: the end of an error message."""
    line = process.complaint(Path(member.log), member.since)
    return f"; see {member.log}: {line}" if line else f"; see {member.log}"
