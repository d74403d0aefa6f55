"""What is wrong with a contract file, and where."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong: the file, the field or key in it (may be empty), and what to do."""

    file: Path
    field: str
    text: str

    def __str__(self) -> str:
        file = self.file.relative_to(Path.cwd()) if self.file.is_relative_to(Path.cwd()) else self.file
        where = f"{file}: {self.field}" if self.field else str(file)
        return f"{where}: {self.text}"


class FaultError(Exception):
    """A fault met while one part of a file is read; the reader adds the file."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field
        self.text = text
