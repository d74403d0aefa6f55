"""History: one ClickHouse table a topic, written by the sink, read as of a cut."""

from streams.history.sink import Sink
from streams.history.store import History

__all__ = ["History", "Sink"]
