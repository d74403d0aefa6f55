"""Ids composed of business keys: parts joined with ``/``, a ``/`` or ``%`` inside a part percent-encoded.

Times stand in them as ``20260131T234500Z``. The same business keys give the same id on every host and in every replay.
"""

from datetime import UTC, datetime

import polars as pl

_STAMP = "%Y%m%dT%H%M%SZ"


def part(value: str) -> str:
    """Return a part as it stands in a composed id."""
    return value.replace("%", "%25").replace("/", "%2F")


def stamp(instant: datetime) -> str:
    """Return an aware instant as it stands in an id, to the second."""
    return instant.astimezone(UTC).strftime(_STAMP)


def composed(*parts: str) -> str:
    """Join parts to an id."""
    return "/".join(map(part, parts))


def to_part(value: pl.Expr) -> pl.Expr:
    """Return a text column's values as they stand in composed ids."""
    return value.str.replace_all("%", "%25", literal=True).str.replace_all("/", "%2F", literal=True)


def to_stamp(instant: pl.Expr) -> pl.Expr:
    """Return a UTC column's instants as they stand in ids, to the second."""
    return instant.dt.strftime(_STAMP)


def to_composed(*parts: pl.Expr) -> pl.Expr:
    """Join text columns to ids; a null part makes the id null."""
    return pl.concat_str(*(to_part(value) for value in parts), separator="/")
