"""What a user would pick instead, on the same bytes. Each is brought into the user's cache once."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

import polars as pl

from bench.kafka import data
from bench.kafka.place import Place, answer, lines, same
from topics import ReadingTaken

Peer = Literal["kafka_streams", "quix", "faust"]
ALL: Final[tuple[Peer, ...]] = ("kafka_streams", "quix", "faust")
_FILES: Final = Path(__file__).parents[1] / "peers"
_JAVA: Final = _FILES / "kafka-streams"
_PACKAGES: Final = {
    "quix": ["quixstreams==3.28.1", "fastavro==1.13.1"],  # it pins another confluent-kafka
    "faust": ["faust-streaming==0.15.3", "fastavro==1.13.1", "cramjam==2.14.0"],  # cramjam reads lz4
}


class AbsentError(Exception):
    """A peer that is not to be had here; says why."""


def home() -> Path:
    """Where peers are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flexlog" / "bench"


def bring(peer: Peer) -> Path:
    """The folder of a peer, made where it is not there yet.

    Raises:
        AbsentError: it cannot be had.
    """
    folder = home() / peer
    done = folder / ".ready"
    wanted = (_JAVA / "KafkaStreamsPeer.java").read_text() if peer == "kafka_streams" else str(_PACKAGES[peer])
    if done.exists() and done.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if peer == "kafka_streams":
        if not (shutil.which("mvn") and shutil.which("javac")):
            raise AbsentError("Kafka Streams needs Maven and a JDK of 17 or newer")
        shutil.copy(_JAVA / "pom.xml", folder)
        _do(["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder / 'libs'}"], folder)
        _do(["javac", "-cp", f"{folder / 'libs'}/*", "-d", str(folder), str(_JAVA / "KafkaStreamsPeer.java")], folder)
    else:
        _do([sys.executable, "-m", "venv", str(folder)], folder)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        _do([*pip, *_PACKAGES[peer]], folder)
    done.write_text(wanted)
    return folder


def _do(command: list[str], cwd: Path) -> None:
    made = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if made.returncode:
        said = (made.stderr or made.stdout).strip().splitlines()
        raise AbsentError(f"{Path(command[0]).name} ended with {made.returncode}: {said[-1] if said else ''}")


def measure(peer: Peer, place: Place, readings: int, expected: pl.DataFrame, run: int) -> float:
    """Readings a second; the sums are compared.

    Raises:
        AbsentError: the peer is not to be had.
        RuntimeError: it failed, or its sums differ.
    """
    folder = bring(peer)
    topic, out = place.topic(ReadingTaken.__topic__.name), f"{peer}-out-{run}"
    with tempfile.TemporaryDirectory(prefix="flexlog-bench-") as scratch:
        schema, sums = Path(scratch) / "reading.avsc", Path(scratch) / "sums.csv"
        schema.write_text(ReadingTaken.__topic__.text)
        environment = place.environment | {"TMPDIR": scratch}
        environment.pop("PYTHONPATH")
        if peer == "kafka_streams":
            options = ["-Xmx2g", f"-Djava.io.tmpdir={scratch}", "-cp", f"{folder}:{folder / 'libs'}/*"]
            arguments = [topic, str(readings), "1", out, str(schema), str(sums)]
            place.make(out)
            command = ["java", *options, "KafkaStreamsPeer", *arguments]
        elif peer == "quix":
            command = [str(folder / "bin/python"), str(_FILES / "quix_peer.py"), topic, str(readings), out, str(schema)]
        else:
            environment |= {"TOPIC": topic, "N": str(readings), "SCHEMA": str(schema), "SUMS": str(sums)}
            environment |= {"PARTITIONS": str(place.partitions)}
            command = [str(folder / "bin/faust"), "-A", "faust_peer", "worker", "-l", "error"]
        found = answer(lines(command, environment, _FILES))
        if found["rows"] != readings:
            raise RuntimeError(f"{peer} consumed {found['rows']:,} of {readings:,} readings")
        rows = _rows(place.plain(out)) if peer == "quix" else _csv(sums)
    over = data.START + data.STEP * (readings // data.SITES - 1)
    same(rows.filter(pl.col("period_start") < over), expected, peer)  # what is not over yet counts nowhere
    return float(found["rows"] / found["seconds"])


def _csv(path: Path) -> pl.DataFrame:
    """Site, start in milliseconds, sum."""
    read = pl.read_csv(path, has_header=False, new_columns=["site_id", "start", "power_w"])
    return _typed(read)


def _rows(messages: list[tuple[bytes, bytes]]) -> pl.DataFrame:
    """What Quix Streams writes: the key, and start, end and value as JSON."""
    read = [(key.decode(), json.loads(value)) for key, value in messages]
    return _typed(
        pl.DataFrame(
            [(site, row["start"], row["value"]) for site, row in read], ["site_id", "start", "power_w"], orient="row"
        )
    )


def _typed(read: pl.DataFrame) -> pl.DataFrame:
    start = pl.from_epoch("start", "ms").dt.cast_time_unit("us").dt.replace_time_zone("UTC").alias("period_start")
    return read.select("site_id", start, pl.col("power_w").cast(pl.Float64))
