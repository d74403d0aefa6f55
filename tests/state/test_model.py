"""State against a plain dict: any sequence of operations, on every kind of index, with every size limit made small."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.columns import Col, Keyed
from streams.errors import StateError
from streams.state import StateStore, arena, index, keyed

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Thing(Keyed, key=("name", "at"), expires="until"):
    """Has every type of column."""

    amount: Col[int]
    name: Col[str]
    until: Col[datetime | None]
    at: Col[datetime]
    level: Col[float | None]
    note: Col[str | None]
    blob: Col[bytes | None]
    ok: Col[bool]
    day: Col[date | None]


class Switch(Keyed, key=("ident",)):
    """Has a key of one float column and never expires."""

    ident: Col[float]
    on: Col[bool | None]


TIMES = st.sampled_from(
    [EPOCH + timedelta(days=days, microseconds=micros) for days in (-40_000, -1, 0, 20_000) for micros in (-1, 0, 7)]
)
NAMES = st.sampled_from(["", "a", "B", "é", "\uffff", "\U0001f600", "a name longer than twelve bytes", "\x00"])
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
THING = st.fixed_dictionaries(
    {
        "amount": st.integers(-(2**63), 2**63 - 1),
        "name": NAMES,
        "until": st.none() | TIMES,
        "at": TIMES,
        "level": st.none() | st.floats(),
        "note": TEXTS,
        "blob": st.none() | st.binary(max_size=20),
        "ok": st.booleans(),
        "day": st.none() | st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    }
)
SWITCH = st.fixed_dictionaries(
    {"ident": st.sampled_from([-1.5, 0.0, 1e300, 5e-324, 2.0, 3.0]), "on": st.none() | st.booleans()}
)
Row = dict[str, Any]
Key = tuple[Any, ...]


def key_of(kind: type[Keyed], row: Row) -> Key:
    """A row's key, in the order that states keep: strings by their bytes."""
    return tuple(value.encode() if isinstance(value := row[name], str) else value for name in kind.__key__)


def exact(value: Any) -> Any:
    """A value that is equal only to the same bits."""
    return struct.pack("<d", value) if isinstance(value, float) else value


def frame(kind: type[Keyed], rows: list[Row]) -> pl.DataFrame:
    """Rows as a frame of the class."""
    return pl.DataFrame(
        [pl.Series(name, [row[name] for row in rows], dtype=dtype) for name, dtype in kind.__columns__.items()]
    )


def listed(table: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Rows of a frame, to the bit."""
    return [tuple(map(exact, row)) for row in table.rows()]


def is_in(keys: set[Key], key: Key, _: Row) -> bool:
    """Whether a row's key is one of these."""
    return key in keys


@dataclass
class Model:
    """What a store should hold: rows by key, and the keys that changed since the tick."""

    rows: dict[type[Keyed], dict[Key, Row]] = field(default_factory=lambda: {Thing: {}, Switch: {}})
    changed: dict[type[Keyed], set[Key]] = field(default_factory=lambda: {Thing: set(), Switch: set()})

    def copy(self) -> "Model":
        """As it is now."""
        return replace(
            self,
            rows={kind: dict(rows) for kind, rows in self.rows.items()},
            changed={kind: set(keys) for kind, keys in self.changed.items()},
        )

    def sorted(self, kind: type[Keyed], where: Callable[[Key, Row], bool]) -> list[tuple[Any, ...]]:
        """Rows that match, by key, as `listed` gives them."""
        rows = sorted(self.rows[kind].items(), key=lambda item: item[0])
        return [tuple(exact(row[name]) for name in kind.__columns__) for key, row in rows if where(key, row)]

    def remove(self, kind: type[Keyed], keys: list[Key]) -> None:
        """Rows are gone, and so is that they changed."""
        for key in keys:
            self.rows[kind].pop(key, None)
            self.changed[kind].discard(key)

    def store(self) -> StateStore:
        """The same state made in another way: unchanged rows first, last keys first."""
        made = StateStore([Switch, Thing])
        for flag in (False, True):
            for kind, rows in self.rows.items():
                chosen = [row for key, row in reversed(rows.items()) if (key in self.changed[kind]) == flag]
                made[kind].put(frame(kind, chosen))
            if not flag:
                made.end_tick()
        return made


class Machine(RuleBasedStateMachine):
    """Operations on a store and its model, with limits so small that everything happens within a few steps."""

    patches: tuple[tuple[Any, str, Any], ...] = ()

    def __init__(self) -> None:
        super().__init__()
        small = [(arena, "_SHORT", 4), (arena, "_CHUNKS", 2), (arena, "_SEGMENTS", 5), (arena, "_DEAD", 3)]
        small += [(arena, "_FEW", 1), (arena, "_OWN", 10), (index, "_FEW", 2), (keyed, "_KEPT", 3)]
        self._patches = [patch.object(*values) for values in (*small, *self.patches)]
        for each in self._patches:
            each.start()
        self.store = StateStore([Thing, Switch])
        self.model = Model()
        self.committed = Model()
        self.pending: list[bytes] = []
        self.log: list[bytes] = []
        self.dirty = False

    def teardown(self) -> None:
        for each in self._patches:
            each.stop()

    def put(self, kind: type[Keyed], rows: list[Row]) -> None:
        self.store[kind].put(frame(kind, rows))
        for row in rows:
            self.model.rows[kind][key_of(kind, row)] = row
            self.model.changed[kind].add(key_of(kind, row))
        self.dirty |= bool(rows)

    @initialize(rows=st.lists(THING, max_size=30, unique_by=lambda row: key_of(Thing, row)))
    def start(self, rows: list[Row]) -> None:
        self.put(Thing, rows)

    @rule(rows=st.lists(THING, max_size=8, unique_by=lambda row: key_of(Thing, row)))
    def put_things(self, rows: list[Row]) -> None:
        self.put(Thing, rows)

    @rule(rows=st.lists(SWITCH, max_size=4, unique_by=lambda row: key_of(Switch, row)))
    def put_switches(self, rows: list[Row]) -> None:
        self.put(Switch, rows)

    @rule(rows=st.lists(THING, min_size=1, max_size=4, unique_by=lambda row: key_of(Thing, row)), again=THING)
    def put_a_key_twice(self, rows: list[Row], again: Row) -> None:
        twice = [*rows, {**again, "name": rows[0]["name"], "at": rows[0]["at"]}]
        with pytest.raises(StateError, match="occurs twice"):
            self.store[Thing].put(frame(Thing, twice))

    @rule(rows=st.lists(THING, max_size=6))
    def delete_things(self, rows: list[Row]) -> None:
        self.store[Thing].delete(frame(Thing, rows))
        self.model.remove(Thing, [key_of(Thing, row) for row in rows])
        self.dirty = True

    @rule(rows=st.lists(SWITCH, max_size=3))
    def delete_switches(self, rows: list[Row]) -> None:
        self.store[Switch].delete(frame(Switch, rows).select("ident"))
        self.model.remove(Switch, [key_of(Switch, row) for row in rows])
        self.dirty = True

    @rule(before=TIMES)
    def expire(self, before: datetime) -> None:
        self.store[Thing].expire(before)
        rows = self.model.rows[Thing].items()
        self.model.remove(Thing, [key for key, row in rows if row["until"] is not None and row["until"] < before])
        self.dirty = True

    @rule()
    def end_tick(self) -> None:
        self.store.end_tick()
        for keys in self.model.changed.values():
            keys.clear()
        self.dirty = True

    @rule()
    def drain(self) -> None:
        self.pending += self.store.drain()
        assert self.store.drain() == []

    @rule()
    def commit(self) -> None:
        self.log += self.pending + self.store.drain()
        self.pending = []
        self.store.commit()
        self.committed = self.model.copy()
        self.dirty = False

    @rule()
    def rollback(self) -> None:
        self.store.rollback()
        assert self.store.drain() == []
        self.pending = []
        self.model = self.committed.copy()
        self.dirty = False

    @rule(rows=st.lists(THING, max_size=8))
    def get(self, rows: list[Row]) -> None:
        asked = frame(Thing, rows).select("at", "name", other=pl.lit(1))
        found = self.store[Thing].get(asked, suffix="_was")
        values = [name for name in Thing.__columns__ if name not in Thing.__key__]
        assert found.columns == ["at", "name", "other", *(name + "_was" for name in values)]
        assert found.select("at", "name", "other").equals(asked)
        known = [self.model.rows[Thing].get(key_of(Thing, row), {}) for row in rows]
        expected = [tuple(exact(row.get(name)) for name in values) for row in known]
        assert listed(found.select(name + "_was" for name in values)) == expected

    @rule(amount=st.integers(-5, 5))
    def scan(self, amount: int) -> None:
        found = self.store[Thing].scan((Thing.amount > amount) & Thing.level.is_not_null())
        expected = self.model.sorted(Thing, lambda _, row: row["amount"] > amount and row["level"] is not None)
        assert listed(found) == expected
        highest = max((row["amount"] for row in self.model.rows[Thing].values()), default=0)
        found = self.store[Thing].scan(Thing.amount == Thing.amount.max())
        assert listed(found) == self.model.sorted(Thing, lambda _, row: row["amount"] == highest)

    @precondition(lambda self: not self.dirty)
    @rule()
    def go_on_with_a_copy(self) -> None:
        copy = StateStore([Thing, Switch])
        for record in self.store.snapshot():
            copy.apply(record)
        assert copy.digest() == self.store.digest()
        self.store = copy

    @precondition(lambda self: not self.dirty)
    @rule()
    def go_on_with_a_replay(self) -> None:
        copy = StateStore([Thing, Switch])
        for record in self.log:
            copy.apply(record)
        assert copy.digest() == self.store.digest()
        self.store = copy

    @precondition(lambda self: self.dirty)
    @rule()
    def what_is_not_drained_yet_leads_from_the_commit_to_now(self) -> None:
        self.pending += self.store.drain()
        copy = StateStore([Thing, Switch])
        for record in self.log + self.pending:
            copy.apply(record)
        assert copy.digest() == self.store.digest()

    @rule()
    def the_digest_does_not_know_the_past(self) -> None:
        assert self.model.store().digest() == self.store.digest()

    @rule(kind=st.sampled_from([Thing, Switch]), data=st.data())
    def the_digest_knows_every_row(self, kind: type[Keyed], data: st.DataObject) -> None:
        if not self.model.rows[kind]:
            return
        key = data.draw(st.sampled_from(sorted(self.model.rows[kind])))
        other = self.model.copy()
        if key in other.changed[kind]:
            other.changed[kind].discard(key)
        else:
            other.remove(kind, [key])
        assert other.store().digest() != self.store.digest()

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        for kind, rows in self.model.rows.items():
            state, changed = self.store[kind], self.model.changed[kind]
            assert len(state) == len(rows)
            assert state.scan().schema == kind.__columns__
            assert listed(state.scan()) == self.model.sorted(kind, lambda *_: True)
            assert state.changed().schema == kind.__columns__
            assert listed(state.changed()) == self.model.sorted(kind, partial(is_in, changed))


class OnDict(Machine):
    """Few keys: a dict."""


class OnHashes(Machine):
    """Many keys: open addressing."""

    patches = ((index, "DICT_KEYS", 0), (index, "_SMALLEST", 1))


class OnBoth(Machine):
    """Around the number of keys where the index changes its kind."""

    patches = ((index, "DICT_KEYS", 12), (index, "_SMALLEST", 1))


class OnCollisions(Machine):
    """Open addressing with four hashes for all keys."""

    patches = ((index, "DICT_KEYS", 0), (index, "_SMALLEST", 1), (index, "mix", lambda hashes: hashes & 3))


LIMITS = settings(max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TestOnDict = OnDict.TestCase
TestOnHashes = OnHashes.TestCase
TestOnBoth = OnBoth.TestCase
TestOnCollisions = OnCollisions.TestCase
for _case in (TestOnDict, TestOnHashes, TestOnBoth, TestOnCollisions):
    _case.settings = LIMITS
del _case
