"""The proof that both decoders, and both encoders, give the same."""

from collections.abc import Iterator

import polars as pl

from streams.contracts.codec import Codec
from streams.contracts.decoding import HEADER, Reader
from streams.contracts.emitting import Writer
from streams.contracts.guard import plain
from streams.contracts.topic import Topic
from streams.contracts.wire import WireError, read_body


def both_ways(codec: Codec, topic: Topic, frame: pl.DataFrame) -> Iterator[str]:
    """What differs between the ways to encode and decode a prepared frame; nothing where all is well.

    The vectorised codec, fastavro and the strict reader are three implementations: bytes and rows must agree, and
    nothing may be rejected.
    """
    schema_id = codec.schema_id(topic)
    writer, reader = Writer(topic), Reader(topic, schema_id, topic.text)
    encoded = writer.encode_rows(schema_id, frame)
    if topic.vectorised:
        if writer.encode_columns(schema_id, frame) != encoded:
            yield "the vectorised encoder and fastavro write different bytes"
        by_column = reader.whole(encoded.values)
        if by_column is None or not by_column.equals(frame):
            yield "the vectorised decoder reads it back as something else"
    by_row, broken = reader.rows(encoded.values)
    if broken or not by_row.equals(frame):
        yield "fastavro reads it back as something else"
    yield from _strictly(topic, frame, encoded.values)
    decoded = codec.decode(topic, encoded.keys, encoded.values)
    for rejection in decoded.rejected:
        yield f"is rejected when it is read back: {rejection.code}: {rejection.text}"
    if not decoded.rejected and not decoded.frame.equals(frame):
        yield "is read back as something else"


def _strictly(topic: Topic, frame: pl.DataFrame, values: list[bytes]) -> Iterator[str]:
    """What the strict reader says otherwise; inside arrays it has times as integers, so those are left out."""
    flat = [field.name for field in topic.fields if field.kind != "array"]
    for value, row in zip(values, zip(*(plain(frame.get_column(name)) for name in flat), strict=True), strict=True):
        try:
            strict = read_body(topic.fields, value[HEADER:])
        except WireError as error:
            yield f"the strict reader refuses it: {error.text}"
            continue
        if repr([strict[name] for name in flat]) != repr(list(row)):  # NaN is no NaN's equal
            yield "the strict reader reads it back as something else"
