"""What does not show: copies without the dead, the digest, nulls beside keys."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from streams.columns import Col, Keyed
from streams.state import StateStore, arena, index

JAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("keys", [0, 16_384])
def test_a_null_beside_a_key_leaves_the_key_as_it_is(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of whole numbers with a null is one of floats in numpy: 2**53 + 1 would become 2**53."""
    monkeypatch.setattr(index, "DICT_KEYS", keys)

    class Large(Keyed, key=("ident",)):
        ident: Col[int]
        value: Col[int]

    state = StateStore([Large])[Large]
    state.put(pl.DataFrame({"ident": [2**53 + 1, 0], "value": [5, 6]}))
    assert state.get(pl.DataFrame({"ident": [None, 2**53 + 1, 2**53]}))["value"].to_list() == [None, 5, None]
    state.delete(pl.DataFrame({"ident": [None, 2**53 + 1]}))
    assert state.scan()["value"].to_list() == [6]


@pytest.mark.parametrize("keys", [0, 16_384])
def test_leaving_out_the_dead_changes_nothing(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sites 0 to 999 put once, 500 to 999 four times more with later months: of 3,000 rows 1,500 are dead."""
    monkeypatch.setattr(index, "DICT_KEYS", keys)
    monkeypatch.setattr(arena, "_DEAD", 100)

    class Last(Keyed, key=("site",), expires="at"):
        site: Col[int]
        at: Col[datetime]

    def batch(first: int, day: int) -> pl.DataFrame:
        return pl.DataFrame({"site": range(first, 1_000)}).with_columns(at=pl.lit(JAN + timedelta(days=day)))

    store = StateStore([Last])
    state = store[Last]
    state.put(batch(0, 0))
    for day in (3, 2, 1):
        state.put(batch(500, day))
        store.end_tick()
    state.put(batch(990, 4))
    held = sum(segment.height for segment in state.arena._segments)
    store.commit()
    assert held == 1 + 1_000 + 3 * 500 + 10
    assert sum(segment.height for segment in state.arena._segments) == 1 + 1_000
    assert state.changed()["site"].to_list() == list(range(990, 1_000))
    days = state.get(pl.DataFrame({"site": [0, 499, 500, 989, 990, 1_000]}))["at"].dt.day()
    assert days.to_list() == [1, 1, 2, 2, 5, None]
    before = store.digest()
    state.put(batch(400, 5))
    state.delete(pl.DataFrame({"site": [0, 999]}))
    assert len(state) == 998
    store.rollback()
    assert store.digest() == before
    state.expire(JAN + timedelta(days=1))
    assert state.scan()["site"].to_list() == list(range(500, 1_000))
    state.expire(JAN + timedelta(days=4))
    assert state.scan()["site"].to_list() == list(range(990, 1_000))


def test_the_digest_tells_nothing_from_zero() -> None:
    class All(Keyed, key=("ident",)):
        ident: Col[str]
        number: Col[int | None]
        level: Col[float | None]
        text: Col[str | None]
        data: Col[bytes | None]
        ok: Col[bool | None]
        at: Col[datetime | None]

    zero = {"number": 0, "level": 0.0, "text": "", "data": b"", "ok": False, "at": datetime(1970, 1, 1, tzinfo=UTC)}
    rows = [{**zero, "ident": "a"}, {**zero, "ident": "a", "level": -0.0}]
    rows += [{**zero, "ident": "a", name: None} for name in zero]
    digests = set()
    for row in rows:
        store = StateStore([All])
        store[All].put(pl.DataFrame([row], schema=All.__columns__))
        digests.add(store.digest())
    assert len(digests) == len(rows)
