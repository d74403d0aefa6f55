"""Quix Streams, exactly-once: readings summed per site and 15 minutes. Arguments: topic, count, out topic, schema."""

import io
import json
import os
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import fastavro
from quixstreams import Application  # type: ignore[import-not-found]  # it has an environment of its own
from quixstreams.models.serializers.base import Deserializer  # type: ignore[import-not-found]

topic, total, out_topic = sys.argv[1], int(sys.argv[2]), sys.argv[3]
schema = fastavro.parse_schema(json.loads(Path(sys.argv[4]).read_text()))


class Reading(Deserializer):  # type: ignore[misc]
    def __call__(self, value: bytes, ctx: Any) -> Any:  # noqa: ARG002 -- the interface has it
        return fastavro.schemaless_reader(io.BytesIO(value[5:]), schema)


def event_time(value: Any, _headers: Any, _timestamp: float, _kind: Any) -> int:
    return int(value["occurred_at"].timestamp() * 1000)


app = Application(
    broker_address=os.environ["FLEXLOG_KAFKA__BOOTSTRAP_SERVERS"],
    consumer_group=f"quix-{time.time()}",
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_interval=2.0,
    state_dir=tempfile.mkdtemp(),
    loglevel="ERROR",
    consumer_extra_config={"fetch.queue.backoff.ms": 10},
)
readings = app.topic(
    topic,
    value_deserializer=Reading(),
    key_deserializer="str",
    timestamp_extractor=event_time,
)
out = app.topic(out_topic, key_serializer="str", value_serializer="json")
seen, start = 0, 0.0


def count(value: Any) -> float:
    global seen, start  # noqa: PLW0603 -- the pipeline is one
    seen += 1
    if seen == 1:
        start = time.perf_counter()
    if seen == total:
        print(json.dumps({"rows": seen, "seconds": time.perf_counter() - start}), flush=True)
        app.stop()
    return float(value["power_w"])


app.dataframe(readings).apply(count).tumbling_window(timedelta(minutes=15)).sum().final().to_topic(out)
app.run()
