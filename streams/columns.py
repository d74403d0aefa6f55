"""Typed columns: what a record class and a state class have in common."""

from datetime import date, datetime
from types import UnionType
from typing import (
    Any,
    ClassVar,
    Generic,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

import polars as pl

from streams.errors import StateError

T_co = TypeVar("T_co", covariant=True)

UTC_MICROS = pl.Datetime("us", "UTC")

DTYPES: dict[type, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    datetime: UTC_MICROS,
    date: pl.Date(),
    bytes: pl.Binary(),
}


class Col(Generic[T_co]):
    """A typed column: on the class an expression, on an event its value."""

    __slots__ = ("name",)

    def __init__(self, name: str = "") -> None:
        self.name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> pl.Expr: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T_co: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return pl.col(self.name)
        return instance.__dict__[self.name]


class Keyed:
    """A kind of state: typed columns under a key.

    Declare the columns as ``name: Col[type]``; ``key`` names the ones that identify a row, ``expires``
    the time column by which `State.expire` drops rows.
    """

    __key__: ClassVar[tuple[str, ...]]
    __expires__: ClassVar[str | None]
    __columns__: ClassVar[dict[str, pl.DataType]]
    __nullable__: ClassVar[frozenset[str]]

    def __init_subclass__(cls, *, key: tuple[str, ...], expires: str | None = None, **kwargs: Any) -> None:
        """Turn the annotated columns into expressions."""
        super().__init_subclass__(**kwargs)
        columns: dict[str, pl.DataType] = {}
        nullable = set()
        for name, hint in get_type_hints(cls).items():
            if get_origin(hint) is not Col:
                continue
            (inner,) = get_args(hint)
            if get_origin(inner) in (Union, UnionType):
                inner, *_ = [arg for arg in get_args(inner) if arg is not type(None)]
                nullable.add(name)
            if inner not in DTYPES:
                allowed = ", ".join(kind.__name__ for kind in DTYPES)
                raise StateError(f"state {cls.__name__}.{name} has type {inner}; use one of {allowed}")
            columns[name] = DTYPES[inner]
            setattr(cls, name, Col(name))
        for name in (*key, *([expires] if expires else ())):
            if name not in columns:
                raise StateError(f"state {cls.__name__} has no column {name!r}, which its key or expires names")
        cls.__key__ = key
        cls.__expires__ = expires
        cls.__columns__ = columns
        cls.__nullable__ = frozenset(nullable - set(key))
