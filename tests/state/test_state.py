"""What one class of state does, and refuses."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from streams.columns import UTC_MICROS, Col, Keyed
from streams.errors import StateError
from streams.processor import State
from streams.state import StateStore, arena, changelog, index, keyed


class Peak(Keyed, key=("site_id", "month_start"), expires="month_start"):
    """Highest quarter-hour of a site in a month."""

    site_id: Col[str]
    month_start: Col[datetime]
    peak_w: Col[float]
    rank: Col[int | None]


class Seen(Keyed, key=("ident",)):
    """Only a key."""

    ident: Col[float]


JAN = datetime(2026, 1, 1, tzinfo=UTC)
FEB = datetime(2026, 2, 1, tzinfo=UTC)
OLD = datetime(1905, 3, 1, tzinfo=UTC)


def peaks(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Rows of site, month, watts and rank."""
    return pl.DataFrame(rows, schema=Peak.__columns__, orient="row")


@pytest.fixture
def store() -> StateStore:
    """Two sites: s1 in January and February, s2 in January."""
    made = StateStore([Peak, Seen])
    made[Peak].put(peaks(("s2", JAN, 20.0, None), ("s1", FEB, 30.0, 3), ("s1", JAN, 10.0, 1)))
    made.end_tick()
    made.drain()
    made.commit()
    return made


def test_it_is_the_state_of_the_api(store: StateStore) -> None:
    state: State = store[Peak]
    assert len(state) == 3


def test_get_keeps_rows_order_columns_and_doubles(store: StateStore) -> None:
    asked = pl.DataFrame(
        {"x": [1, 2, 3, 4], "month_start": [FEB, JAN, JAN, FEB], "site_id": ["s1", "s9", "s2", "s1"]},
        schema_overrides={"month_start": UTC_MICROS},
    )
    got = store[Peak].get(asked, suffix="_was")
    assert got.columns == ["x", "month_start", "site_id", "peak_w_was", "rank_was"]
    assert got["x"].to_list() == [1, 2, 3, 4]
    assert got["peak_w_was"].to_list() == [30.0, None, 20.0, 30.0]
    assert got["rank_was"].to_list() == [3, None, None, 3]


def test_get_knows_nothing_of_a_null_key(store: StateStore) -> None:
    asked = pl.DataFrame(
        {"site_id": [None, "s1", "s1"], "month_start": [JAN, None, JAN]}, schema_overrides={"month_start": UTC_MICROS}
    )
    assert store[Peak].get(asked)["peak_w"].to_list() == [None, None, 10.0]
    assert store[Peak].get(asked.head(2))["peak_w"].to_list() == [None, None]


def test_get_of_no_rows_and_of_an_empty_state_has_the_columns(store: StateStore) -> None:
    asked = peaks(("s1", JAN, 0.0, 0)).select("site_id", "month_start")
    empty = StateStore([Peak])[Peak]
    for got in (store[Peak].get(asked.clear()), empty.get(asked), empty.get(asked.clear())):
        assert got.schema == Peak.__columns__
    assert empty.get(asked).rows() == [("s1", JAN, None, None)]


def test_get_refuses_a_name_that_is_taken(store: StateStore) -> None:
    with pytest.raises(StateError, match=r"state Peak: get would add peak_w, rank, which the rows have; give a suffix"):
        store[Peak].get(peaks(("s1", JAN, 0.0, 0)))


def test_get_needs_the_key_columns(store: StateStore) -> None:
    for rows in (peaks(("s1", JAN, 0.0, 0)), peaks()):
        with pytest.raises(StateError, match="state Peak: the rows have no column month_start; they have site_id"):
            store[Peak].get(rows.select("site_id"))


def test_put_replaces_whole_rows_and_ignores_further_columns(store: StateStore) -> None:
    rows = (
        peaks(("s1", FEB, 31.0, 9))
        .with_columns(more=pl.lit("x"))
        .select("rank", "more", "peak_w", "month_start", "site_id")
    )
    store[Peak].put(rows.drop("rank"))
    assert store[Peak].scan().rows() == [("s1", JAN, 10.0, 1), ("s1", FEB, 31.0, None), ("s2", JAN, 20.0, None)]
    assert store[Peak].changed().rows() == [("s1", FEB, 31.0, None)]


def test_put_needs_every_column_that_may_not_be_null(store: StateStore) -> None:
    for rows in (peaks(("s1", JAN, 0.0, 0)), peaks()):
        with pytest.raises(
            StateError, match="state Peak: the rows have no column peak_w; they have site_id, month_start, rank"
        ):
            store[Peak].put(rows.drop("peak_w"))


def test_put_names_a_key_that_occurs_twice_and_puts_nothing(store: StateStore) -> None:
    rows = peaks(("s3", JAN, 1.0, 1), ("s1", JAN, 2.0, 1), ("s4", JAN, 3.0, 1), ("s1", JAN, 4.0, 1))
    with pytest.raises(
        StateError, match=r"state Peak: the key site_id='s1', month_start=2026-01-01 00:00:00\+00:00 occurs twice"
    ):
        store[Peak].put(rows)
    assert store.drain() == []
    assert len(store[Peak]) == 3


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ((None, JAN, 1.0, 1), "column 'site_id' is null in 1 of 1 rows; it is part of the key"),
        (("s1", None, 1.0, 1), "column 'month_start' is null in 1 of 1 rows; it is part of the key"),
        (
            ("s1", JAN, None, 1),
            r"column 'peak_w' is null in 1 of 1 rows, first for site_id='s1', month_start=2026-01-01",
        ),
    ],
)
def test_put_refuses_a_null(store: StateStore, row: tuple[Any, ...], says: str) -> None:
    with pytest.raises(StateError, match=says):
        store[Peak].put(peaks(row))
    assert store.drain() == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_put_refuses_a_key_that_is_no_number(value: float) -> None:
    store = StateStore([Seen])
    with pytest.raises(StateError, match=f"state Seen: column 'ident' is part of the key and has the value {value}"):
        store[Seen].put(pl.DataFrame({"ident": [1.0, value]}))
    assert store[Seen].get(pl.DataFrame({"ident": [value]})).height == 1


@pytest.mark.parametrize("keys", [0, 100])
def test_both_zeros_are_one_key(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "DICT_KEYS", keys)
    store = StateStore([Seen])
    store[Seen].put(pl.DataFrame({"ident": [-0.0]}))
    store[Seen].put(pl.DataFrame({"ident": [0.0]}))
    assert len(store[Seen]) == 1
    with pytest.raises(StateError, match="occurs twice"):
        store[Seen].put(pl.DataFrame({"ident": [0.0, -0.0]}))
    other = StateStore([Seen])
    other[Seen].put(pl.DataFrame({"ident": [-0.0]}))
    assert other.digest() == store.digest()


def test_values_may_be_any_float(store: StateStore) -> None:
    store[Peak].put(peaks(("s1", JAN, float("nan"), None), ("s2", JAN, -float("inf"), None)))
    assert str(store[Peak].scan()["peak_w"].to_list()) == "[nan, 30.0, -inf]"


@pytest.mark.parametrize(
    ("column", "values", "kept"),
    [
        ("peak_w", pl.Series([2**53], dtype=pl.Int64), 2.0**53),
        ("peak_w", pl.Series([0.5], dtype=pl.Float32), 0.5),
        ("rank", pl.Series([7], dtype=pl.UInt8), 7),
        ("rank", pl.Series([7.0]), 7),
        ("rank", pl.Series([None], dtype=pl.Null), None),
        ("site_id", pl.Series(["s7"], dtype=pl.Categorical), "s7"),
        ("month_start", pl.Series([JAN], dtype=pl.Datetime("ms", "UTC")), JAN),
        ("month_start", pl.Series([JAN], dtype=pl.Datetime("ns", "UTC")), JAN),
        ("month_start", pl.Series([JAN]).dt.convert_time_zone("Europe/Berlin"), JAN),
    ],
)
def test_put_takes_a_type_that_loses_nothing(column: str, values: pl.Series, kept: object) -> None:
    state = StateStore([Peak])[Peak]
    state.put(peaks(("s7", JAN, 1.0, 1)).with_columns(values.alias(column)))
    assert state.scan().schema == Peak.__columns__
    assert state.scan()[column].to_list() == [kept]


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("peak_w", pl.Series([2**53 + 1]), "is Int64 and has values that Float64 cannot hold"),
        ("peak_w", pl.Series(["1"]), "is String, declared is Float64"),
        ("rank", pl.Series([7.5]), "is Float64 and has values that Int64 cannot hold"),
        ("rank", pl.Series([2**63], dtype=pl.UInt64), "is UInt64 and has values that Int64 cannot hold"),
        ("rank", pl.Series([True]), "is Boolean, declared is Int64"),
        ("site_id", pl.Series([7]), "is Int64, declared is String"),
        ("month_start", pl.Series([datetime(2026, 1, 1)]), "is Datetime"),  # noqa: DTZ001 - a naive one
        ("month_start", pl.Series([1], dtype=pl.Int64).cast(pl.Datetime("ns", "UTC")), ".* cannot hold"),
        ("month_start", pl.Series([JAN.date()]), "is Date, declared is Datetime"),
    ],
)
def test_put_refuses_a_type_that_loses_something(column: str, values: pl.Series, says: str) -> None:
    state = StateStore([Peak])[Peak]
    with pytest.raises(StateError, match=f"state Peak: column '{column}' {says}"):
        state.put(peaks(("s7", JAN, 1.0, 1)).with_columns(values.alias(column)))
    assert len(state) == 0


def test_delete_ignores_what_is_not_there_and_what_is_named_twice(store: StateStore) -> None:
    keys = peaks(("s1", JAN, 0.0, 0), ("s9", JAN, 0.0, 0), ("s1", JAN, 1.0, 0))
    store[Peak].delete(keys)
    assert store[Peak].scan().rows() == [("s1", FEB, 30.0, 3), ("s2", JAN, 20.0, None)]
    store.drain()
    store[Peak].delete(keys.select("month_start", "site_id"))
    assert store.drain() == []


def test_expire_is_half_open_and_one_tombstone(store: StateStore) -> None:
    store[Peak].expire(JAN)
    assert store.drain() == []
    store[Peak].expire(JAN + timedelta(microseconds=1))
    assert store[Peak].scan().rows() == [("s1", FEB, 30.0, 3)]
    (record,) = store.drain()
    (change,) = changelog.decode(record, {"Peak": Peak})
    assert (change.op, change.rows, change.before) == (changelog.Op.EXPIRE, None, 1_767_225_600_000_001)


def test_expire_takes_any_time_zone_but_none(store: StateStore) -> None:
    before = JAN + timedelta(microseconds=1)
    with pytest.raises(StateError, match="no time zone"):
        store[Peak].expire(before.replace(tzinfo=None))
    store[Peak].expire(before.astimezone(timezone(timedelta(hours=-7))))
    assert len(store[Peak]) == 1
    with pytest.raises(StateError, match="state Seen declares no expires column"):
        store[Seen].expire(before)


def test_expire_reaches_times_before_1970() -> None:
    state = StateStore([Peak])[Peak]
    state.put(peaks(("s1", OLD, 1.0, 1), ("s1", JAN, 1.0, 1)))
    state.expire(OLD)
    assert len(state) == 2
    state.expire(OLD + timedelta(microseconds=1))
    assert state.scan()["month_start"].to_list() == [JAN]


def test_what_a_rollback_brought_back_can_expire_again(store: StateStore) -> None:
    for _ in range(2):
        store[Peak].expire(FEB)
        assert len(store[Peak]) == 1
        store.rollback()
        assert len(store[Peak]) == 3


def test_changed_is_what_was_put_since_the_tick_and_is_still_there(store: StateStore) -> None:
    assert store[Peak].changed().rows() == []
    store[Peak].put(peaks(("s2", FEB, 1.0, None), ("s1", JAN, 10.0, 1), ("s3", JAN, 1.0, None), ("s0", JAN, 1.0, None)))
    store[Peak].delete(peaks(("s3", JAN, 0.0, 0)))
    store.commit()
    assert store[Peak].changed()["site_id"].to_list() == ["s0", "s1", "s2"]
    store[Peak].expire(FEB)
    assert store[Peak].changed()["site_id"].to_list() == ["s2"]
    store.rollback()
    assert store[Peak].changed()["site_id"].to_list() == ["s0", "s1", "s2"]
    store.end_tick()
    assert store[Peak].changed().rows() == []


def test_rollback_brings_back_what_an_ended_tick_cleared(store: StateStore) -> None:
    store[Peak].put(peaks(("s1", JAN, 11.0, 1)))
    store.commit()
    before = store.digest()
    store.end_tick()
    store[Peak].put(peaks(("s2", JAN, 1.0, 1), ("s8", JAN, 1.0, 1)))
    store[Peak].delete(peaks(("s1", FEB, 0.0, 0)))
    assert store.digest() != before
    store.rollback()
    assert store.digest() == before
    assert store[Peak].changed().rows() == [("s1", JAN, 11.0, 1)]


@pytest.mark.parametrize("keys", [0, 16_384, 1_000_000])
def test_a_large_batch_can_be_rolled_back_whatever_the_index(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "DICT_KEYS", keys)
    store = StateStore([Peak])
    months = pl.datetime_range(JAN, JAN + timedelta(days=9), "1d", time_zone="UTC", eager=True)

    def batch(first: int, count: int) -> pl.DataFrame:
        sites = pl.DataFrame({"number": range(first, first + count)})
        rows = sites.join(pl.DataFrame({"month_start": months}), how="cross")
        return rows.select(pl.format("s{}", "number").alias("site_id"), "month_start", peak_w=pl.col("number") + 0.5)

    store[Peak].put(batch(0, 1_000))
    store.commit()
    before = store.digest()
    store[Peak].put(batch(500, 3_000))
    store[Peak].expire(JAN + timedelta(days=5))
    assert len(store[Peak]) == 3_500 * 5
    store.rollback()
    assert store.digest() == before
    got = store[Peak].get(batch(999, 2).drop("peak_w"))
    assert got["peak_w"].to_list() == [999.5] * 10 + [None] * 10


@pytest.mark.parametrize("keys", [0, 16_384])
def test_a_new_key_that_was_rolled_back_is_unknown(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "DICT_KEYS", keys)
    store = StateStore([Peak])
    store[Peak].put(peaks(*((f"s{site}", JAN, 1.0, None) for site in range(50))))
    store.commit()
    new = peaks(("s7", JAN, 2.0, None), ("s77", JAN, 3.0, None), ("s78", JAN, 4.0, None))
    for _ in range(3):
        store[Peak].put(new)
        store[Peak].delete(new.tail(1))
        assert store[Peak].get(new.drop("peak_w", "rank"))["peak_w"].to_list() == [2.0, 3.0, None]
        store.rollback()
        assert store[Peak].get(new.drop("peak_w", "rank"))["peak_w"].to_list() == [1.0, None, None]
    store[Peak].put(new)
    store.commit()
    assert store[Peak].get(new.drop("peak_w", "rank"))["peak_w"].to_list() == [2.0, 3.0, 4.0]


def test_scan_orders_by_the_bytes_of_strings_and_by_time() -> None:
    state = StateStore([Peak])[Peak]
    names = ["b", "\U0001f600", "é", "a", "B", "\uffff", ""]
    state.put(peaks(*((name, month, 1.0, None) for month in (JAN, OLD) for name in names)))
    ordered = ["", "B", "a", "b", "é", "\uffff", "\U0001f600"]
    assert state.scan()["site_id"].to_list() == [name for name in ordered for _ in range(2)]
    assert state.scan()["month_start"].to_list() == [OLD, JAN] * 7
    assert state.changed().equals(state.scan())


@pytest.mark.parametrize("kept", [0, 10_000])
def test_a_condition_sees_the_living_rows_ordered_by_key(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "_KEPT", kept)
    state = StateStore([Peak])[Peak]
    state.put(peaks(("s3", JAN, 3.0, 3), ("s1", JAN, 9.0, 99), ("s2", JAN, 2.0, None)))
    state.put(peaks(("s1", JAN, 1.0, 1)))

    def sites(where: pl.Expr) -> list[str]:
        return state.scan(where)["site_id"].to_list()

    assert sites(Peak.peak_w == Peak.peak_w.max()) == ["s3"]
    assert sites(Peak.peak_w.cum_sum() <= 3) == ["s1", "s2"]
    assert sites(pl.len() == 3) == ["s1", "s2", "s3"]
    assert sites((Peak.rank > 1) | Peak.rank.is_null()) == ["s2", "s3"]
    assert sites(Peak.rank > 1) == ["s3"]
    assert sites(Peak.month_start.dt.offset_by("1mo") <= FEB) == ["s1", "s2", "s3"]
    assert sites(Peak.month_start.dt.convert_time_zone("Europe/Berlin").dt.hour() == 2) == []
    assert sites(pl.lit(True)) == ["s1", "s2", "s3"]
    assert sites(Peak.rank.cast(pl.Int8) < 50) == ["s1", "s3"]
    assert sites(Peak.peak_w.is_between(2, 3) & ~Peak.site_id.is_in(["s2"])) == ["s3"]


def test_a_condition_does_not_fail_on_a_row_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "_KEPT", 0)
    state = StateStore([Peak])[Peak]
    state.put(peaks(("s1", JAN, 1.0, 300)))
    with pytest.raises(StateError, match="state Peak: scan cannot evaluate its condition"):
        state.scan(Peak.rank.cast(pl.Int8) < 50)
    state.put(peaks(("s1", JAN, 1.0, 7)))
    assert len(state.scan(Peak.rank.cast(pl.Int8) < 50)) == 1


@pytest.mark.parametrize("kept", [0, 10_000])
def test_a_condition_that_makes_no_sense_is_one_line(
    store: StateStore, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyed, "_KEPT", kept)
    for where in (pl.col("nothing") > 1, Peak.peak_w + 1):
        with pytest.raises(StateError, match=r"^state Peak: scan cannot evaluate its condition: [^\n]+$"):
            store[Peak].scan(where)


def test_nobody_else_can_change_what_is_kept(store: StateStore) -> None:
    before = store.digest()
    for table in (store[Peak].scan(), store[Peak].scan(Peak.peak_w > 0), store[Peak].changed()):
        table.insert_column(0, pl.Series("more", [0] * table.height))
    scanned = store[Peak].scan()
    scanned[0, "peak_w"] = 99.0
    assert store[Peak].scan()[0, "peak_w"] == 10.0
    rows = peaks(("s5", JAN, 5.0, 5), ("s6", JAN, 6.0, 6))
    store[Peak].put(rows)
    rows[0, "peak_w"] = 99.0
    rows.drop_in_place("rank")
    assert store[Peak].scan(Peak.site_id == "s5").rows() == [("s5", JAN, 5.0, 5)]
    (record,) = store.drain()
    (change,) = changelog.decode(record, {"Peak": Peak})
    assert change.rows is not None
    assert change.rows.equals(peaks(("s5", JAN, 5.0, 5), ("s6", JAN, 6.0, 6)))
    store.rollback()
    assert store.digest() == before


def test_a_few_rows_of_a_batch_do_not_keep_the_batch_in_memory() -> None:
    store = StateStore([Peak])
    rows = 10_000
    batch = pl.DataFrame({"number": range(50 * rows)}).select(
        pl.format("a site with a long name {}", "number").alias("site_id"), month_start=JAN, peak_w=1.0
    )
    kept = batch.gather_every(50)
    store[Peak].put(kept)
    column = store[Peak].arena._segments[-1].get_column("site_id")
    buffers = column.to_arrow(compat_level=pl.CompatLevel.newest()).buffers()
    held = sum(buffer.size for buffer in buffers if buffer)
    assert column.len() == rows + 1
    assert held < 2 * rows * (16 + 30)


def test_replaced_rows_do_not_pile_up() -> None:
    store = StateStore([Peak])
    for round_ in range(200):
        store[Peak].put(peaks(*((f"s{site}", JAN, float(round_), None) for site in range(100))))
        store.end_tick()
        store.commit()
    assert sum(segment.height for segment in store[Peak].arena._segments) <= 1 + 100 + arena._DEAD + 100
    assert len(store) == 100
    assert store.nbytes < 1_000_000


def test_the_digest_tells_where_a_string_ends() -> None:
    digests = set()
    for names in (("a", "bc"), ("ab", "c"), ("abc",), ("", "abc")):
        store = StateStore([Peak])
        store[Peak].put(peaks(*((name, JAN, 1.0, None) for name in names)))
        digests.add(store.digest())
    assert len(digests) == 4


def test_classes_that_cannot_be_state_are_refused() -> None:
    class Late(Keyed, key=("ident",), expires="day"):
        ident: Col[str]
        day: Col[int]

    with pytest.raises(StateError, match="state Late: expires='day' must be a datetime column"):
        StateStore([Late])
    with pytest.raises(StateError, match="two classes of state have the same name: Peak, Peak"):
        StateStore([Peak, type("Peak", (Keyed,), {"__annotations__": {"a": Col[int]}}, key=("a",))])
    with pytest.raises(StateError, match="state Seen is not declared; the processor's state is: Peak"):
        StateStore([Peak])[Seen]


def test_times_are_utc_whatever_they_were() -> None:
    state = StateStore([Peak])[Peak]
    berlin = JAN.astimezone(ZoneInfo("Europe/Berlin"))
    state.put(pl.DataFrame({"site_id": ["s1"], "month_start": [berlin], "peak_w": [1.0]}))
    assert state.scan().rows() == [("s1", JAN, 1.0, None)]
