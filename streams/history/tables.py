"""ClickHouse tables and views as a contract wants them.

Names: a topic's table is its name with underscores (``telemetry.reading.v1`` is ``telemetry_reading_v1``). Beside it
stand two views: ``latest_telemetry_reading_v1``, the newest row of each identity, and
``as_of_telemetry_reading_v1(at = '2026-01-31 12:00:00')``, the same as it was known at that append time.

A table is a ReplacingMergeTree whose sorting key ends in (partition, offset). Rows are never updated: all that is
ever replaced is a row by its own double, which a sink that was killed inside an insert may leave behind.
"""

# ruff: noqa: S608  # SQL is put together here and nowhere else; every name and text in it is quoted

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from streams.contracts import Field, Topic
from streams.errors import HistoryError

#: What a row has beside the record's fields, with its type and comment.
PLACE = {
    "_partition": ("UInt32", "Partition of the topic."),
    "_offset": ("UInt64", "Offset in the partition; with it the row's identity."),
    "_appended_at": ("DateTime64(6, 'UTC')", "When the log took the record, UTC: since when it is known."),
    "_schema_id": ("UInt32", "Id of the schema it was written with."),
}
UNDECODABLE = "_undecodable"

_TYPES = {
    "string": "String",
    "enum": "LowCardinality(String)",
    "long": "Int64",
    "double": "Float64",
    "boolean": "Bool",
    "timestamp": "DateTime64(6, 'UTC')",
    "date": "Date32",
    "bytes": "String",
}
_CODECS = {"timestamp": "CODEC(Delta(8), ZSTD(1))", "long": "CODEC(ZSTD(1))", "double": "CODEC(ZSTD(1))"}
_CODECS |= {"string": "CODEC(ZSTD(1))", "bytes": "CODEC(ZSTD(3))"}
_PLACE_CODECS = {"_offset": "CODEC(Delta(8), ZSTD(1))", "_appended_at": "CODEC(Delta(8), ZSTD(1))"}
#: How many inserts a table remembers to recognise one that is sent twice.
_REMEMBERED_INSERTS = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EFFECTIVE = "valid_from"  # such a time spreads over decades: months would make a part of each row


def table_name(topic: str) -> str:
    """The table of a topic: what a person types."""
    return topic.replace(".", "_").replace("-", "_")


def quoted(name: str) -> str:
    """An identifier in SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def text(value: str) -> str:
    """A string in SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def micros(at: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def moment(at: datetime) -> str:
    """A time in SQL, to the microsecond."""
    return f"fromUnixTimestamp64Micro({micros(at)}, 'UTC')"


def column_type(field: Field, where: str) -> str:
    """The ClickHouse type of a field.

    Raises:
        HistoryError: ClickHouse has none for it (a nullable array).
    """
    if field.kind == "array":
        if field.nullable:
            raise HistoryError(f"{where}: array {field.name!r} is nullable; make it an array with the default []")
        inner = [(part.name, column_type(part, where)) for part in field.items]
        if [name for name, _ in inner] == [""]:
            return f"Array({inner[0][1]})"
        return f"Array(Tuple({', '.join(f'{quoted(name)} {kind}' for name, kind in inner)}))"
    plain = _TYPES[field.kind]
    if not field.nullable:
        return plain
    return "LowCardinality(Nullable(String))" if field.kind == "enum" else f"Nullable({plain})"


def _default(field: Field) -> str:
    """What a row has that was written before the field was there."""
    value = field.default
    if not field.has_default or field.nullable or field.kind in ("array", "bytes", "timestamp", "date"):
        return ""
    if isinstance(value, bool):
        return f" DEFAULT {str(value).lower()}"
    return f" DEFAULT {text(value) if isinstance(value, str) else value}"


def _column(field: Field, where: str) -> str:
    codec = _CODECS.get(field.kind, "")
    kind = column_type(field, where)
    return f"{quoted(field.name)} {kind}{_default(field)} COMMENT {text(field.doc)} {codec}".rstrip()


def constraint_name(check: str) -> str:
    """A check's name, which a violation is reported under: its words and a few digits of its hash."""
    words = "_".join(re.findall(r"\w+", check.lower()))[:60].rstrip("_")
    return f"{words}_{hashlib.sha256(check.encode()).hexdigest()[:6]}"


def create_table(topic: Topic) -> str:
    """The statement that makes a topic's table."""
    where = str(topic.schema_file)
    columns = [_column(field, where) for field in topic.fields]
    for name, (kind, comment) in PLACE.items():
        columns.append(f"{quoted(name)} {kind} COMMENT {text(comment)} {_PLACE_CODECS.get(name, '')}".rstrip())
    checks = [f"CONSTRAINT {quoted(constraint_name(check))} CHECK {check}" for check in topic.checks]
    months = "" if topic.time == _EFFECTIVE else f"PARTITION BY toYYYYMM({quoted(topic.time)})\n"
    order = dict.fromkeys([topic.key, topic.time, "_partition", "_offset"])
    body = ",\n    ".join([*columns, *checks])
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(table_name(topic.name))} (\n    {body}\n) ENGINE = ReplacingMergeTree\n"
        f"{months}ORDER BY ({', '.join(map(quoted, order))})\n"
        f"SETTINGS non_replicated_deduplication_window = {_REMEMBERED_INSERTS}\n"
        f"COMMENT {text(table_comment(topic))}"
    )


def table_comment(topic: Topic, uuid: str = "") -> str:
    """What the table says of itself; with the UUID of the topic whose offsets it holds, once there are some."""
    return f"{topic.name}: {topic.description}" + (f"\ntopic uuid {uuid}" if uuid else "")


def comment_uuid(comment: str) -> str:
    """The topic's UUID in a table's comment."""
    return comment.rpartition("\ntopic uuid ")[2] if "\ntopic uuid " in comment else ""


def create_views(topic: Topic) -> list[str]:
    """The statements that make, or make anew, a topic's views."""
    table = table_name(topic.name)
    columns = ", ".join(quoted(name) for name in (*topic.columns, *PLACE))
    newest = f"ORDER BY _partition DESC, _offset DESC LIMIT 1 BY {', '.join(map(quoted, topic.identity))}"
    known = "WHERE _appended_at <= {at:DateTime64(6, 'UTC')}"
    return [
        f"CREATE OR REPLACE VIEW {quoted(f'latest_{table}')} AS SELECT {columns} FROM {quoted(table)} {newest}",
        f"CREATE OR REPLACE VIEW {quoted(f'as_of_{table}')} AS SELECT {columns} FROM {quoted(table)} {known} {newest}",
    ]


def alter_table(topic: Topic, columns: Mapping[str, str], constraints: Collection[str]) -> str | None:
    """The statement that gives a table what a newer contract has; None where it has it all.

    Columns that a contract no longer has stay. Checks that it no longer has go, unless the table knows columns that
    the contract does not: then the contract is the older one.

    Raises:
        HistoryError: a column has another type; under FULL_TRANSITIVE a field never changes it.
    """
    where, table = str(topic.schema_file), table_name(topic.name)
    steps = []
    for field in topic.fields:
        wanted = column_type(field, where)
        held = columns.get(field.name)
        if held is None:
            steps.append(f"ADD COLUMN IF NOT EXISTS {_column(field, where)}")
        elif _plain(held) != _plain(wanted):
            raise HistoryError(
                f"table {table}, column {field.name}: it is {held}, {where} wants {wanted}; "
                "a field never changes its type: make a new major topic"
            )
    wanted_checks = {constraint_name(check): check for check in topic.checks}
    for name, check in wanted_checks.items():
        if name not in constraints:
            steps.append(f"ADD CONSTRAINT IF NOT EXISTS {quoted(name)} CHECK {check}")
    if not columns.keys() - topic.columns.keys() - PLACE.keys():
        steps += [f"DROP CONSTRAINT IF EXISTS {quoted(name)}" for name in constraints if name not in wanted_checks]
    return f"ALTER TABLE {quoted(table)} {', '.join(steps)}" if steps else None


def select(table: str, columns: Iterable[str], where: str) -> str:
    """A query of some columns."""
    return f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(table)} WHERE {where}"


#: The query for (name, comment) of the tables and views there are.
COMMENTS = "SELECT name, comment FROM system.tables WHERE database = currentDatabase()"


def columns_of(table: str) -> str:
    """The query for (name, type) of a table's columns."""
    return f"SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {text(table)}"


def origin_of(table: str) -> str:
    """The query for the statement that a table was made by."""
    return f"SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = {text(table)}"


def positions_of(topic: Topic) -> str:
    """The query for (partition, greatest offset, least and greatest time in microseconds) of a topic's table."""
    rows = f"SELECT _partition, _offset, {quoted(topic.time)} AS t FROM {quoted(table_name(topic.name))}"
    times = "toUnixTimestamp64Micro(min(t)), toUnixTimestamp64Micro(max(t))"
    return f"SELECT _partition, max(_offset), {times} FROM ({rows}) GROUP BY _partition ORDER BY _partition"


def offsets_of(topic: Topic, starts: Mapping[int, int], *, undecodable: bool) -> str:
    """The query for (partition, offset) of what is held from these offsets on, decoded or not."""
    places = " OR ".join(f"(_partition = {place} AND _offset >= {start})" for place, start in starts.items())
    parts = [f"SELECT _partition, _offset FROM {quoted(table_name(topic.name))} WHERE {places or 'false'}"]
    if undecodable:
        parts.append(f"SELECT partition, offset FROM {UNDECODABLE} WHERE topic = {text(topic.name)}")
    return f"SELECT DISTINCT * FROM ({' UNION ALL '.join(parts)}) ORDER BY ALL"


def constraints(create_query: str) -> list[str]:
    """The names of the checks in what ClickHouse says a table was made by."""
    return re.findall(r"CONSTRAINT `?(\w+)`? CHECK", create_query)


def _plain(kind: str) -> str:
    """A type as one string, however it was written."""
    return re.sub(r"[\s`\\]", "", kind)


def create_undecodable() -> str:
    """The statement that makes the table of what could not be decoded."""
    return f"""CREATE TABLE IF NOT EXISTS {UNDECODABLE} (
    `topic` LowCardinality(String) COMMENT 'Topic.',
    `partition` UInt32 COMMENT 'Partition of the topic.',
    `offset` UInt64 COMMENT 'Offset in the partition.',
    `appended_at` DateTime64(6, 'UTC') COMMENT 'When the log took the record, UTC.',
    `reason_code` LowCardinality(String) COMMENT 'Why, as a code.',
    `reason_text` String COMMENT 'Why, in words.',
    `key` Nullable(String) COMMENT 'The key, as it was.',
    `value` Nullable(String) COMMENT 'The value, as it was.'
) ENGINE = ReplacingMergeTree ORDER BY (`topic`, `partition`, `offset`)
SETTINGS non_replicated_deduplication_window = {_REMEMBERED_INSERTS}
COMMENT 'Records of all topics that are in no other table, for they could not be decoded or break a check.'"""
