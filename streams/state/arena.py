"""The rows of one state class: append-only columns, an index, and enough memory of the past to undo.

A put appends its rows and lets the index lead to them; the rows they replace stay where they are, dead, until more
rows are dead than alive and a commit copies the living ones. So "changed since the tick" is a row number, and undoing
is forgetting the newest rows.

The columns are a few frames (segments) of one chunk each: a gather from one chunk is fifteen times faster than from
several (0.5 against 7 ms for 50,000 rows of a million). When there are too many, the shortest neighbours become one, as
in a log-structured merge tree: a put copies few rows more than its own. The last segment may be some chunks while it
is short, where that makes no difference. Row 0 is null in every column: what is not known is gathered from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streams.columns import Keyed
from streams.state import index
from streams.state.index import DictIndex, HashIndex, Index, IntArray, Keys, grown, has_bytes

_SHORT: Final = 8_192
"""Up to so many rows the last segment takes further ones without a copy, in at most `_CHUNKS` chunks."""
_CHUNKS: Final = 8
_FEW: Final = 500
"""Up to so many rows are gathered from all segments at once: a tenth of a microsecond more a value, fewer calls."""
_SEGMENTS: Final = 8
"""With more segments, `_MERGED` of them become one."""
_MERGED: Final = 4
_OWN: Final = 131_072
"""Up to so many rows a merge copies strings too; beyond, views on at least so long buffers are good enough."""
_DEAD: Final = 2_048
"""Fewer dead rows are not worth a copy of the living."""
_ROOM: Final = 64
_NEVER: Final = np.iinfo(np.int64).max


@dataclass(frozen=True)
class _Mark:
    """What a rollback goes back to."""

    size: int = 1
    live: int = 0
    ticked: int = 1
    soonest: int = _NEVER


def _one_chunk(frame: pl.DataFrame, *, own: bool) -> pl.DataFrame:
    """The same rows in one chunk; ``own``: with strings and bytes in buffers of their own.

    A view on a string keeps the whole buffer it points into alive: without this a few rows of each batch would keep
    all batches in memory, and many small buffers would make every merge slow.
    """
    return pl.DataFrame([_own(column) if own else _rechunked(column) for column in frame.get_columns()])


def _own(column: pl.Series) -> pl.Series:
    if has_bytes(column.dtype):
        column = pl.Series(column.name, column.to_arrow(compat_level=pl.CompatLevel.oldest()))
    return _rechunked(column)


def _joined(parts: list[pl.Series], order: NDArray[np.uint32] | None) -> pl.Series:
    """Parts of a column as one, in another order if one is given."""
    column = parts[0]
    for part in parts[1:]:
        column.append(part)
    column = column.rechunk()
    return column if order is None else column[pl.Series(order)]


def _rechunked(column: pl.Series) -> pl.Series:
    return column.rechunk() if column.n_chunks() > 1 else column


class Arena:
    """Rows of one state class, by number. Values are trusted: `conform` has checked them, or a changelog's digest.

    Attributes:
        live: how many rows there are.
        version: rises with every change of what rows there are.
    """

    def __init__(self, keyed: type[Keyed]) -> None:
        self.names = list(keyed.__columns__)
        self._key = list(keyed.__key__)
        self._expires = keyed.__expires__
        nulls = [pl.Series(name, [None], dtype=dtype) for name, dtype in keyed.__columns__.items()]
        self._segments = [pl.DataFrame(nulls)]
        self._starts = np.zeros(1, dtype=np.int64)
        self._whole: pl.DataFrame | None = None
        self._alive: NDArray[np.bool_] = np.zeros(_ROOM, dtype=np.bool_)
        self._until: IntArray = np.zeros(_ROOM if self._expires else 0, dtype=np.int64)
        self._index: Index = DictIndex(1)
        self._size = 1
        self.live = 0
        self.version = 0
        self._ticked = 1
        self._soonest = _NEVER
        self._died: list[IntArray] = []
        self._reindexed = False
        self._mark = _Mark()

    # reading

    def take(self, rows: IntArray, names: Sequence[str]) -> list[pl.Series]:
        """Columns of rows in the order asked for; row 0 is null."""
        segments = self._segments
        if len(segments) == 1:
            return _gather(segments[0], rows, names)
        if len(rows) <= _FEW:
            return _gather(self._chunked(), rows, names)
        which = np.searchsorted(self._starts, rows, side="right") - 1
        if (which == which[0]).all():
            at = int(which[0])
            return _gather(segments[at], rows - self._starts[at], names)
        back = None
        if (which[1:] < which[:-1]).any():
            order = np.argsort(which.astype(np.int8), kind="stable")
            rows, which = rows[order], which[order]
            back = np.empty(len(rows), dtype=np.uint32)
            back[order] = np.arange(len(rows))
        ends = np.searchsorted(which, np.arange(len(segments) + 1)).tolist()
        parts = [
            (segment, pl.Series((rows[a:b] - start).astype(np.uint32)))
            for segment, start, a, b in zip(segments, self._starts, ends[:-1], ends[1:], strict=True)
            if b > a
        ]
        return [_joined([segment.get_column(name)[at] for segment, at in parts], back) for name in names]

    def frame(self, rows: IntArray) -> pl.DataFrame:
        """Rows with all columns, in the declared order."""
        return pl.DataFrame(self.take(rows, self.names))

    def ordered(self, rows: IntArray) -> pl.DataFrame:
        """The same, ordered by key."""
        if (order := self._index.order(rows)) is not None:
            return self.frame(order)
        return self.frame(rows).sort(self._key)

    def keys(self, rows: IntArray) -> Keys:
        """The keys of rows."""
        return Keys(self.take(rows, self._key))

    def rows(self) -> IntArray:
        """The numbers of all rows, oldest put first."""
        return np.flatnonzero(self._alive[: self._size])

    def changed(self) -> IntArray:
        """The numbers of rows put since the last `end_tick`."""
        if self._ticked == self._size:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self._alive[self._ticked : self._size]) + self._ticked

    def unchanged(self) -> IntArray:
        """The numbers of the other rows."""
        return np.flatnonzero(self._alive[: self._ticked])

    def select(self, where: pl.Expr) -> IntArray:
        """The numbers of rows for which an element-wise condition holds; dead rows are evaluated too."""
        found = []
        for segment, start in zip(self._segments, self._starts, strict=True):
            mask = segment.select(where).to_series()
            if mask.dtype != pl.Boolean:
                raise pl.exceptions.SchemaError(f"the condition is {mask.dtype}, not a boolean")
            if mask.null_count():
                mask = mask.fill_null(value=False)
            found.append(np.flatnonzero(mask.to_numpy() & self._alive[start : start + segment.height]) + start)
        return np.concatenate(found)

    def find(self, keys: Keys) -> IntArray:
        """The row of each key; 0 where there is none, or the key has a null."""
        if not self.live or not len(keys):
            return np.zeros(len(keys), dtype=np.int64)
        for column in keys.columns:
            if column.null_count():
                break
        else:
            return self._index.find(keys)
        found = np.zeros(len(keys), dtype=np.int64)
        whole = np.flatnonzero(~np.any([column.is_null().to_numpy() for column in keys.columns], axis=0))
        if len(whole):
            found[whole] = self._index.find(keys.at(whole))
        return found

    # changing

    def put(self, frame: pl.DataFrame, keys: Keys) -> bool:
        """Append rows; those they replace die. False if a key occurs twice: nothing is put."""
        if not self._index.has_room(frame.height):
            self._reindex(frame.height)
        if not self._index.distinct(keys):
            return False
        old = self._index.find(keys) if self.live else np.zeros(frame.height, dtype=np.int64)
        start, end = self._size, self._size + frame.height
        self._index.put(keys, np.arange(start, end), old)
        self._bury(old[old > 0])
        self._alive = grown(self._alive, end)
        self._alive[start:end] = True
        if self._expires is not None:
            self._note_expiry(frame.get_column(self._expires), start, end)
        self._append(frame)
        self._size = end
        self.live += frame.height
        self.version += 1
        return True

    def kill(self, rows: IntArray) -> None:
        """Remove rows, each named once."""
        self._index.remove(rows)
        self._bury(rows)
        self.version += 1

    def expire(self, before: int) -> bool:
        """Remove all rows that expire earlier, in microseconds since 1970; whether there were any."""
        if not self.live or self._soonest >= before:
            return False
        alive, until = self._alive[: self._size], self._until[: self._size]
        rows = np.flatnonzero(alive & (until < before))
        if len(rows):
            self.kill(rows)
        self._soonest = int(np.min(until, where=alive, initial=_NEVER))
        return len(rows) > 0

    def end_tick(self) -> bool:
        """Let `changed` start anew; whether it had any rows."""
        had = self._ticked < self._size and bool(self._alive[self._ticked : self._size].any())
        self._ticked = self._size
        return had

    def commit(self) -> None:
        """What happened is final."""
        if self._size - 1 - self.live > max(self.live, _DEAD):
            self._compact()
        elif self._size == self._mark.size and self._ticked == self._mark.ticked and not self._died:
            return
        self._died.clear()
        self._reindexed = False
        self._mark = _Mark(self._size, self.live, self._ticked, self._soonest)

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        mark = self._mark
        if self._size > mark.size or self._died:
            gone = np.concatenate([np.zeros(0, dtype=np.int64), *self._died])
            gone = gone[gone < mark.size]
            if not self._reindexed:
                self._index.undo(np.arange(mark.size, self._size), gone)
            self._alive[gone] = True
            self._alive[mark.size : self._size] = False
            self._truncate(mark.size)
            self._size, self.live = mark.size, mark.live
            if self._reindexed:
                self._reindex(0)
            self.version += 1
        self._ticked, self._soonest = mark.ticked, mark.soonest
        self._died.clear()
        self._reindexed = False

    @property
    def dirty(self) -> bool:
        """Whether there is anything to undo."""
        return self._size != self._mark.size or self._ticked != self._mark.ticked or bool(self._died)

    @property
    def nbytes(self) -> int:
        """About the bytes in memory, dead rows and the index included."""
        columns = sum(int(segment.estimated_size()) for segment in self._segments)
        return columns + self._alive.nbytes + self._until.nbytes + self._index.nbytes

    def _bury(self, rows: IntArray) -> None:
        if len(rows):
            self._alive[rows] = False
            self.live -= len(rows)
            self._died.append(rows)

    def _note_expiry(self, column: pl.Series, start: int, end: int) -> None:
        until = column.to_numpy().view(np.int64)
        if column.null_count():
            until = np.where(column.is_null().to_numpy(), _NEVER, until)
        self._until = grown(self._until, end)
        self._until[start:end] = until
        self._soonest = min(self._soonest, int(until.min()))

    def _append(self, frame: pl.DataFrame) -> None:
        self._whole = None
        last = self._segments[-1]
        if last.height + frame.height <= _SHORT and last.n_chunks() < _CHUNKS:
            self._segments[-1] = last.vstack(frame)
            return
        while self._segments and self._segments[-1].height < max(frame.height, _SHORT):
            frame = self._segments.pop().vstack(frame)
        self._segments.append(_one_chunk(frame, own=True))
        if len(self._segments) > _SEGMENTS:
            self._merge()
        self._number_segments()

    def _merge(self) -> None:
        """Make one of the few neighbours that have the fewest rows together."""
        heights = np.array([segment.height for segment in self._segments])
        first = int(np.argmin(np.convolve(heights, np.ones(_MERGED), mode="valid")))
        run = self._segments[first : first + _MERGED]
        merged = _one_chunk(pl.concat(run, rechunk=False), own=sum(segment.height for segment in run) <= _OWN)
        self._segments[first : first + _MERGED] = [merged]

    def _chunked(self) -> pl.DataFrame:
        """All segments as one frame of several chunks."""
        if self._whole is None:
            self._whole = pl.concat(self._segments, rechunk=False)
        return self._whole

    def _number_segments(self) -> None:
        heights = [segment.height for segment in self._segments]
        self._starts = np.cumsum([0, *heights[:-1]])

    def _truncate(self, size: int) -> None:
        self._whole = None
        while self._starts[-1] >= size:
            self._segments.pop()
            self._starts = self._starts[:-1]
        self._segments[-1] = self._segments[-1].head(size - int(self._starts[-1]))

    def _compact(self) -> None:
        rows = np.concatenate([np.zeros(1, dtype=np.int64), self.rows()])
        columns = []
        self._whole = None
        for name in self.names:  # one by one, so that the memory of one serves the next
            columns.append(_own(self.take(rows, [name])[0]))
            for segment in self._segments:
                segment.drop_in_place(name)
        self._segments = [pl.DataFrame(columns)]
        self._number_segments()
        self._index.renumber(rows[1:])
        self._alive = np.ones(len(rows), dtype=np.bool_)
        self._alive[0] = False
        if self._expires is not None:
            self._until = self._until[rows]
        self._ticked = int(np.searchsorted(rows, self._ticked))
        self._size = len(rows)
        if isinstance(self._index, HashIndex) and self.live <= index.DICT_KEYS // 2:
            self._reindex(0)

    def _reindex(self, more: int) -> None:
        """A new index of the living rows, with room for further ones."""
        keys, rows = self.live + more, self.rows()
        if isinstance(self._index, HashIndex) and keys > index.DICT_KEYS:
            self._index.rehash(rows, keys)
        else:
            few = keys <= index.DICT_KEYS
            self._index = DictIndex(self._size) if few else HashIndex(self.keys, keys, self._size + more)
            if len(rows):
                self._index.put(self.keys(rows), rows, np.zeros(len(rows), dtype=np.int64))
        self._reindexed = True


def _gather(frame: pl.DataFrame, rows: IntArray, names: Sequence[str]) -> list[pl.Series]:
    at = pl.Series(rows.astype(np.uint32))
    return [frame.get_column(name)[at] for name in names]
