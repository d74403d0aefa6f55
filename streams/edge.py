"""What an edge declares: a pure conversation beside a thin adapter."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from streams.contracts.record import Record
from streams.processor import Emit, Records

R = TypeVar("R", bound=Record)
W_co = TypeVar("W_co", bound=Record, covariant=True)
S = TypeVar("S", bound="Session")
C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)
S_co = TypeVar("S_co", bound="Session", covariant=True)


class Session(BaseModel):
    """What a conversation remembers. It outlives restarts, so it must be plain data."""

    model_config = ConfigDict(extra="forbid")

    def wake_at(self) -> datetime | None:
        """When `on_wake` is due: a function of what is remembered; None for never."""
        return None


@dataclass(frozen=True)
class Message:
    """Something heard from outside: ``id`` is the sender's own, ``origin`` who sent it."""

    id: str
    body: Any
    origin: str = ""


@dataclass(frozen=True)
class Send:
    """Something to say: ``id`` derives from its cause, so that a repetition is recognised."""

    body: Any
    id: str


class Conversation(Protocol[S_co, C_co]):
    """One conversation at one moment."""

    @property
    def key(self) -> str:
        """Who the conversation is with."""
        ...

    @property
    def session(self) -> S_co:
        """What it remembers; changes to it are kept."""
        ...

    @property
    def now(self) -> datetime:
        """When this was caused, UTC."""
        ...

    @property
    def config(self) -> C_co:
        """The edge's configuration."""
        ...

    def id(self, label: str, /) -> str:
        """A UUIDv5 of what caused this call and ``label``: the same cause, the same id."""
        ...

    def reject(self, message: Message, why: str, /) -> None:
        """Put a message aside with its reason."""
        ...


class Adapter(Protocol):
    """The only impure part of an edge."""

    async def run(self, hear: Callable[[str, Message], Awaitable[None]]) -> None:
        """Listen for ever; hand each message to ``hear(key, message)``."""
        ...

    async def send(self, key: str, send: Send) -> None:
        """Say something to the conversation's other side."""
        ...


def _no_keys() -> dict[type[Record], str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Edge(Generic[S, C, R, W_co]):
    """An edge: what it reads and writes, what a conversation remembers, and the functions that make it.

    Args:
        name: the folder's name.
        version: rises when sessions change their shape.
        session: what a conversation remembers.
        writes: topics that edges write.
        reads: topics whose events it answers.
        key: the conversation an event belongs to: a field's name, the same for all records or one a record.
            A value ``"=name"`` stands for the one conversation called ``name``.
        keys: conversations that exist from the start.
        config: a frozen pydantic model.
        adapter: makes the impure part; None for a simulator.
    """

    name: str
    version: int
    session: type[S]
    writes: Records[W_co]
    reads: Records[R] = field(default_factory=Records)
    key: str | Mapping[type[Record], str] = field(default_factory=_no_keys)
    keys: tuple[str, ...] = ()
    config: C | None = None
    adapter: Callable[[], Adapter] | None = None
    on_message: Callable[[Conversation[S, C], Message], Iterable[Emit[W_co] | Send] | None] | None = None
    on_event: Callable[[Conversation[S, C], R], Iterable[Emit[W_co] | Send] | None] | None = None
    on_wake: Callable[[Conversation[S, C]], Iterable[Emit[W_co] | Send] | None] | None = None
