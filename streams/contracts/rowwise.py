"""The rules of a topic as a plain Python function over rows, for small frames.

One select of a dozen rules costs polars 150-300 us however few the rows; a loop over twenty rows costs 20. Both must
say the same (a property test holds them to it), or a result would depend on how batches were cut. What Python could
see otherwise, integers beyond 64 bits or compared with doubles, is left to polars.

A comparison with a null gives true or false here instead of NULL. That changes nothing: a check is proven never to
be NULL, and three-valued logic is monotone, so a NULL inside it may stand for either.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from streams.contracts import checks as sql
from streams.contracts.schema import UNKNOWN
from streams.contracts.topic import Field, Topic

_SIGNS = {"=": "==", "<>": "!="}
_LONG, _DECIMAL = "long literal", "decimal literal"


class _OtherwiseError(Exception):
    """A check that polars alone can evaluate."""


@dataclass(frozen=True)
class RowRules:
    """A function over columns of physical values, and which columns it wants."""

    names: tuple[str, ...]
    fine: Callable[[Sequence[Sequence[Any]]], bool]

    def hold(self, columns: Sequence[Sequence[Any]]) -> bool | None:
        """Whether all rows are fine; None where polars must tell."""
        try:
            return self.fine(columns)
        except (TypeError, OverflowError):  # a null where an order is asked for, or more than 64 bits
            return None


def row_rules(topic: Topic, trees: Sequence[sql.Node], *, symbols: bool, micros: range, days: range) -> RowRules | None:
    """The rules of a topic as a function; None where a check is beyond it.

    Args:
        topic: the topic.
        trees: its checks, parsed.
        symbols: also refuse symbols that the schema does not have.
        micros: which timestamps are allowed.
        days: which dates are.
    """
    code = _Code(topic, symbols=symbols, micros=micros, days=days)
    try:
        conditions = [condition for field in topic.fields if (condition := code.field(field))]
        conditions += [code.node(tree) for tree in trees]
    except _OtherwiseError:
        return None
    names = code.used
    variables = ", ".join(code.variable(name) for name in names)
    tests = "\n            and ".join(conditions)
    source = f"""
def fine(columns):
    for {variables}, in zip(*columns):
        if not (
            {tests}
        ):
            return False
    return True
"""
    scope: dict[str, Any] = {"finite": _finite, "whole": _whole, "symbols": code.symbols}
    exec(compile(source, f"<rules of {topic.name}>", "exec"), scope)  # noqa: S102  # made of parsed checks alone
    return RowRules(tuple(names), scope["fine"])


def _finite(value: float) -> bool:
    return value - value == 0.0


def _whole(value: int) -> int:
    if not -(1 << 63) <= value < 1 << 63:
        raise OverflowError
    return value


class _Code:
    """Writes conditions."""

    def __init__(self, topic: Topic, *, symbols: bool, micros: range, days: range) -> None:
        self._fields = topic.by_name
        self._order = {name: at for at, name in enumerate(topic.columns)}
        self._symbols = symbols
        self._ranges = {"timestamp": micros, "date": days}
        self.symbols: dict[str, frozenset[str]] = {}
        self._used: dict[str, None] = {}

    @property
    def used(self) -> list[str]:
        return sorted(self._used, key=self._order.__getitem__)

    def variable(self, name: str) -> str:
        self._used[name] = None
        return f"v{self._order[name]}"

    def field(self, field: Field) -> str | None:
        """The condition that a field's kind makes."""
        if field.kind not in ("double", "timestamp", "date", "enum"):
            return None
        value = self.variable(field.name)
        match field.kind:
            case "double":
                condition = f"finite({value})"
            case "enum" if self._symbols:
                self.symbols[field.name] = frozenset(field.symbols) - {UNKNOWN}
                condition = f"{value} in symbols[{field.name!r}]"
            case "enum":
                condition = f"{value} != {UNKNOWN!r}"
            case _:
                allowed = self._ranges[field.kind]
                condition = f"{allowed.start} <= {value} < {allowed.stop}"
        return f"({value} is None or {condition})" if field.nullable else condition

    def node(self, node: sql.Node) -> str:
        """A check, or a part of one."""
        match node:
            case sql.Name(name):
                return self.variable(name)
            case sql.Literal(value):
                return self._literal(value)
            case sql.IsNull(part):
                return f"({self.node(part)} is None)"
            case sql.Not(part):
                return f"(not {self.node(part)})"
            case sql.Both(word, parts):
                return f"({f' {word.lower()} '.join(map(self.node, parts))})"
        self._kind(node)
        left, *others = [self.node(part) for part in node.parts]
        if node.sign == "IN":
            return f"({left} in ({', '.join(others)},))"
        if node.sign in "+-*":
            made = f"{left} {node.sign} {others[0]}" if others else f"-{left}"
            return f"whole({made})" if self._kind(node) == "long" else f"({made})"
        return f"({left} {_SIGNS.get(node.sign, node.sign)} {others[0]})"

    @staticmethod
    def _literal(value: str) -> str:
        if value.startswith("'"):
            return repr(value[1:-1].replace("''", "'"))
        return {"TRUE": "True", "FALSE": "False"}.get(value, value)

    def _kind(self, node: sql.Node) -> str:
        """The kind of an operand; operands of one operator must be of one kind."""
        match node:
            case sql.Name(name):
                return {"enum": "string"}.get(self._fields[name].kind, self._fields[name].kind)
            case sql.Literal(value):
                if value.startswith("'"):
                    return "string"
                return "boolean" if value in ("TRUE", "FALSE") else _DECIMAL if "." in value else _LONG
            case sql.IsNull() | sql.Not() | sql.Both():
                return "boolean"
        kinds = {self._kind(part) for part in node.parts}
        if kinds <= {_LONG, "long"}:
            kind = "long"
        elif kinds <= {_LONG, _DECIMAL, "double"}:
            kind = "double"
        elif len(kinds) == 1:
            (kind,) = kinds
        else:
            raise _OtherwiseError
        return kind if node.sign in ("+", "-", "*") else "boolean"
