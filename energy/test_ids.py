from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy import ids

AT = datetime(2026, 1, 31, 23, 45, tzinfo=UTC)


def test_a_time_stands_in_utc_whatever_its_zone() -> None:
    assert ids.stamp(AT) == "20260131T234500Z"
    assert ids.stamp(AT.astimezone(timezone(timedelta(hours=9)))) == "20260131T234500Z"
    assert pl.DataFrame({"t": [AT]}).select(ids.to_stamp(pl.col("t"))).item() == "20260131T234500Z"


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("gate", "fontana"), "gate/fontana"),
        (("local-up/20260201", "fontana", "3"), "local-up%2F20260201/fontana/3"),
        (("a%2Fb", "c"), "a%252Fb/c"),
        (("", "x"), "/x"),
    ],
)
def test_a_separator_inside_a_part_is_percent_encoded(parts: tuple[str, ...], joined: str) -> None:
    assert ids.composed(*parts) == joined


@given(
    one=st.lists(st.text("ab/%2F"), min_size=1, max_size=3), other=st.lists(st.text("ab/%2F"), min_size=1, max_size=3)
)
def test_different_parts_never_give_the_same_id_and_columns_give_the_same_ids(one: list[str], other: list[str]) -> None:
    assert (ids.composed(*one) == ids.composed(*other)) == (one == other)
    frame = pl.DataFrame({str(number): [text] for number, text in enumerate(one)})
    assert frame.select(ids.to_composed(*map(pl.col, frame.columns))).item() == ids.composed(*one)
