"""State of one class, as a processor sees it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from streams.columns import UTC_MICROS, Keyed
from streams.errors import StateError
from streams.state.arena import Arena
from streams.state.changelog import Change, Op
from streams.state.conform import duplicate, has_columns, key_columns, whole_rows
from streams.state.index import Keys

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO: Final = timedelta(microseconds=1)
_KEPT: Final = 10_000
"""Up to so many rows the ordered frame is kept until something changes."""

_ROW_BY_ROW: Final = frozenset(
    {"Not", "IsNull", "IsNotNull", "IsNan", "IsNotNan", "IsFinite", "IsInfinite", "IsBetween", "IsIn"}
    | {"AllHorizontal", "AnyHorizontal"}
)


class KeyedState:
    """Implements `streams.processor.State` on an arena, and records what happens to it."""

    def __init__(self, keyed: type[Keyed], record: Callable[[Change], None]) -> None:
        """State of a class; every change is handed to ``record``."""
        if keyed.__expires__ is not None and keyed.__columns__[keyed.__expires__] != UTC_MICROS:
            raise StateError(f"state {keyed.__name__}: expires={keyed.__expires__!r} must be a datetime column")
        self.keyed = keyed
        self.arena = Arena(keyed)
        self._record = record
        self._key = list(keyed.__key__)
        self._values = [name for name in keyed.__columns__ if name not in keyed.__key__]
        self._empty = pl.DataFrame(schema=keyed.__columns__)
        self._ordered = self._empty
        self._ordered_at = 0

    def __len__(self) -> int:
        return self.arena.live

    def get(self, rows: pl.DataFrame, *, suffix: str = "") -> pl.DataFrame:
        """``rows`` with the values of their keys, null where there are none (or a key is null).

        Args:
            rows: has the key columns; order, further columns and duplicates stay.
            suffix: is added to the names of the value columns.

        Raises:
            StateError: a key column is missing or of another type, or a value column's name is taken.
        """
        names = [name + suffix for name in self._values]
        if taken := set(names).intersection(rows.columns):
            listed = ", ".join(sorted(taken))
            raise StateError(f"state {self.keyed.__name__}: get would add {listed}, which the rows have; give a suffix")
        if rows.is_empty():
            has_columns(self.keyed, rows, self._key)
            return rows.hstack([self._empty.get_column(name).alias(name + suffix) for name in self._values])
        keys = key_columns(self.keyed, rows)
        found = self.arena.take(self.arena.find(keys), self._values)
        return rows.hstack([column.alias(name) for column, name in zip(found, names, strict=True)])

    def put(self, rows: pl.DataFrame) -> None:
        """Insert or replace whole rows; further columns are ignored, nullable ones may be left out.

        Raises:
            StateError: a column is missing, has another type, or is null where it may not be; a key occurs twice,
                or is NaN or infinite. Nothing is put then.
        """
        if rows.is_empty():
            has_columns(self.keyed, rows, self._empty.columns)
        else:
            self._put(whole_rows(self.keyed, rows))

    def _put(self, frame: pl.DataFrame) -> None:
        keys = Keys([frame.get_column(name) for name in self._key])
        if not self.arena.put(frame, keys):
            raise duplicate(self.keyed, keys)
        self._record(Change(Op.PUT, self.keyed, frame))

    def delete(self, keys: pl.DataFrame) -> None:
        """Remove rows by key; further columns, and keys that are not there, are ignored."""
        found = self.arena.find(key_columns(self.keyed, keys))
        rows = np.unique(found[found > 0])
        if len(rows):
            gone = pl.DataFrame(self.arena.take(rows, self._key))
            self.arena.kill(rows)
            self._record(Change(Op.DELETE, self.keyed, gone))

    def expire(self, before: datetime) -> None:
        """Remove all rows whose ``expires`` column is earlier; null never is.

        Raises:
            StateError: the class declares no ``expires``, or ``before`` has no time zone.
        """
        if self.keyed.__expires__ is None:
            raise StateError(f"state {self.keyed.__name__} declares no expires column")
        if before.tzinfo is None:
            raise StateError(f"state {self.keyed.__name__}: expire({before}) has no time zone")
        self._expire((before - _EPOCH) // _MICRO)

    def _expire(self, before: int) -> None:
        if self.arena.expire(before):
            self._record(Change(Op.EXPIRE, self.keyed, before=before))

    def scan(self, where: pl.Expr | None = None) -> pl.DataFrame:
        """All rows (that match), ordered by key.

        A condition may look at other rows (``Open.wh == Open.wh.max()``); it sees the living ones, ordered by key.
        """
        if not self.arena.live:
            return self._empty.clone()
        if where is None:
            return self._all().clone()
        try:
            if self.arena.live > _KEPT and _is_row_by_row(where):
                return self._some(where)
            return self._all().filter(where)
        except pl.exceptions.PolarsError as error:
            text = str(error).split("\n", 1)[0]
            raise StateError(f"state {self.keyed.__name__}: scan cannot evaluate its condition: {text}") from error

    def changed(self) -> pl.DataFrame:
        """Rows put since the last tick and still there, ordered by key."""
        rows = self.arena.changed()
        if not len(rows):
            return self._empty.clone()
        return self.arena.ordered(rows)

    def apply(self, change: Change) -> None:
        """Do again what a changelog says."""
        if change.op is Op.EXPIRE:
            self._expire(change.before)
        elif change.rows is not None and change.op is Op.PUT:
            self._put(change.rows)
        elif change.rows is not None:
            self.delete(change.rows)

    def _all(self) -> pl.DataFrame:
        if self._ordered_at == self.arena.version:
            return self._ordered
        frame = self.arena.ordered(self.arena.rows())
        if frame.height <= _KEPT:
            self._ordered, self._ordered_at = frame, self.arena.version
        return frame

    def _some(self, where: pl.Expr) -> pl.DataFrame:
        """Rows by a condition that sees one row only: the other columns of rows that do not match stay untouched."""
        try:
            rows = self.arena.select(where)
        except pl.exceptions.PolarsError:  # it may be a dead row that it fails on
            return self._all().filter(where)
        return self.arena.ordered(rows)


def _is_row_by_row(where: pl.Expr) -> bool:
    """Whether a condition surely depends on nothing but the row: not on order, nor on other rows.

    ``Expr.meta.is_row_separable`` says so of aggregates and shifts too (polars 2.1), so known nodes are listed.
    """
    try:
        tree = json.loads(where.meta.serialize(format="json"))
    except (pl.exceptions.PolarsError, ValueError, TypeError, ImportError):
        return False
    return _row_by_row(tree)


def _row_by_row(node: Any) -> bool:
    match node:
        case {"Column": str()} | {"Literal": {"Scalar": _} | {"Dyn": _}}:
            return True
        case {"BinaryExpr": {"left": left, "right": right}}:
            return _row_by_row(left) and _row_by_row(right)
        case {"Cast": {"expr": inner}}:
            return _row_by_row(inner)
        case {"Ternary": {"predicate": one, "truthy": two, "falsy": three}}:
            return _row_by_row(one) and _row_by_row(two) and _row_by_row(three)
        case {"Function": {"input": list(inputs), "function": function}}:
            return _known(function) and all(map(_row_by_row, inputs))
    return False


def _known(function: Any) -> bool:
    match function:
        case "FillNull" | "Abs" | {"TemporalExpr": _}:
            return True
        case {"Boolean": str(name)}:
            return name in _ROW_BY_ROW
        case {"Boolean": dict(options)}:
            return _ROW_BY_ROW.issuperset(options)
    return False
