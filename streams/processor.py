"""What a data engineer declares: a processor is a pure function from (state, batch of events) to events."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar, overload

import polars as pl
from pydantic import BaseModel

from streams.columns import Keyed
from streams.contracts.record import Record

R = TypeVar("R", bound=Record)
R_co = TypeVar("R_co", bound=Record, covariant=True)
R_contra = TypeVar("R_contra", bound=Record, contravariant=True)
W_co = TypeVar("W_co", bound=Record, covariant=True)
C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)
A1 = TypeVar("A1", bound=Record)
A2 = TypeVar("A2", bound=Record)
A3 = TypeVar("A3", bound=Record)
A4 = TypeVar("A4", bound=Record)
A5 = TypeVar("A5", bound=Record)
A6 = TypeVar("A6", bound=Record)
A7 = TypeVar("A7", bound=Record)
A8 = TypeVar("A8", bound=Record)


@dataclass(frozen=True)
class Records(Generic[R_co]):
    """Names of topics, typed as the union of their records. Made by `records`."""

    types: tuple[type[Record], ...] = ()


@overload
def records(a: type[A1], /) -> Records[A1]: ...
@overload
def records(a: type[A1], b: type[A2], /) -> Records[A1 | A2]: ...
@overload
def records(a: type[A1], b: type[A2], c: type[A3], /) -> Records[A1 | A2 | A3]: ...
@overload
def records(a: type[A1], b: type[A2], c: type[A3], d: type[A4], /) -> Records[A1 | A2 | A3 | A4]: ...
@overload
def records(a: type[A1], b: type[A2], c: type[A3], d: type[A4], e: type[A5], /) -> Records[A1 | A2 | A3 | A4 | A5]: ...
@overload
def records(
    a: type[A1], b: type[A2], c: type[A3], d: type[A4], e: type[A5], f: type[A6], /
) -> Records[A1 | A2 | A3 | A4 | A5 | A6]: ...
@overload
def records(
    a: type[A1], b: type[A2], c: type[A3], d: type[A4], e: type[A5], f: type[A6], g: type[A7], /
) -> Records[A1 | A2 | A3 | A4 | A5 | A6 | A7]: ...
@overload
def records(
    a: type[A1], b: type[A2], c: type[A3], d: type[A4], e: type[A5], f: type[A6], g: type[A7], h: type[A8], /
) -> Records[A1 | A2 | A3 | A4 | A5 | A6 | A7 | A8]: ...
def records(*types: type[Record]) -> Records[Any]:
    """Name the topics of one to eight records, so that mypy knows their union."""
    return Records(types)


@dataclass(frozen=True)
class Emit(Generic[W_co]):
    """Events to write: a frame with the record's columns, or a list of events.

    Columns that the record lets be null may be left out of a frame. Key and partition follow from the topic.
    """

    record: type[W_co]
    rows: pl.DataFrame | Sequence[W_co]


@dataclass(frozen=True)
class Reject:
    """Rows of this batch that cannot be used, to ``<topic>.rejected`` with their position.

    ``rows`` must keep the batch's ``_partition`` and ``_offset`` columns.
    """

    record: type[Record]
    rows: pl.DataFrame
    reason: str


class Batch(Protocol[R_contra]):
    """What a task consumes at once: one frame a topic, in offset order.

    Beside the record's columns a frame has ``_partition``, ``_offset`` and ``_appended_at``.
    """

    def __getitem__(self, record: type[R_contra], /) -> pl.DataFrame:
        """The batch's rows of one record; empty where there are none."""
        ...


class State(Protocol):
    """Typed keyed columns of one task. Rows that are put are the changelog."""

    def get(self, rows: pl.DataFrame, *, suffix: str = "") -> pl.DataFrame:
        """``rows`` with the known values of their keys, null where there are none.

        Value columns get ``suffix``; one that is already in ``rows`` under that name is an error.
        """
        ...

    def put(self, rows: pl.DataFrame) -> None:
        """Insert or replace whole rows. Further columns are ignored; a duplicate key is an error."""
        ...

    def delete(self, keys: pl.DataFrame) -> None:
        """Remove rows by key; keys that are not there are ignored."""
        ...

    def expire(self, before: datetime) -> None:
        """Remove all rows whose ``expires`` column is earlier: one range tombstone in the changelog."""
        ...

    def scan(self, where: pl.Expr | None = None) -> pl.DataFrame:
        """All rows (that match), ordered by key."""
        ...

    def changed(self) -> pl.DataFrame:
        """Rows put since the last tick and still there, ordered by key."""
        ...

    def __len__(self) -> int: ...


class Context(Protocol[C_co]):
    """What a handler may know: configuration, time as the task's newest tick, state, tables, history."""

    @property
    def config(self) -> C_co:
        """The processor's configuration."""
        ...

    @property
    def now(self) -> datetime:
        """The newest tick of this task, UTC."""
        ...

    @property
    def since(self) -> datetime:
        """The tick before `now`; at the first tick the same as `now`."""
        ...

    @property
    def partition(self) -> int:
        """The task's partition."""
        ...

    def state(self, keyed: type[Keyed], /) -> State:
        """The task's rows of one class of state."""
        ...

    def table(self, record: type[Record], /) -> pl.DataFrame:
        """The newest row of every identity, as of the tick, ordered by identity."""
        ...

    def watermark(self, record: type[Record], /, *, previous: bool = False) -> datetime:
        """All effects of what happened before this are in (``previous``: as it was at the tick before)."""
        ...

    def hold(self, until: datetime, /) -> None:
        """Keep the watermark that this tick reports downstream at ``until`` or earlier."""
        ...

    def history(
        self,
        record: type[Record],
        /,
        *,
        since: datetime,
        until: datetime,
        keys: Sequence[str] | None = None,
        latest: bool = True,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Rows whose topic ``time`` is in [since, until), as of the tick, ordered by identity.

        ``keys`` limits to these Kafka keys; ``latest`` keeps the newest row of each identity; ``columns`` brings
        only these, which is cheaper where a topic is wide.
        """
        ...


def _no_delays() -> dict[type[Record], timedelta]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Processor(Generic[C, R, W_co]):
    """A processor: what it reads and writes, what it remembers, and the two functions that make it.

    Args:
        name: the folder's name.
        version: rises when its results change for the same input; its state is then built anew.
        reads: topics of one lane; a task gets one partition of each as batches.
        writes: topics that only this processor writes.
        tables: whole topics, seen as the newest row of each identity; never in the batch.
        keep: how long a table keeps what is over (``valid_to`` or ``period_end`` before the tick); others for ever.
        delayed: tables as they were that long before the tick; they wait for nobody.
        history: topics that are read back from the history.
        state: classes of state.
        on_batch: collects; may emit what is a plain function of the batch.
        on_tick: decides.
        every: granularity of its time: only the first tick of each such span is due.
        config: a frozen pydantic model.
        single: one task over all partitions.
    """

    name: str
    version: int
    writes: Records[W_co]
    reads: Records[R] = field(default_factory=Records)
    tables: Records[Record] = field(default_factory=Records)
    keep: Mapping[type[Record], timedelta] = field(default_factory=_no_delays)
    delayed: Mapping[type[Record], timedelta] = field(default_factory=_no_delays)
    history: Records[Record] = field(default_factory=Records)
    state: tuple[type[Keyed], ...] = ()
    on_batch: Callable[[Context[C], Batch[R]], Iterable[Emit[W_co] | Reject] | None] | None = None
    on_tick: Callable[[Context[C]], Iterable[Emit[W_co]] | None] | None = None
    every: timedelta = timedelta(minutes=1)
    config: C | None = None
    single: bool = False

    def __post_init__(self) -> None:
        """Refuse a configuration that is no frozen pydantic model."""
        if self.config is not None and not (
            isinstance(self.config, BaseModel) and self.config.model_config.get("frozen")
        ):
            raise TypeError(f"processor {self.name}: config must be a frozen pydantic model")
