"""How long a runner takes to have its state again, what memory it needs over a backlog, and several at once."""

from typing import Any

import polars as pl

from bench.kafka import data
from bench.kafka.job import QuarterSummed
from bench.kafka.place import Place, answer, pace, same
from topics import ReadingTaken

_PART = 100_000
_TAIL = 0.3
"""So much of the state is written again after the rest: the changelog has a snapshot and a tail."""


def restored(place: Place, rows: int) -> dict[str, float]:
    """Seconds in which one runner has so many keyed rows again, all tasks together."""
    run = place.install("keep")
    writer, topic = place.writer(), ReadingTaken.__topic__
    count = 0
    for first in range(0, int(rows * (1 + _TAIL)), _PART):
        sites = range(first % rows, min(first % rows + _PART, rows))
        count += writer.write(topic, data.of(sites))
    answer(place.runner("keep", run, 0, count))
    told = answer(place.runner("keep", run, 1, 0, 1.0))
    if told["restored"] != rows:
        raise RuntimeError(f"{told['restored']:,} of {rows:,} rows are there again")
    return {"rows": rows, "seconds": told["restore_s"], "peak_mb": told["peak_mb"]}


def together(place: Place, readings: int, expected: pl.DataFrame, runners: int) -> dict[str, Any]:
    """Readings a second of several runners on one backlog, from the first task that is there to the last commit.

    They begin at once, and the group gives out the tasks anew as they come: that is within the time. What all of them
    wrote is compared with what must come out.
    """
    run, topic = place.install("sums"), QuarterSummed.__topic__
    starts = place.ends(topic.name)
    processes = [place.runner("sums", run, slot, -1, 8.0) for slot in range(runners)]
    told = [answer(process) for process in processes]
    same(place.since(topic, starts), expected, f"{runners} runners")
    if (consumed := sum(one["consumed"] for one in told)) != readings:
        raise RuntimeError(f"{runners} runners consumed {consumed:,} of {readings:,} readings")
    begin, end = min(one["ready"] for one in told if one["ready"]), max(one["last"] for one in told)
    return {"runners": runners, "per_s": readings / (end - begin), "shares": [one["consumed"] for one in told]}


def backlog(place: Place, readings: int) -> dict[str, Any]:
    """The most memory of one runner that comes upon so many readings at once, and its pace."""
    run = place.install("sums")
    data.fill(place.writer(), readings)
    told = answer(place.runner("sums", run, 0, readings), 3_600)
    if told["consumed"] != readings:
        raise RuntimeError(f"flexlog consumed {told['consumed']:,} of {readings:,} readings")
    return {
        "readings": readings,
        "peak_mb": told["peak_mb"],
        "per_s": pace(told),
    }
