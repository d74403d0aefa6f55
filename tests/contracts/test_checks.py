import itertools
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contracts import Contracts
from streams.contracts.checks import Node, names, nullable_case, parse, sql
from streams.contracts.codec import Codec
from streams.contracts.violation import FaultError
from streams.errors import EmitError
from tests.contracts.making import GOOD, TOPIC_FILE, House


@pytest.mark.parametrize(
    ("check", "nullable", "absent"),
    [
        ("x >= 0", {"x"}, ("x",)),
        ("x IS NULL OR x >= 0", {"x"}, None),
        ("x >= 0 OR x IS NULL", {"x"}, None),
        ("x IS NOT NULL AND x >= 0", {"x"}, None),
        ("x >= 0 AND x IS NOT NULL", {"x"}, None),
        ("NOT (x IS NOT NULL AND x < 0)", {"x"}, None),
        ("kind = 'A' OR x >= 0", {"x"}, ("x",)),  # NULL where kind is not A
        ("kind <> 'A' OR x IS NOT NULL", {"x"}, None),
        ("x IS NULL OR y IS NULL OR x <= y", {"x", "y"}, None),
        ("x IS NULL OR x <= y", {"x", "y"}, ("y",)),
        ("x IN (1, 2)", {"x"}, ("x",)),
        ("x + y > 0", {"y"}, ("y",)),
        ("-x < 0", {"x"}, ("x",)),
        ("open", {"open"}, ("open",)),
        ("open IS NULL OR open", {"open"}, None),
        ("(x > 0) IS NULL OR x > 0", {"x"}, None),
        ("x >= 0", set(), None),
    ],
)
def test_a_check_that_can_be_null_is_told_apart(check: str, nullable: set[str], absent: tuple[str, ...] | None) -> None:
    assert nullable_case(parse(check), frozenset(nullable)) == absent


_ATOMS = ["a > 0", "b = 1", "a IS NULL", "b IS NOT NULL", "c < a", "a IN (1, b)", "c = 1", "a + b > c"]


@st.composite
def _checks(draw: st.DrawFn, depth: int = 3) -> str:
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(_ATOMS))
    if draw(st.integers(0, 3)) == 0:
        return f"NOT ({draw(_checks(depth - 1))})"
    word = draw(st.sampled_from(["AND", "OR"]))
    return f"({draw(_checks(depth - 1))}) {word} ({draw(_checks(depth - 1))})"


@given(_checks())
@settings(max_examples=300, deadline=None)
def test_what_is_proven_never_null_is_never_null_in_sqlite(check: str) -> None:
    proven = nullable_case(parse(check), frozenset({"a", "b"})) is None
    values: list[int | None] = [None, 0, 1, 2]
    rows = itertools.product(values, values, [0, 1, 2])
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE t (a, b, c)")
        database.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        (nulls,) = database.execute(f"SELECT COUNT(*) FROM t WHERE ({check}) IS NULL").fetchone()
        (quoted,) = database.execute(f"SELECT COUNT(*) FROM t WHERE ({check}) IS NOT ({sql(parse(check))})").fetchone()
    assert quoted == 0
    if proven:
        assert nulls == 0


def test_a_check_is_written_with_quoted_fields_and_read_in_the_usual_precedence() -> None:
    assert sql(parse("a OR b AND NOT c = 1 + 2 * d")) == '("a" OR ("b" AND (NOT ("c" = (1 + (2 * "d"))))))'
    assert sql(parse("a - 1 - 2 >= -3.5")) == '((("a" - 1) - 2) >= (-3.5))'
    assert sql(parse("k not in ('it''s', 'b') and \"offset\" is not null")) == (
        "((NOT (\"k\" IN ('it''s', 'b'))) AND (NOT (\"offset\" IS NULL)))"
    )
    assert names(parse("b > 0 OR a = b OR a IS NULL")) == ("b", "a")


@pytest.mark.parametrize(
    "check",
    [
        "",
        "a >",
        "a > 0 OR",
        "(a > 0",
        "a > 0)",
        "a BETWEEN 1 AND 2",
        "a LIKE 'x'",
        "a NOT LIKE 'x'",
        "abs(a) > 0",
        "a / 2 > 0",
        "a % 2 = 0",
        "a > 0; DROP TABLE t",
        "a || b = 'x'",
        "CASE WHEN a THEN b END",
        "a > 0 -- so",
        "a IN ()",
        "a IS 3",
        "a = 'open",
        "a ~ 'x'",
    ],
)
def test_what_engines_may_read_differently_is_refused(check: str) -> None:
    with pytest.raises(FaultError):
        parse(check)


def _implied(contracts: Contracts, topic: str) -> set[str]:
    return set(contracts.topic(topic).checks)


def test_implied_checks_follow_from_the_names(contracts: Contracts) -> None:
    offer = _implied(contracts, "flexibility.offer.v1")
    assert {
        "portfolio_id <> ''",
        "period_end > period_start",
        "revision >= 0",
        "quantity_w >= 0",
        "min_quantity_w >= 0",
        "rest_s IS NULL OR rest_s >= 0",
        "reliability IS NULL OR (reliability >= 0 AND reliability <= 1)",
        "currency <> ''",
    } <= offer
    assert "rebound_ratio IS NULL OR (rebound_ratio >= 0 AND rebound_ratio <= 1)" not in offer  # a rebound may be more
    site = _implied(contracts, "registry.site.v1")
    assert "valid_to IS NULL OR valid_to > valid_from" in site
    assert "import_limit_w IS NULL OR import_limit_w >= 0" in site
    assert "set_no >= 1 AND set_no <= set_size" in _implied(contracts, "market.bid.v1")
    assert "coverage >= 0 AND coverage <= 1" in _implied(contracts, "telemetry.interval.v1")
    weather = _implied(contracts, "weather.forecast.v1")
    assert "cloud_ratio IS NULL OR (cloud_ratio >= 0 AND cloud_ratio <= 1)" in weather
    reading = _implied(contracts, "telemetry.reading.v1")
    assert not any(check.startswith("power_w IS NULL OR power_w >=") for check in reading)  # signed


def test_no_check_stands_twice(contracts: Contracts) -> None:
    for topic in contracts.topics.values():
        assert len(set(topic.checks)) == len(topic.checks), topic.name


@pytest.mark.parametrize("rows", [1, 500])
def test_integers_beyond_64_bits_are_judged_alike_in_few_rows_and_in_many(
    house: House, rows: int, codec: Codec
) -> None:
    # 2^62 + 2^62 wraps to -2^63 in 64 bits, which is not above 0; Python alone would see 2^63, which is.
    house.change(TOPIC_FILE, lambda topic: topic.update(checks=["force_w IS NULL OR force_w + force_w > 0"]))
    topic = house.topic()
    codec.prepare(topic, [{**GOOD, "force_w": 1}] * rows)
    with pytest.raises(EmitError, match=r"check `force_w IS NULL OR force_w \+ force_w > 0` does not hold"):
        codec.prepare(topic, [{**GOOD, "force_w": 2**62}] * rows)


@pytest.mark.parametrize("rows", [1, 500])
def test_integers_and_doubles_are_compared_alike_in_few_rows_and_in_many(house: House, rows: int, codec: Codec) -> None:
    # 2^53 + 1 is no double: as doubles both sides are equal, as Python numbers they are not.
    house.change(TOPIC_FILE, lambda topic: topic.update(checks=["force_w IS NULL OR force_w <> gap_mm"]))
    topic = house.topic()
    with pytest.raises(EmitError, match="force_w <> gap_mm` does not hold"):
        codec.prepare(topic, [{**GOOD, "force_w": 2**53 + 1, "gap_mm": float(2**53)}] * rows)


def test_the_tree_of_a_check_is_made_once() -> None:
    first: Node = parse("a > 0")
    assert parse("a > 0") is first
