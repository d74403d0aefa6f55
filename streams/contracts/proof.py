"""The proof that both decoders, and both encoders, give the same."""

from collections.abc import Iterator

import polars as pl

from streams.contracts.codec import Codec
from streams.contracts.decoding import HEADER, Reader
from streams.contracts.emitting import Writer
from streams.contracts.topic import Topic
from streams.contracts.wire import WireError, read_body


def both_ways(codec: Codec, topic: Topic, frame: pl.DataFrame) -> Iterator[str]:
    """What differs between the ways to encode and decode a prepared frame; nothing where all is well.

    The vectorised codec, fastavro and the strict reader are three implementations: bytes and rows must agree, and
    nothing may be rejected.
    """
    schema_id = codec.schema_id(topic)
    encoded = codec.encode(topic, frame)
    by_row = Writer(topic).encode_rows(schema_id, frame)
    if encoded != by_row:
        yield "the vectorised encoder and fastavro write different bytes"
    decoded = codec.decode(topic, encoded.keys, encoded.values)
    for rejection in decoded.rejected:
        yield f"is rejected when it is read back: {rejection.code}: {rejection.text}"
    if not decoded.rejected and not decoded.frame.equals(frame):
        yield "is read back as something else"
    rows, broken = Reader(topic, schema_id, topic.text).rows(encoded.values)
    if broken or not rows.equals(frame):
        yield "fastavro reads it back as something else"
    for value, row in zip(encoded.values, rows.select(pl.all().to_physical()).to_dicts(), strict=True):
        try:
            strict = read_body(topic.fields, value[HEADER:])
        except WireError as error:
            yield f"the strict reader refuses it: {error.text}"
            continue
        if topic.vectorised and strict != row:
            yield "the strict reader reads it back as something else"
