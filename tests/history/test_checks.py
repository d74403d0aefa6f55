"""ClickHouse holds every check of every topic: it refuses the row that another SQL engine says breaks it."""

import itertools
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from streams.contracts import Topic
from streams.errors import HistoryError
from streams.history import History
from streams.history.tables import constraint_name, table_name
from tests.history.world import ALL_TOPICS, examples, placed
from topics import CONTRACTS


@pytest.fixture(scope="module")
def strict() -> Iterator[History]:
    with History.embedded(None, CONTRACTS, hold_rows=0) as history:
        yield history


def _candidates(topic: Topic, name: str, example: Any) -> list[Any]:
    field = topic.by_name[name]
    found: dict[str, list[Any]] = {
        "string": ["", "x", "EUR"],
        "enum": list(field.symbols),
        "long": [-1, 0, 1, 2, 2_000_000],
        "double": [-1.0, 0.0, 0.5, 1.0, 2.0, 1e9, -1e9],
        "boolean": [False, True],
        "timestamp": [datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)],
    }
    return [example, *found.get(field.kind, []), *([None] if field.nullable else [])]


def _plain(value: Any) -> Any:
    return value.timestamp() if isinstance(value, datetime) else value


def _by_sqlite(checks: tuple[str, ...], row: dict[str, Any]) -> list[bool]:
    """Whether each check holds for a row, by another SQL engine."""
    names = [name for name, value in row.items() if not isinstance(value, list)]
    with sqlite3.connect(":memory:") as engine:
        columns = ", ".join(f'? AS "{name}"' for name in names)
        sql = f"SELECT {', '.join(f'({check})' for check in checks)} FROM (SELECT {columns})"
        held = engine.execute(sql, [_plain(row[name]) for name in names]).fetchone()
    engine.close()
    return [bool(one) for one in held]


def _breaking(topic: Topic, check: str) -> dict[str, Any]:
    """A row that breaks this check, and as few others as can be: best none."""
    names = [name for name in topic.columns if re.search(rf"\b{name}\b", re.sub(r"'[^']*'", "", check))]
    index = topic.checks.index(check)
    best: tuple[int, dict[str, Any]] | None = None
    for example in examples(topic).iter_rows(named=True):
        for values in itertools.product(*(_candidates(topic, name, example[name]) for name in names)):
            row = example | dict(zip(names, values, strict=True))
            held = _by_sqlite(topic.checks, row)
            broken = held.count(False)
            if not held[index] and (best is None or broken < best[0]):
                best = (broken, row)
                if broken == 1:
                    return row
    assert best is not None, f"{topic.name}: nothing breaks {check}"
    return best[1]


CHECKS = [(topic, check) for topic in ALL_TOPICS for check in topic.checks]


@pytest.mark.parametrize(("topic", "check"), CHECKS, ids=lambda part: part if isinstance(part, str) else part.name)
def test_clickhouse_refuses_what_breaks_a_check_and_nothing_else(strict: History, topic: Topic, check: str) -> None:
    row = _breaking(topic, check)
    frame = placed(pl.DataFrame([row], schema=dict(topic.columns)))
    strict._make(strict._shelf(topic))
    with pytest.raises(HistoryError, match="violated") as refused:
        strict._session.insert(table_name(topic.name), frame, None)
    broken = [c for c, held in zip(topic.checks, _by_sqlite(topic.checks, row), strict=True) if not held]
    assert any(constraint_name(one) in str(refused.value) for one in broken)
    if len(broken) == 1:
        assert constraint_name(check) in str(refused.value)
    assert "\n" not in str(refused.value)
    strict._session.insert(table_name(topic.name), placed(examples(topic).head(1)), None)
