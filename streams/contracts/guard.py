"""What every row of a topic must fulfil, in one expression; which row does not is worked out only when needed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from streams.columns import UTC_MICROS
from streams.contracts import checks as sql
from streams.contracts.rowwise import RowRules, row_rules
from streams.contracts.schema import EPOCH, UNKNOWN, days, micros
from streams.contracts.topic import Field, Topic
from streams.contracts.violation import FaultError
from streams.errors import ContractError

_FEW = 128  # up to this many rows a loop in Python is quicker than one select
# What ClickHouse's DateTime64 and Date32 can hold; a time outside would be another one there.
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(2300, 1, 1, tzinfo=UTC)
_FIRST_DAY = date(1900, 1, 1)
_LAST_DAY = date(2299, 12, 31)
MICROS = range(micros(EARLIEST), micros(LATEST))
DAYS = range(days(_FIRST_DAY), days(_LAST_DAY) + 1)


@dataclass(frozen=True)
class Rule:
    """One rule: null or true where a row is fine. ``names`` are the fields that it looks at."""

    code: str
    names: tuple[str, ...]
    text: str
    fine: pl.Expr

    def told(self, broken: pl.DataFrame) -> list[str]:
        """The rule with the values that break it, for each of these rows."""
        columns = [[f"{name} = {word}" for word in words(broken.get_column(name))] for name in self.names]
        texts = map(", ".join, zip(*columns, strict=True)) if columns else [""] * broken.height
        if self.code == "CHECK_FAILED":
            return [f"{self.text}: {values}" for values in texts]
        return [f"{values} {self.text}" for values in texts]


@dataclass(frozen=True)
class Fault:
    """A row that breaks a rule (the first one it breaks)."""

    row: int
    code: str
    text: str


def plain(column: pl.Series) -> list[Any]:
    """The values of a column, times as integers, by the shortest way: most operations of polars cost 20 µs."""
    integers = pa.int64() if column.dtype == UTC_MICROS else pa.int32() if column.dtype == pl.Date() else None
    if integers is None:
        return column.to_list()
    found: list[Any] = column.to_arrow().view(integers).to_pylist()
    return found


class Guard:
    """The rules of a topic, made once.

    Args:
        topic: the topic.
        symbols: also refuse symbols that the schema does not have (the decoder knows no others).
    """

    def __init__(self, topic: Topic, *, symbols: bool) -> None:
        self._topic = topic
        self._symbols = symbols

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in the order in which they are tried.

        Raises:
            ContractError: a check that no engine can evaluate, or that can yield NULL.
        """
        found = [rule for field in self._topic.fields for rule in self._of(field)]
        return (*found, *(self._check(text) for text in self._topic.checks))

    def _of(self, field: Field) -> Iterator[Rule]:
        column, name = pl.col(field.name), (field.name,)
        match field.kind:
            case "double":
                yield Rule("NOT_FINITE", name, "is NaN or infinite", column.is_finite())
            case "timestamp":
                inside = (column >= EARLIEST) & (column < LATEST)
                yield Rule("OUT_OF_RANGE", name, "is not between the years 1900 and 2299", inside)
            case "date":
                inside = (column >= _FIRST_DAY) & (column <= _LAST_DAY)
                yield Rule("OUT_OF_RANGE", name, "is not between the years 1900 and 2299", inside)
            case "enum" if self._symbols:
                known = [symbol for symbol in field.symbols if symbol != UNKNOWN]
                yield Rule("UNKNOWN_SYMBOL", name, f"is none of {', '.join(known)}", column.is_in(known))
            case "enum":
                text = "is UNKNOWN, a symbol of a newer version"
                yield Rule("UNKNOWN_SYMBOL", name, text, column != UNKNOWN)

    def _check(self, text: str) -> Rule:
        topic = self._topic
        try:
            fine = condition(topic, text)
        except FaultError as fault:
            raise ContractError(f"{topic.file}: {fault.field}: {fault.text}") from None
        tree = sql.parse(text)
        return Rule("CHECK_FAILED", sql.names(tree), f"check `{text}` does not hold", fine)

    @cached_property
    def _all(self) -> pl.Expr:
        # A check is proven never to be null; the other rules are null only for a null value, which is fine.
        return pl.all_horizontal([rule.fine for rule in self.rules]).all()

    @cached_property
    def _by_row(self) -> RowRules | None:
        assert self.rules  # refuses checks that cannot be used
        trees = [sql.parse(text) for text in self._topic.checks]
        return row_rules(self._topic, trees, symbols=self._symbols, micros=MICROS, days=DAYS)

    def holds(self, frame: pl.DataFrame) -> bool:
        """Whether every row is fine: a loop over few rows, else one select."""
        if frame.height <= _FEW and self._by_row is not None:
            held = self._by_row.hold([plain(frame.get_column(name)) for name in self._by_row.names])
            if held is not None:
                return held
        return self.holds_by_column(frame)

    def holds_by_column(self, frame: pl.DataFrame) -> bool:
        """Whether every row is fine, by one select over the frame."""
        return frame.select(self._all).item() is True

    def faults(self, frame: pl.DataFrame) -> list[Fault]:
        """The rows that are not fine, each with the first rule that it breaks, in row order."""
        found: dict[int, Fault] = {}
        for rule in self.rules:
            fine = frame.select(rule.fine.fill_null(value=True).alias("fine"))["fine"]
            broken = [row for row in np.flatnonzero(~fine.to_numpy()).tolist() if row not in found]
            for row, text in zip(broken, rule.told(frame[broken]), strict=True):
                found[row] = Fault(row, rule.code, text)
        return [found[row] for row in sorted(found)]


def condition(topic: Topic, text: str) -> pl.Expr:
    """A check as an expression.

    Raises:
        FaultError: it cannot be evaluated, is no condition, or can yield NULL.
    """
    tree = sql.parse(text)
    absent = sql.nullable_case(tree, frozenset(field.name for field in topic.fields if field.nullable))
    if absent is not None:
        raise FaultError("checks", null_text(text, absent))
    try:
        fine = pl.sql_expr(sql.sql(tree))
        dtype = topic.empty().select(fine.alias("fine")).schema["fine"]
    except pl.exceptions.PolarsError as error:
        raise FaultError("checks", f"`{text}`: {str(error).splitlines()[0]}") from None
    if dtype != pl.Boolean():
        raise FaultError("checks", f"`{text}` is no condition")
    return fine


def null_text(check: str, absent: tuple[str, ...]) -> str:
    """Why a check that can yield NULL is refused."""
    when = f"where {' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} null" if absent else "always"
    first = absent[0] if absent else "x"
    return f"`{check}` can yield NULL {when}; write `{first} IS NULL OR …` or `{first} IS NOT NULL AND …`"


def words(column: pl.Series) -> list[str]:
    """The values of a column in words; a time that Python has no object for, which polars would panic on, too."""
    word: Callable[[Any], str] = repr
    if column.dtype == UTC_MICROS:
        word = _instant
    elif column.dtype == pl.Date():
        word = _day
    return ["null" if value is None else word(value) for value in plain(column)]


def _instant(value: int) -> str:
    if value not in MICROS:
        return f"{value} µs after 1970"
    return (EPOCH + timedelta(microseconds=value)).isoformat().replace("+00:00", "Z")


def _day(value: int) -> str:
    return str((EPOCH + timedelta(days=value)).date()) if value in DAYS else f"{value} days after 1970"
