"""What is put into state, checked against its class: columns, types without loss, nulls, keys."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from streams.columns import Keyed
from streams.errors import StateError
from streams.state.index import Keys


def key_columns(keyed: type[Keyed], rows: pl.DataFrame) -> Keys:
    """The key columns of ``rows``, in the class's types; nulls are let through.

    Raises:
        StateError: one is missing or of another type.
    """
    has_columns(keyed, rows, keyed.__key__)
    return Keys([_cast(keyed, rows.get_column(name)) for name in keyed.__key__])


def has_columns(keyed: type[Keyed], rows: pl.DataFrame, names: Iterable[str]) -> None:
    """Refuse rows without these columns; nullable ones may be missing.

    Raises:
        StateError: one is missing.
    """
    if missing := set(names).difference(rows.columns, keyed.__nullable__):
        listed = ", ".join(sorted(missing))
        raise StateError(
            f"state {keyed.__name__}: the rows have no column {listed}; they have {', '.join(rows.columns)}"
        )


def whole_rows(keyed: type[Keyed], rows: pl.DataFrame) -> pl.DataFrame:
    """All declared columns of ``rows`` in their order and types.

    Raises:
        StateError: a column is missing, has another type, or is null where it may not be; a key is not finite.
    """
    has_columns(keyed, rows, keyed.__columns__)
    present = set(rows.columns)
    columns = []
    for name, dtype in keyed.__columns__.items():
        if name in present:
            column = _cast(keyed, rows.get_column(name))
        else:
            column = pl.Series(name, [None], dtype=dtype).new_from_index(0, rows.height)
        if name not in keyed.__nullable__ and column.null_count():
            raise StateError(_null(keyed, name, rows, column))
        if name in keyed.__key__ and column.dtype.is_float():
            column = _float_key(keyed, column)
        columns.append(column)
    return pl.DataFrame(columns)


def duplicate(keyed: type[Keyed], keys: Keys) -> StateError:
    """The error for keys of which at least one occurs twice, naming it."""
    frame = pl.DataFrame(list(keys.columns))
    first = frame.row(int(frame.is_duplicated().arg_max() or 0), named=True)
    return StateError(f"state {keyed.__name__}: the key {_show(first)} occurs twice in one put; put one row a key")


def _cast(keyed: type[Keyed], column: pl.Series) -> pl.Series:
    """The column in the declared type, if that loses nothing."""
    target = keyed.__columns__[column.name]
    if column.dtype == target:
        return column
    if not _related(column.dtype, target):
        raise StateError(f"state {keyed.__name__}: column {column.name!r} is {column.dtype}, declared is {target}")
    result = column.cast(target, strict=False)
    exact = column.dtype.is_numeric() or column.dtype.is_temporal()
    if exact and not result.cast(column.dtype, strict=False).equals(column, null_equal=True):
        raise StateError(
            f"state {keyed.__name__}: column {column.name!r} is {column.dtype} and has values that {target} cannot hold"
        )
    return result


def _related(source: pl.DataType, target: pl.DataType) -> bool:
    """Whether a cast means the same values; naive times are no instants."""
    if isinstance(source, pl.Datetime):
        return isinstance(target, pl.Datetime) and source.time_zone is not None
    if isinstance(source, pl.Categorical | pl.Enum):
        return isinstance(target, pl.String)
    return isinstance(source, pl.Null) or (source.is_numeric() and target.is_numeric())


def _float_key(keyed: type[Keyed], column: pl.Series) -> pl.Series:
    values = column.to_numpy()
    finite = np.isfinite(values)
    if not finite.all():
        bad = values[int(np.argmin(finite))]
        raise StateError(f"state {keyed.__name__}: column {column.name!r} is part of the key and has the value {bad}")
    if (np.signbit(values) & (values == 0.0)).any():
        return pl.Series(column.name, values + 0.0)  # one zero: equal keys have equal bytes
    return column


def _null(keyed: type[Keyed], name: str, rows: pl.DataFrame, column: pl.Series) -> str:
    text = f"state {keyed.__name__}: column {name!r} is null in {column.null_count()} of {rows.height} rows"
    if name in keyed.__key__:
        return f"{text}; it is part of the key"
    first = rows.row(int(column.is_null().arg_max() or 0), named=True)
    key = _show({part: first[part] for part in keyed.__key__})
    return f"{text}, first for {key}; leave them out or declare the column `Col[... | None]`"


def _show(key: dict[str, Any]) -> str:
    return ", ".join(
        f"{name}={value if not isinstance(value, str | bytes) else repr(value)}" for name, value in key.items()
    )
