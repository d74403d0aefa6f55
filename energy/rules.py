"""Effective-dated rules: limits, shares and market facts as data, each with its source.

``energy/rules/*.yaml`` hold the rules that come with flexlog. A file is a list under ``rules``; a rule has

    rule_id     what it is, dotted: readings.gap
    scope       where it holds: a zone, product or method; "" everywhere
    valid_from  first instant, with its offset from UTC
    valid_to    first instant at which it holds no more; left out while there is none
    value       a whole number, a number with a point, or a text
    unit        of the value: s, W, 1 (a ratio), ppm, micros/MWh, text, ...
    source      who says so
    source_date when they said so, if known

Two rules of one id and scope never hold at once. `Rulebook` answers what holds at an instant.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from energy.baseline import Adjustment, HighXOfY
from energy.intervals import Gaps
from energy.remembered import remembered

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first is ten times as fast, where it was built
SHIPPED = Path(__file__).parent / "rules"
V = TypeVar("V", int, float, str)


class RuleError(ValueError):
    """A rule that cannot be used, or one that is wanted and not there; one line."""


class Rule(BaseModel):
    """One rule as a file states it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rule_id: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)+$")
    scope: str
    valid_from: datetime
    valid_to: datetime | None = None
    value: int | float | str
    unit: str = Field(min_length=1)
    source: str = Field(min_length=1)
    source_date: date | None = None

    @field_validator("valid_from", "valid_to")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("has no offset from UTC; write it as 2026-01-01T00:00:00Z")
        return value.astimezone(UTC)

    @field_validator("value", mode="before")
    @classmethod
    def _no_flag(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("is yes or no; write 1 or 0")  # noqa: TRY004  # pydantic turns a ValueError into its own
        return value

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> "Rule":
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("valid_to is not after valid_from")
        return self

    def row(self) -> dict[str, Any]:
        """Return the fields of a RulePublished event, less where it came from."""
        value = self.value
        return {
            "rule_id": self.rule_id,
            "scope": self.scope,
            "valid_from": self.valid_from,
            "valid_to": self.valid_to,
            "status": "ACTIVE",
            "value_long": value if isinstance(value, int) else None,
            "value_double": value if isinstance(value, float) else None,
            "value_text": value if isinstance(value, str) else None,
            "unit": self.unit,
            "source": self.source,
            "source_date": self.source_date,
        }


def parse(text: str, name: str) -> list[Rule]:
    """Read the rules of one file.

    Args:
        text: YAML.
        name: The file's name, for errors.

    Raises:
        RuleError: What is wrong, in which rule of which file.
    """
    try:
        data = yaml.load(text, Loader=_LOADER)  # noqa: S506  # safe: both are safe loaders
    except yaml.YAMLError as error:
        raise RuleError(f"{name}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or set(data) != {"rules"} or not isinstance(data["rules"], list):
        raise RuleError(f"{name}: a rules file has one key, 'rules', with a list under it")
    rules = []
    for number, entry in enumerate(data["rules"], 1):
        who = entry.get("rule_id", f"rule {number}") if isinstance(entry, dict) else f"rule {number}"
        try:
            rules.append(Rule.model_validate(entry))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"] if part not in {"int", "float", "str"})
            raise RuleError(f"{name}: {who}: {where or 'rule'}: {first['msg']}") from error
    return rules


def load(folder: Path = SHIPPED) -> list[Rule]:
    """Read all rules of a folder, sorted by id, scope and start.

    Raises:
        RuleError: No rules, a file that cannot be used, or two rules of one id and scope that hold at once.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise RuleError(f"{folder}: no rules files (*.yaml)")
    found = [(rule, file.name) for file in files for rule in parse(file.read_text(encoding="utf-8"), file.name)]
    found.sort(key=lambda pair: (pair[0].rule_id, pair[0].scope, pair[0].valid_from))
    for (one, first), (two, second) in pairwise(found):
        same = (one.rule_id, one.scope) == (two.rule_id, two.scope)
        if same and (one.valid_to is None or two.valid_from < one.valid_to):
            raise RuleError(
                f"{second}: {two.rule_id} (scope {two.scope!r}) from {two.valid_from:%Y-%m-%dT%H:%MZ} overlaps the one"
                f" in {first} from {one.valid_from:%Y-%m-%dT%H:%MZ}; end that with valid_to"
            )
    return [rule for rule, _ in found]


def rows(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Return the rules as rows with the fields of RulePublished."""
    return [rule.row() for rule in rules]


class Rulebook:
    """What holds when: rules by id and scope.

    Args:
        published: Rows with the fields of RulePublished, one per ``(rule_id, scope, valid_from)``: as `rows` gives
            them, or as the topic's table has them (``frame.to_dicts()``).
    """

    def __init__(self, published: Iterable[Mapping[str, Any]]) -> None:
        self._rules: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in published:
            if row.get("status") != "WITHDRAWN":
                self._rules.setdefault((row["rule_id"], row["scope"]), []).append(row)
        for held in self._rules.values():
            held.sort(key=lambda row: row["valid_from"], reverse=True)

    def find(self, rule_id: str, at: datetime, scopes: Sequence[str] = ()) -> Mapping[str, Any] | None:
        """Return the row of the rule that holds at an instant.

        Args:
            rule_id: Which rule.
            at: Aware instant.
            scopes: Scopes in the order in which they count; "" comes last by itself.

        Returns:
            The one of the first scope that has one, of those that have begun the latest and not ended; or None.
        """
        for scope in (*scopes, ""):
            for row in self._rules.get((rule_id, scope), ()):
                if row["valid_from"] <= at:
                    if row["valid_to"] is None or at < row["valid_to"]:
                        return row
                    break
        return None

    def long(self, rule_id: str, at: datetime, scopes: Sequence[str] = ()) -> int:
        """Return a rule's whole number.

        Raises:
            RuleError: No such rule holds, or it is no whole number.
        """
        return self._value(rule_id, at, scopes, "value_long", int)

    def double(self, rule_id: str, at: datetime, scopes: Sequence[str] = ()) -> float:
        """Return a rule's number, written with or without a point.

        Raises:
            RuleError: No such rule holds, or it is no number.
        """
        row = self.find(rule_id, at, scopes)
        if row is not None and row.get("value_long") is not None:
            return float(row["value_long"])
        return self._value(rule_id, at, scopes, "value_double", float)

    def text(self, rule_id: str, at: datetime, scopes: Sequence[str] = ()) -> str:
        """Return a rule's text.

        Raises:
            RuleError: No such rule holds, or it is no text.
        """
        return self._value(rule_id, at, scopes, "value_text", str)

    def _value(self, rule_id: str, at: datetime, scopes: Sequence[str], column: str, kind: type[V]) -> V:
        row = self.find(rule_id, at, scopes)
        if row is None:
            asked = ", ".join(repr(scope) for scope in (*scopes, ""))
            raise RuleError(f"no rule {rule_id} holds at {at:%Y-%m-%dT%H:%M:%SZ} for scope {asked}; publish one")
        if row.get(column) is None:
            raise RuleError(f"rule {rule_id} (scope {row['scope']!r}) has no {kind.__name__} value")
        return kind(row[column])


@remembered
def rulebook(published: pl.DataFrame) -> Rulebook:
    """Return the rules of a table of RulePublished."""
    return Rulebook(published.to_dicts())


def reading_gaps(book: Rulebook, at: datetime, scopes: Sequence[str] = ()) -> Gaps:
    """Return how readings become a curve (rules ``readings.*``)."""
    return Gaps(book.double("readings.continuous", at, scopes), book.double("readings.gap", at, scopes))


def baseline_method(book: Rulebook, at: datetime, scopes: Sequence[str] = ()) -> HighXOfY:
    """Return the settlement baseline of a product or market (rules ``baseline.*``).

    Raises:
        RuleError: A rule is missing, or names no kind of adjustment.
    """
    adjustment = book.text("baseline.adjustment", at, scopes)
    if adjustment not in get_args(Adjustment):
        raise RuleError(f"rule baseline.adjustment is {adjustment!r}; use one of {', '.join(get_args(Adjustment))}")
    return HighXOfY(
        x=book.long("baseline.x", at, scopes),
        y=book.long("baseline.y", at, scopes),
        days_back=book.long("baseline.days_back", at, scopes),
        days_min=book.long("baseline.days_min", at, scopes),
        by_day_type=bool(book.long("baseline.by_day_type", at, scopes)),
        adjustment=cast("Adjustment", adjustment),
        cap=book.double("baseline.adjustment_cap", at, scopes),
        window_from_s=book.long("baseline.window_from", at, scopes),
        window_to_s=book.long("baseline.window_to", at, scopes),
    )
