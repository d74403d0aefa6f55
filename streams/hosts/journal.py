"""The file of an embedded log: records one after the other, each whole or not at all, by one writer at a time."""

import fcntl
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from streams.errors import StreamsError

_HEAD = struct.Struct("<4sIQ")  # magic, crc32, length
_MAGIC = b"FLJ1"
_LOCK_TRIES = 5
_LOCK_PAUSE_S = 0.02


class Journal:
    """A file of records.

    Args:
        path: the file; made where it is not there.
        look_only: only read; another process may be writing.

    Raises:
        StreamsError: somebody else has it open to write.
    """

    def __init__(self, path: Path, *, look_only: bool = False) -> None:
        self.path = path
        self._look_only = look_only
        if not look_only:
            path.touch()
        self._file = path.open("rb" if look_only else "r+b", buffering=0)
        self._end = 0
        if not look_only:
            self._lock()

    def _lock(self) -> None:
        """Keep other writers out; the system lets go of it when the process ends, however it does."""
        for left in reversed(range(_LOCK_TRIES)):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if left:  # it may be somebody who looks whether it is written
                    time.sleep(_LOCK_PAUSE_S)
                    continue
                self.close()
                raise StreamsError(
                    f"{self.path.parent} is being written by a host that is still open; close that one first, or give "
                    "this one another folder"
                ) from None
            return

    def written(self) -> bool:
        """Whether another process has it open to write; only for one that looks."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._file, fcntl.LOCK_UN)
        return False

    def records(self) -> Iterator[tuple[bytes, int]]:
        """(payload, where it starts) of each record that was not given before.

        A torn last one, which a killed process leaves, is cut off.

        Raises:
            StreamsError: the file is damaged in the middle; nothing is cut off then.
        """
        size = os.fstat(self._file.fileno()).st_size
        with self.path.open("rb") as reader:
            reader.seek(self._end)
            while size - self._end >= _HEAD.size:
                magic, crc, length = _HEAD.unpack(reader.read(_HEAD.size))
                at = self._end + _HEAD.size
                if magic == _MAGIC and at + length > size:
                    break
                payload = reader.read(length) if magic == _MAGIC else b""
                if magic != _MAGIC or zlib.crc32(payload) != crc:
                    if magic == _MAGIC and at + length == size:
                        break
                    raise StreamsError(
                        f"{self.path} is damaged at byte {self._end:,} of {size:,}: what follows cannot be read; "
                        "take a copy of the folder from before"
                    )
                self._end = at + length
                yield payload, at
        if not self._look_only:
            self._file.truncate(self._end)

    def append(self, parts: Sequence[bytes]) -> int:
        """Write one record; where its payload starts. An error, or an interrupt, leaves nothing of it."""
        crc = length = 0
        for part in parts:
            crc, length = zlib.crc32(part, crc), length + len(part)
        left = memoryview(b"".join((_HEAD.pack(_MAGIC, crc, length), *parts)))
        at, start = self._end, self._end
        try:
            while left:
                done = os.pwrite(self._file.fileno(), left, at)
                left, at = left[done:], at + done
        except BaseException:
            os.ftruncate(self._file.fileno(), start)
            raise
        self._end = at
        return start + _HEAD.size

    def read(self, at: int, size: int) -> bytes:
        """Bytes of a payload."""
        return os.pread(self._file.fileno(), size, at)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
