"""The data engineer's tutorial, command by command and file by file, as it is written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(console|python file=(\S+))\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PARTS = ("avro", "topics", "streams", "energy", "processors", "edges", "demo", "pyproject.toml")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of its own, so that the tutorial's files do not end up in this one."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in _PARTS:
        source = _ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "test_*.py"))
        else:
            shutil.copy(source, folder / part)
    return folder


def run(command: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_every_step_of_the_tutorial_works_as_written(checkout: Path, homes_data: None) -> None:
    del homes_data
    text = (_ROOT / "docs" / "tutorials" / "first-processor.md").read_text()
    printed = ""
    for kind, file, body in _BLOCK.findall(text):
        if kind == "console":
            for command in body.strip().splitlines():
                printed = run(command, checkout)
        else:
            (checkout / file).write_text(body)
    assert printed.count("home-") == 3  # the last query: a peak for each of three homes
