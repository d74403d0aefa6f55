"""The reference pages of whoever runs it: the settings and the metrics, as the code has them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

_HEAD = "| variable | type | default | what it is |\n|---|---|---|---|\n"
_TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", SecretStr: "secret"}
_LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "max_length": "at most {} characters"}
_OTHERS = (
    ("FLEXLOG_CACHE", "path", "Folder for what is fetched or kept between runs: the demo's data, the local clusters."),
    ("FLEXLOG_TOPOLOGY", "`module:function`", "Makes the topology for `flexlog run`; else all that is installed."),
    ("JAVA_HOME", "path", "The Java that a local cluster runs on; else the one in the path."),
    ("POLARS_MAX_THREADS", "whole number", "1 unless set: frames are small, and the same order is worth more."),
)


def configuration() -> str:
    """All settings of a deployment, a table a section."""
    from streams.kafka.settings import DELIMITER, ENV_PREFIX, RESERVED, Settings

    text = [
        "# Configuration\n",
        "A deployment is configured by variables of the environment. They are read and checked at a command's start: a",
        "name that is misspelt or a value that cannot be used ends it with one line that names the variable. The",
        "embedded host needs none of them.",
    ]
    for name, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        text += [
            f"\n## {(field.description or name).rstrip('.')}\n",
            _HEAD + "\n".join(_rows(f"{ENV_PREFIX}{name.upper()}{DELIMITER}", model)),
        ]
    text += ["\n## Options of librdkafka that cannot be set\n", "| option | what to do instead |\n|---|---|"]
    text += [f"| `{option}` | {way} |" for option, way in RESERVED.items()]
    text += ["\n## Others\n", "| variable | type | what it is |\n|---|---|---|"]
    text += [f"| `{name}` | {kind} | {what} |" for name, kind, what in _OTHERS]
    return "\n".join(text) + "\n"


def metrics() -> str:
    """The metrics of a runner, and its pages of health."""
    from streams.kafka.watching import REASONS
    from streams.observe import as_table

    words = ", ".join(f"`{word}`" for word in REASONS)
    return f"""# Metrics and health

Each runner of `flexlog run` serves three pages, the first at `FLEXLOG_KAFKA__HEALTH_PORT`, the next ones count on.

| page | 200 | 503 |
|---|---|---|
| `/healthz` | its loop turns and it is a member of its group | start the process again |
| `/readyz` | it has tasks and their state is whole, or the group has none for it | wait; the page says for what |
| `/metrics` | Prometheus' text | never |

A runner whose tick waits for the history is not ready. `flexlog sink` serves the same pages at
`FLEXLOG_CLICKHOUSE__HEALTH_PORT`: it is ready when it has brought all that was there and waits for nothing; it has the
records it has consumed and its lag by topic, and its memory.

{as_table()}
The `reason` of `flexlog_waiting` is one of {words}.
"""


def _rows(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    """A row a setting; those of a section within it in its place."""
    for name, field in model.model_fields.items():
        variable, kind = f"{prefix}{name.upper()}", field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _rows(f"{variable}__", kind)
            continue
        if get_origin(kind) is dict:
            variable += "__…"
        yield f"| `{variable}` | {_kind(field)} | {_default(field)} | {_cell(field.description or '')} |"


def _kind(field: FieldInfo) -> str:
    """A type and its limits in words."""
    kind: Any = field.annotation
    if given := [each for each in get_args(kind) if each is not type(None)]:
        if get_origin(kind) is Literal:
            return " or ".join(f"`{value}`" for value in given)
        if get_origin(kind) is dict:
            return "text, one each"
        kind = given[0]
    words = [_TYPES[kind]]
    for limit in field.metadata:
        for name, sign in _LIMITS.items():
            if (value := getattr(limit, name, None)) is not None:
                words.append(sign.format(value) if "{}" in sign else f"{sign} {value:,}")
    return ", ".join(words)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "none" if value is None or value in ("", {}) else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
