"""Java, Maven, and the jars of Kafka and of the registry: found, or fetched once and shared by all clusters."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streams.kafka.local import LocalClusterError, PartsError
from streams.kafka.local.process import locked

FILES = Path(__file__).parent
_JAVA = 17
_FETCH_S = 1800


@dataclass(frozen=True)
class Part:
    """Something that Maven fetches into a folder of its own."""

    name: str  # as in the pom's properties
    title: str
    size: str
    goal: str
    pom: Path = FILES / "pom.xml"


KAFKA = Part("kafka", "Apache Kafka", "43 MB", "dependency:copy-dependencies")
REGISTRY = Part("registry", "Apicurio Registry", "109 MB", "dependency:unpack")


def version(part: Part) -> str:
    """The version that the pom names."""
    found = re.search(rf"<{part.name}\.version>([^<]+)<", part.pom.read_text())
    assert found is not None
    return found[1]


def folder(part: Part, home: Path) -> Path:
    """Where a part is kept; another pom means another folder, so what lies there is never out of date."""
    digest = hashlib.sha256(part.pom.read_bytes()).hexdigest()[:8]
    return home / "jars" / f"{part.name}-{version(part)}-{digest}"


def java() -> str:
    """The Java to use: of ``JAVA_HOME`` where that is set, else of the path.

    Raises:
        PartsError: there is none, or it is too old.
    """
    found = _java()
    if isinstance(found, _Missing):
        raise PartsError(_install([found.what]))
    return found


@dataclass(frozen=True)
class _Missing:
    what: str


def _java() -> str | _Missing:
    named = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(named) / "bin")) if named else shutil.which("java")
    if found is None:
        return _Missing(f"Java {_JAVA} (there is none in JAVA_HOME={named})" if named else f"Java {_JAVA}")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)  # noqa: S603  # the person's own Java
    number = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    if number is None:
        # macOS has a java that only says where Java is to be had.
        return _Missing(f"Java {_JAVA} ({found} is none that works)")
    return found if int(number[1]) >= _JAVA else _Missing(f"Java {_JAVA} ({found} is Java {number[1]})")


def _install(missing: list[str]) -> str:
    return (
        f"a local Kafka needs {' and '.join(missing)}; install Java {_JAVA} or newer and Maven, e.g. "
        f"`apt install openjdk-{_JAVA}-jre-headless maven` or `brew install openjdk@{_JAVA} maven`"
    )


def ensure(wanted: list[Part], home: Path, report: Callable[[str], None]) -> tuple[str, dict[str, Path]]:
    """Java's path and the folder of each part; fetches those that are not there yet.

    Args:
        wanted: the parts.
        home: the folder of all local clusters; jars are kept in its folder ``jars``.
        report: gets a line before each thing that takes long.

    Raises:
        PartsError: Java or Maven is missing, or Maven could not fetch a part.
    """
    absent = [part for part in wanted if not folder(part, home).exists()]
    found = _java()
    missing = [found.what] if isinstance(found, _Missing) else []
    maven = shutil.which("mvn")
    if absent and maven is None:
        missing.append("Maven")
    if missing or isinstance(found, _Missing):
        raise PartsError(_install(missing))
    for part in absent:
        assert maven is not None
        _fetch(part, home, maven, report)
    return found, {part.name: folder(part, home) for part in wanted}


def _fetch(part: Part, home: Path, maven: str, report: Callable[[str], None]) -> None:
    place = folder(part, home)
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.parent / f"{part.name}.lock"):
        if place.exists():  # another process fetched it while this one waited
            return
        report(f"fetching {part.title} {version(part)} ({part.size}) with Maven, once")
        work = Path(tempfile.mkdtemp(prefix=f".{part.name}-", dir=place.parent))
        try:
            shutil.copy(part.pom, work / "pom.xml")
            _maven(maven, part, work)
            (work / "jars").rename(place)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _maven(maven: str, part: Part, work: Path) -> None:
    command = [maven, "-q", "-B", "-Dstyle.color=never", "-f", str(work / "pom.xml"), part.goal]
    command.append(f"-DoutputDirectory={work / 'jars'}")
    try:
        done = subprocess.run(  # noqa: S603  # our own pom
            command, cwd=work, capture_output=True, text=True, check=False, timeout=_FETCH_S
        )
    except subprocess.TimeoutExpired:
        raise PartsError(f"Maven had not fetched {part.title} {version(part)} after {_FETCH_S} s") from None
    if done.returncode == 0 and any((work / "jars").rglob("*.jar")):
        return
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("[ERROR]")]
    reason = said[0].removeprefix("[ERROR]").strip() if said else f"it ended with {done.returncode}"
    raise PartsError(f"Maven could not fetch {part.title} {version(part)}: {reason}")


def format_command(java_path: str, jars: Path, properties: Path, cluster_id: str) -> list[str]:
    """The command that prepares a broker's data folder."""
    return [
        java_path,
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        f"-Dlog4j2.configurationFile={FILES / 'log4j2.properties'}",
        *("-cp", f"{jars}/*"),
        *("kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster_id, "-c", str(properties)),
    ]


def broker_command(java_path: str, jars: Path, properties: Path, mark: str, options: list[str]) -> list[str]:
    """The command of a broker."""
    return [
        java_path,
        *(*options, mark, "-Djava.awt.headless=true", "-XX:+ExitOnOutOfMemoryError"),
        f"-Dlog4j2.configurationFile={FILES / 'log4j2.properties'}",
        *("-cp", f"{jars}/*", "kafka.Kafka", str(properties)),
    ]


def registry_command(java_path: str, jars: Path, data: Path, mark: str, port: int) -> list[str]:
    """The command of the registry; its schemas are in a file, for they have to outlive it as the topics do."""
    runner = next(jars.glob("*-runner.jar"), None)
    if runner is None:
        raise LocalClusterError(f"{jars} is not as it was fetched: no runner jar; delete the folder")
    return [
        java_path,
        # It is never busy: the quick compiler and the plain collector save a third of start and memory.
        *("-Xmx256m", mark, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"),
        *(f"-Dquarkus.http.port={port}", "-Dquarkus.http.host=127.0.0.1", "-Dquarkus.http.access-log.enabled=false"),
        "-Dquarkus.banner.enabled=false",
        # Written before a registration is answered: a killed registry may not forget an id that is in use.
        f"-Dapicurio.datasource.url=jdbc:h2:file:{data};WRITE_DELAY=0",
        *("-Dapicurio.datasource.jdbc.initial-size=1", "-Dapicurio.datasource.jdbc.min-size=1"),
        *("-cp", f"{runner}:{jars}/lib/*", "io.quarkus.runner.GeneratedMain"),
    ]
