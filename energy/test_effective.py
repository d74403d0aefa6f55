from datetime import UTC, datetime

import polars as pl

from energy.effective import current, holding, unchanged_since
from energy.time import UTC_MICROS


def at(day: int) -> datetime:
    return datetime(2026, 1, day, tzinfo=UTC)


def entries(*rows: tuple[str, str, int, int | None, str, int]) -> pl.DataFrame:
    names = ["contract_id", "site_id", "valid_from", "valid_to", "status", "share"]
    made = [
        (c, s, at(start), None if end is None else at(end), status, share) for c, s, start, end, status, share in rows
    ]
    times = {"valid_from": UTC_MICROS, "valid_to": UTC_MICROS}
    return pl.DataFrame(made, schema=names, orient="row", schema_overrides=times)


def moments(*rows: tuple[str, int]) -> pl.DataFrame:
    return pl.DataFrame([(site, at(day)) for site, day in rows], schema=["site_id", "period_start"], orient="row").cast(
        {"period_start": UTC_MICROS}
    )


def shares(when: pl.DataFrame, known: pl.DataFrame) -> list[tuple[str, int, int]]:
    held = holding(when, known, entry=["contract_id"], on=["site_id"])
    return held.select("contract_id", pl.col("period_start").dt.day(), "share").rows()


def test_the_version_that_began_last_counts() -> None:
    known = entries(("c", "s", 1, None, "ACTIVE", 10), ("c", "s", 5, None, "ACTIVE", 20))
    assert shares(moments(("s", 4), ("s", 5)), known) == [("c", 4, 10), ("c", 5, 20)]


def test_an_ended_one_does_not_hold_and_nothing_older_comes_back() -> None:
    known = entries(("c", "s", 1, None, "ACTIVE", 10), ("c", "s", 3, 6, "ACTIVE", 20), ("d", "s", 1, 5, "ACTIVE", 30))
    assert shares(moments(("s", 5), ("s", 6), ("s", 1)), known) == [("c", 5, 20), ("c", 1, 10), ("d", 1, 30)]


def test_a_version_that_is_not_active_ends_the_one_before_and_a_withdrawn_one_counts_as_never_made() -> None:
    known = entries(("c", "s", 1, None, "ACTIVE", 10), ("c", "s", 5, None, "SUSPENDED", 20))
    assert shares(moments(("s", 4), ("s", 5)), known) == [("c", 4, 10)]
    known = entries(("c", "s", 1, None, "ACTIVE", 10), ("c", "s", 5, None, "WITHDRAWN", 20))
    assert shares(moments(("s", 6)), known) == [("c", 6, 10)]


def test_a_moment_without_entries_gives_nothing() -> None:
    assert shares(moments(("other", 5)), entries(("c", "s", 1, None, "ACTIVE", 10))) == []


def test_current_is_what_holds_at_one_instant() -> None:
    known = entries(
        ("d", "s", 2, None, "ACTIVE", 40),
        ("c", "s", 1, None, "ACTIVE", 10),
        ("c", "s", 3, 6, "ACTIVE", 20),
        ("e", "s", 1, None, "ACTIVE", 50),
        ("e", "s", 4, None, "SUSPENDED", 60),
        ("f", "s", 1, None, "ACTIVE", 70),
        ("f", "s", 2, None, "WITHDRAWN", 80),
    )
    held = {day: current(known, at(day), entry=["contract_id"])["share"].to_list() for day in (1, 3, 5, 6)}
    assert held == {1: [10, 50, 70], 3: [20, 40, 50, 70], 5: [20, 40, 70], 6: [40, 70]}


def test_since_the_last_date_of_any_entry_the_same_hold() -> None:
    one = entries(("c", "s", 2, 6, "ACTIVE", 10))
    two = entries(("d", "s", 4, None, "ACTIVE", 20))
    days = [unchanged_since(at(day), one, two).day for day in range(1, 8)]
    assert days == [1, 2, 2, 4, 4, 6, 6]
    for table in (one, two):
        for day, since in enumerate(days, 1):
            held = current(table, at(day), entry=["contract_id"])
            assert held.equals(current(table, at(since), entry=["contract_id"]))
