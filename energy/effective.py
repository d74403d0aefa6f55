"""Effective-dated entries: which of them hold at given moments."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from energy.remembered import remembered


def holding(
    moments: pl.DataFrame, entries: pl.DataFrame, *, entry: Sequence[str], on: Sequence[str], at: str = "period_start"
) -> pl.DataFrame:
    """Join moments with the entries that hold then.

    Of the versions of an entry that have begun, the one that began last counts; it holds if it is ``ACTIVE`` and not
    ended. A ``WITHDRAWN`` version counts as never made.

    Args:
        moments: Rows with a UTC column `at` and the columns `on`; no further column of the entries.
        entries: Versions: ``valid_from, valid_to, status``, the columns `entry` and `on`; one each of
            (`entry`, ``valid_from``).
        entry: Columns that name an entry.
        on: Columns that moments and entries share.
        at: Name of the moments' column.

    Returns:
        A row for each moment and entry that holds, with the columns of both, in the order of the moments, then of
        `entry`.
    """
    begun = (
        moments.with_row_index("_moment")
        .join(entries.filter(pl.col("status") != "WITHDRAWN"), on=list(on), maintain_order="left_right")
        .filter(pl.col("valid_from") <= pl.col(at))
        .sort("_moment", *entry, "valid_from")
    )
    latest = begun.unique(["_moment", *entry], keep="last", maintain_order=True)
    ended = pl.col("valid_to") <= pl.col(at)
    return latest.filter((pl.col("status") == "ACTIVE") & ~ended.fill_null(False)).drop("_moment")


def current(entries: pl.DataFrame, at: datetime, *, entry: Sequence[str]) -> pl.DataFrame:
    """Return what holds at one instant, by the rules of `holding`.

    Args:
        entries: Versions: ``valid_from, valid_to, status`` and the columns `entry`.
        at: Aware instant.
        entry: Columns that name an entry.

    Returns:
        A row for each entry that holds, with all columns, in the order of `entry`.
    """
    begun = entries.filter((pl.col("status") != "WITHDRAWN") & (pl.col("valid_from") <= at))
    latest = begun.sort(*entry, "valid_from").unique(list(entry), keep="last", maintain_order=True)
    ended = (pl.col("valid_to") <= at).fill_null(value=False)
    return latest.filter((pl.col("status") == "ACTIVE") & ~ended)


def unchanged_since(at: datetime, *entries: pl.DataFrame) -> datetime:
    """Return the last moment up to an instant at which one of the entries began or ended.

    The same entries hold then and at the instant. Before the first of them it is the instant itself.

    Args:
        at: Aware instant.
        entries: Tables of versions: ``valid_from, valid_to``.
    """
    moments = _moments(*entries)
    begun = bisect_right(moments, at)
    return moments[begun - 1] if begun else at


@remembered
def _moments(*entries: pl.DataFrame) -> list[datetime]:
    dates = [frame[name].drop_nulls() for frame in entries for name in ("valid_from", "valid_to")]
    return pl.concat(dates).unique().sort().to_list()
