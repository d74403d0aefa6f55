"""Commit events: what a commit consumed and made, on what it ran. They are the lineage and the recipe for replay."""

import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.hosts.board import moment
from streams.topology import RUNTIME

if TYPE_CHECKING:
    from streams.contracts.codec import Codec
    from streams.hosts.engine import Cut, Engine, Result
    from streams.hosts.log import Log
    from streams.topology import AnyProcessor, Topology

_PACKAGES = ("polars", "pyarrow", "pyruhvro", "numpy", "fastavro", "lightgbm", "pyomo", "pulp", "highspy", "chdb")


def commit_event(
    engine: "Engine",
    number: int,
    cut: "Cut",
    result: "Result",
    *,
    fingerprints: Mapping[str, str],
) -> dict[str, Any]:
    """The `audit.commit.v1` event of a commit.

    Inputs are the ranges read, half-open, and those by which tables moved; what did not move is left out.
    """
    log = engine.shared.log
    inputs = [
        _range(log.uuid(topic), topic, partition, low, high)
        for (topic, partition), (low, high) in cut.inputs.items()
        if high > low
    ]
    for topic, low, high in moved(engine, cut):
        for partition, (start, end) in enumerate(zip(low, high, strict=True)):
            if start != end:
                inputs.append(_range(log.uuid(topic), topic, partition, start, end))
    return {
        "task": engine.task,
        "commit_no": number,
        "processor": engine.spec.name,
        "version": engine.spec.version,
        "code_fingerprint": fingerprints["CODE"],
        "config_fingerprint": fingerprints["CONFIG"],
        "environment_fingerprint": fingerprints["ENVIRONMENT"],
        "now": moment(engine.tick or 0),
        "inputs": inputs,
        "outputs": [
            {"topic": o.topic.name, "partition": o.partition, "records": len(o.values), "digest": o.digest()}
            for o in result.outputs
        ],
        "watermarks": [{"topic": topic, "at": moment(at)} for topic, at in cut.watermarks.items()],
        "history": [
            {"topic": topic, "partition": partition, "to_offset": end}
            for topic, ends in result.history.items()
            for partition, end in ends.items()
        ],
        "state_digest": None,
        "rejected": len(result.rejected),
    }


def moved(engine: "Engine", cut: "Cut") -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """The tables whose bounds this cut moves: topic, from, to."""
    for topic, high in cut.tables.items():
        low = engine.moved_from.get(topic) or (0,) * len(high)
        if low != high:
            yield topic, low, high


def _range(uuid: str, topic: str, partition: int, low: int, high: int) -> dict[str, Any]:
    return {"topic": topic, "topic_uuid": uuid, "partition": partition, "from_offset": low, "to_offset": high}


def fingerprint(values: Mapping[str, Any]) -> str:
    """SHA-256 of values as canonical JSON."""
    return hashlib.sha256(canonical(values).encode()).hexdigest()


def canonical(values: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)


def environment() -> dict[str, Any]:
    """What results may depend on beside code and configuration."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": os.environ.get("POLARS_MAX_THREADS", ""),
        "packages": versions,
    }


def code(spec: "AnyProcessor") -> dict[str, Any]:
    """SHA-256 of each source file of a processor's folder, tests left out."""
    sources: set[Path] = set()
    for handler in (spec.on_batch, spec.on_tick):
        module = sys.modules.get(handler.__module__) if handler else None
        if module is not None and (path := inspect.getsourcefile(module)):
            sources.add(Path(path))
    files = {}
    for source in sorted(sources):
        inside = source.parent.glob("*.py") if (source.parent / "__init__.py").exists() else [source]
        for file in sorted(inside):
            if not file.name.startswith("test_"):
                files[f"{file.parent.name}/{file.name}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"name": spec.name, "version": spec.version, "files": files}


def config(spec: "AnyProcessor") -> dict[str, Any]:
    """A processor's configuration."""
    values = spec.config.model_dump(mode="json") if spec.config is not None else {}
    return {"name": spec.name, "every_s": spec.every.total_seconds(), "values": values}


def declare(
    log: "Log", codec: "Codec", topology: "Topology", specs: Iterable["AnyProcessor"], *, producer: str
) -> dict[str, dict[str, str]]:
    """Say once, as `audit.runtime.v1`, what the fingerprints of the commits stand for.

    Returns:
        By processor, the fingerprint of each kind.
    """
    fingerprints: dict[str, dict[str, str]] = {}
    values: dict[str, tuple[str, str]] = {}
    shared = environment()
    for spec in specs:
        kinds = {"CODE": code(spec), "CONFIG": config(spec), "ENVIRONMENT": shared}
        fingerprints[spec.name] = {kind: fingerprint(held) for kind, held in kinds.items()}
        for kind, held in kinds.items():
            values[fingerprint(held)] = (kind, canonical(held))
    at, end = 0, log.end(RUNTIME, 0)
    while at < end:
        slab = log.read(RUNTIME, 0, at, stop=end)
        for mark in slab.keys:
            values.pop((mark or b"").decode(), None)
        at = slab.next_offset
    if values:
        events = [{"fingerprint": m, "kind": kind, "values_json": text} for m, (kind, text) in sorted(values.items())]
        encoded = codec.encode_events(topology.topic(RUNTIME), events)
        transaction = log.transaction(producer)
        transaction.append(RUNTIME, 0, [event["fingerprint"].encode() for event in events], encoded)
        transaction.commit({})
    return fingerprints
