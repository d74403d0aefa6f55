"""flexlog's library: how events flow. It knows nothing of energy."""

import os

# Before polars is imported: with several threads float sums change from run to run.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

from streams.columns import Col, Keyed
from streams.edge import Adapter, Conversation, Edge, Message, Send, Session
from streams.processor import Batch, Context, Emit, Processor, Records, Reject, State, records

__all__ = [
    "Adapter",
    "Batch",
    "Col",
    "Context",
    "Conversation",
    "Edge",
    "Emit",
    "Keyed",
    "Message",
    "Processor",
    "Records",
    "Reject",
    "Send",
    "Session",
    "State",
    "records",
]
