"""Wrong use of the types is found by mypy, on the very line."""

import os
import re
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_CASES = Path(__file__).parent / "cases" / "wrong.py"


def test_mypy_finds_every_marked_mistake_and_no_other(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", f"--cache-dir={tmp_path}", str(_CASES)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"MYPYPATH": str(_ROOT)},
    )
    found: dict[int, set[str]] = {}
    for line in run.stdout.splitlines():
        if match := re.match(r".*wrong\.py:(\d+): error: .*\[([a-z-]+)\]$", line):
            found.setdefault(int(match[1]), set()).add(match[2])
    expected = {
        number: {code.strip() for code in line.rpartition("# error: ")[2].split(",")}
        for number, line in enumerate(_CASES.read_text().splitlines(), 1)
        if "# error: " in line
    }
    assert set(found) == set(expected), run.stdout + run.stderr
    for number, codes in expected.items():
        assert found[number] <= codes, f"line {number}: {found[number]}"
