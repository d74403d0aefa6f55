"""Where the measured year lies: fetched once from the package index, checked, and kept in a cache.

The data set is in the wheel ``CityLearn==2.0.0`` (MIT licence), which is downloaded by name with pip, not installed;
its CSV files are kept. ``FLEXLOG_CACHE`` names another folder for the cache than the platform's.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from streams.errors import StreamsError

PACKAGE = "CityLearn==2.0.0"
SHA256 = "aef65c07922c7a609ca457fcb7d2abdcb156947e740bd55a408b37277023f47a"
"""Of the wheel."""
CACHE = "FLEXLOG_CACHE"

_INSIDE = "citylearn/data/citylearn_challenge_2022_phase_all/"
_FILES = (*(f"Building_{number}.csv" for number in range(1, 18)), "weather.csv", "pricing.csv", "schema.json")
_TIMEOUT_S = 600

Fetch = Callable[[Path], None]


class HomesError(StreamsError):
    """The measured year cannot be had; one line that says why and what to do."""


def cache() -> Path:
    """Return the folder in which flexlog keeps what it has fetched."""
    if named := os.environ.get(CACHE):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "flexlog"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "flexlog" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flexlog"


def is_cached() -> bool:
    """Whether the measured year is there already."""
    return _complete(_place())


def folder(say: Callable[[str], None] = lambda _: None, fetch: Fetch | None = None) -> Path:
    """Return the folder with the measured year, fetching it if it is not there.

    Args:
        say: Told when something is fetched, in one line.
        fetch: Puts the wheel into a folder; pip by default.

    Raises:
        HomesError: It cannot be fetched, or is not what it should be.
    """
    place = _place()
    if _complete(place):
        return place
    say(f"fetching the data of 17 homes ({PACKAGE}, 16 MB) into {place.parent}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
            wheel = _fetched(Path(scratch), fetch or _pip)
            ready = Path(scratch) / "ready"
            _extract(wheel, ready)
            if place.exists():
                shutil.rmtree(place)  # an incomplete copy
            ready.rename(place)
    except OSError as error:
        if _complete(place):
            return place  # somebody else has just put it there
        raise HomesError(
            f"cannot keep the data of the homes in {place}: {error.strerror or error}; set {CACHE} to a folder that can"
            " be written"
        ) from error
    return place


def _place() -> Path:
    return cache() / "citylearn-2.0.0"


def _complete(place: Path) -> bool:
    return all((place / name).is_file() for name in _FILES)


def _fetched(scratch: Path, fetch: Fetch) -> Path:
    fetch(scratch)
    wheels = list(scratch.glob("*.whl"))
    if len(wheels) != 1:
        raise HomesError(f"fetching {PACKAGE} gave {len(wheels)} wheels; expected one")
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != SHA256:
        raise HomesError(f"{wheels[0].name} is not the expected file: SHA-256 {digest}, expected {SHA256}; not used")
    return wheels[0]


def _pip(target: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(target), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603 -- fixed words
    except subprocess.TimeoutExpired as error:
        raise HomesError(f"cannot fetch {PACKAGE}: no answer within {_TIMEOUT_S} s; try again") from error
    if done.returncode:
        told = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        why = next((line for line in reversed(told) if line.startswith("ERROR:")), told[-1] if told else "pip failed")
        raise HomesError(
            f"cannot fetch {PACKAGE}, which has the data of the homes: {why.removeprefix('ERROR: ')}; the demo needs"
            f" the network once, or a copy of the cache in {CACHE}"
        )


def _extract(wheel: Path, target: Path) -> None:
    target.mkdir()
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in _FILES:
                (target / name).write_bytes(archive.read(_INSIDE + name))
    except (KeyError, zipfile.BadZipFile) as error:
        raise HomesError(f"{wheel.name} lacks the data of the homes: {error}") from error
