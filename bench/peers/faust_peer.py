"""Faust: readings summed per site and 15 minutes in a table. Environment: TOPIC, N, SCHEMA, SUMS.

A plain table under site and quarter-hour: its windows go by the broker's time unless a model is decoded, and cost more.
"""

import io
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import fastavro
import faust  # type: ignore[import-not-found]  # it has an environment of its own

TOTAL = int(os.environ["N"])
SUMS = Path(os.environ["SUMS"])
SCHEMA = fastavro.parse_schema(json.loads(Path(os.environ["SCHEMA"]).read_text()))
app = faust.App(
    f"faust-{time.time()}",
    broker="kafka://" + os.environ["FLEXLOG_KAFKA__BOOTSTRAP_SERVERS"],
    store="memory://",
    topic_partitions=int(os.environ["PARTITIONS"]),
    topic_replication_factor=1,
    web_enabled=False,
    datadir=tempfile.mkdtemp(),
    consumer_auto_offset_reset="earliest",
)
readings = app.topic(
    os.environ["TOPIC"], value_type=bytes, key_type=bytes, value_serializer="raw", key_serializer="raw"
)
sums = app.Table("sums", default=float, partitions=int(os.environ["PARTITIONS"]))
seen, start = 0, 0.0


def save() -> None:
    SUMS.write_text("".join(f"{key},{total}\n" for key, total in sums.items()))


@app.agent(readings)  # type: ignore[untyped-decorator]
async def add(stream: Any) -> None:
    global seen, start  # noqa: PLW0603 -- the agent is one
    async for value in stream:
        reading = fastavro.schemaless_reader(io.BytesIO(value[5:]), SCHEMA)
        sums[f"{reading['site_id']},{int(reading['occurred_at'].timestamp()) // 900 * 900_000}"] += reading["power_w"]
        seen += 1
        if seen == 1:
            start = time.perf_counter()
        if seen == TOTAL:
            seconds = time.perf_counter() - start
            save()
            os.write(1, (json.dumps({"rows": seen, "seconds": seconds}) + "\n").encode())
            os._exit(0)
