"""Checks: boolean SQL over a record's fields, stated once for border, emit and history.

Allowed are comparisons, ``+ - *``, AND, OR, NOT, IN and IS NULL: what every engine reads the same way. Division
is not: engines disagree on it. A check must never yield NULL, for ClickHouse refuses such a row; `nullable_case`
proves it by three-valued logic.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from streams.contracts.topic import Field
from streams.contracts.units import is_magnitude, is_ratio
from streams.contracts.violation import FaultError

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>\d+(?:\.\d+)?)
      | (?P<string>'(?:[^']|'')*')
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*|"[A-Za-z_][A-Za-z0-9_]*")
      | (?P<sign><>|<=|>=|!=|-(?!-)|[=<>()+*,])
    )""",
    re.VERBOSE,
)
_WORDS = {"AND", "OR", "NOT", "IN", "IS", "NULL", "TRUE", "FALSE"}
_COMPARISONS = {"=", "<>", "!=", "<", "<=", ">", ">="}


@dataclass(frozen=True)
class Name:
    """A field."""

    name: str


@dataclass(frozen=True)
class Literal:
    """A number, a string or a truth value."""

    value: str


@dataclass(frozen=True)
class Strict:
    """An operator that is NULL where an operand is: arithmetic, a comparison, IN."""

    sign: str
    parts: tuple["Node", ...]


@dataclass(frozen=True)
class IsNull:
    """``x IS NULL``: never NULL itself."""

    part: "Node"


@dataclass(frozen=True)
class Not:
    """Negation."""

    part: "Node"


@dataclass(frozen=True)
class Both:
    """AND or OR."""

    word: str
    parts: tuple["Node", ...]


Node = Name | Literal | Strict | IsNull | Not | Both


class _Parser:
    """Recursive descent over one check."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split(text))
        self._at = 0

    @staticmethod
    def _split(text: str) -> Iterator[tuple[str, str]]:
        at, text = 0, text.strip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found or found.lastgroup is None:
                raise FaultError("checks", f"{text!r}: cannot read from {text[at:].strip()!r} on")
            kind, word = found.lastgroup, found.group(found.lastgroup)
            if kind == "name" and word.upper() in _WORDS:
                yield "word", word.upper()
            else:
                yield kind, word
            at = found.end()

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else "end"

    def _take(self, *words: str) -> str | None:
        if self._kind() in ("word", "sign") and self._peek() in words:
            self._at += 1
            return self._tokens[self._at - 1][1]
        return None

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise FaultError("checks", f"{self._text!r}: expected {word} where {self._peek() or 'its end'!r} stands")

    def parse(self) -> Node:
        node = self._either()
        if self._kind() != "end":
            raise FaultError("checks", f"{self._text!r}: {self._peek()!r} is more than one expression")
        return node

    def _either(self) -> Node:
        parts = [self._all()]
        while self._take("OR"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Both("OR", tuple(parts))

    def _all(self) -> Node:
        parts = [self._negated()]
        while self._take("AND"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else Both("AND", tuple(parts))

    def _negated(self) -> Node:
        return Not(self._negated()) if self._take("NOT") else self._predicate()

    def _predicate(self) -> Node:
        left = self._sum()
        if self._take("IS"):
            negated = self._take("NOT")
            self._need("NULL")
            return Not(IsNull(left)) if negated else IsNull(left)
        negated = self._take("NOT")
        if self._take("IN"):
            self._need("(")
            parts = [left, self._sum()]
            while self._take(","):
                parts.append(self._sum())
            self._need(")")
            found = Strict("IN", tuple(parts))
            return Not(found) if negated else found
        if negated:
            raise FaultError("checks", f"{self._text!r}: NOT {self._peek()} is not allowed; only NOT IN")
        if sign := self._take(*_COMPARISONS):
            return Strict(sign, (left, self._sum()))
        return left

    def _sum(self) -> Node:
        node = self._product()
        while sign := self._take("+", "-"):
            node = Strict(sign, (node, self._product()))
        return node

    def _product(self) -> Node:
        node = self._atom()
        while self._take("*"):
            node = Strict("*", (node, self._atom()))
        return node

    def _atom(self) -> Node:
        kind, word = self._kind(), self._peek()
        if self._take("("):
            node = self._either()
            self._need(")")
            return node
        if self._take("-"):
            return Strict("-", (self._atom(),))
        if kind in ("number", "string") or word in ("TRUE", "FALSE"):
            self._at += 1
            return Literal(word)
        if kind == "name":
            self._at += 1
            if self._peek() == "(":
                raise FaultError("checks", f"{self._text!r}: functions such as {word}() are not allowed")
            return Name(word.strip('"'))
        raise FaultError("checks", f"{self._text!r}: expected a field or a value where {word or 'its end'!r} stands")


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """The syntax tree of a check; a `FaultError` says what is not allowed."""
    return _Parser(text).parse()


def names(node: Node) -> tuple[str, ...]:
    """The fields that a check names, in order, each once."""
    found: dict[str, None] = {}

    def walk(part: Node) -> None:
        match part:
            case Name(name):
                found[name] = None
            case Strict(_, parts) | Both(_, parts):
                for inner in parts:
                    walk(inner)
            case IsNull(inner) | Not(inner):
                walk(inner)

    walk(node)
    return tuple(found)


def sql(node: Node) -> str:
    """The check with every field quoted, so that a field may be called ``offset`` or ``partition``."""
    match node:
        case Name(name):
            return f'"{name}"'
        case Literal(value):
            return value
        case Strict("IN", (left, *others)):
            return f"({sql(left)} IN ({', '.join(map(sql, others))}))"
        case Strict(sign, (only,)):
            return f"({sign}{sql(only)})"
        case Strict(sign, parts):
            return f"({f' {sign} '.join(map(sql, parts))})"
        case IsNull(part):
            return f"({sql(part)} IS NULL)"
        case Not(part):
            return f"(NOT {sql(part)})"
        case Both(word, parts):
            return f"({f' {word} '.join(map(sql, parts))})"


def nullable_case(node: Node, nullable: frozenset[str]) -> tuple[str, ...] | None:
    """The nullable fields whose being null (and the others' not) can make a check NULL; None if nothing can.

    All combinations of nulls are tried. A comparison of values that are there may be true or false, each
    independently of the others, so the proof is safe: it can refuse a check that is right, never pass a wrong one.
    """
    free = [name for name in names(node) if name in nullable]
    for count in range(len(free) + 1):
        for absent in itertools.combinations(free, count):
            if None in _outcomes(node, frozenset(absent)):
                return absent
    return None


def _outcomes(node: Node, absent: frozenset[str]) -> frozenset[bool | None]:
    """The truth values that a check can have where these fields are null and no others."""
    match node:
        case Name(name):
            return frozenset({None}) if name in absent else frozenset({True, False})
        case Literal(value):
            return frozenset({value != "FALSE"})
        case Strict(_, parts):
            missing = any(None in _outcomes(part, absent) for part in parts)
            return frozenset({None}) if missing else frozenset({True, False})
        case IsNull(part):
            return frozenset(value is None for value in _outcomes(part, absent))
        case Not(part):
            return frozenset(None if value is None else not value for value in _outcomes(part, absent))
        case Both(word, parts):
            found = _outcomes(parts[0], absent)
            for part in parts[1:]:
                found = frozenset(_join(word, left, right) for left in found for right in _outcomes(part, absent))
            return found


def _join(word: str, left: bool | None, right: bool | None) -> bool | None:
    """AND or OR of three-valued logic."""
    decisive = word == "OR"
    if decisive in (left, right):
        return decisive
    return None if None in (left, right) else not decisive


def implied(fields: Sequence[Field], key: str) -> tuple[str, ...]:
    """The checks that hold everywhere, from the names of the fields."""
    by_name = {field.name: field for field in fields}
    found = [f"{key} <> ''"]
    if {"period_start", "period_end"} <= by_name.keys():
        found.append("period_end > period_start")
    if {"valid_from", "valid_to"} <= by_name.keys():
        found.append(_or_null(by_name["valid_to"], "valid_to > valid_from"))
    if {"set_no", "set_size"} <= by_name.keys():
        found.append("set_no >= 1 AND set_no <= set_size")
    for field in fields:
        if field.kind not in ("long", "double"):
            continue
        if is_ratio(field.name):
            bounds = f"{field.name} >= 0 AND {field.name} <= 1"
            found.append(f"{field.name} IS NULL OR ({bounds})" if field.nullable else bounds)
        elif is_magnitude(field.name):
            found.append(_or_null(field, f"{field.name} >= 0"))
    if "currency" in by_name and by_name["currency"].kind == "string":
        found.append(_or_null(by_name["currency"], "currency <> ''"))
    return tuple(found)


def _or_null(field: Field, check: str) -> str:
    return f"{field.name} IS NULL OR {check}" if field.nullable else check
