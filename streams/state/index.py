"""From a key to its row: a dict while there are few keys, open addressing in numpy beyond that.

Measured, key (string, timestamp): finding 10 keys takes 6 us in a dict of tuples and 100 us in numpy; finding 50,000 of
a million takes 56 ms in the dict and 8 ms in numpy. Row numbers start at 1; 0 is "no row".
"""

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from itertools import repeat
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
HashArray = NDArray[np.uint64]
Column = NDArray[Any]

DICT_KEYS = 16_384
"""Above this many keys the index is open addressing."""

_FEW = 200
"""Up to so many rows sorting in Python is faster than a sort in polars."""

_EMPTY, _GONE = 0, -1
_SMALLEST = 1_024


def grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """``array`` with room for ``size`` entries; doubles, so that appending is constant on average."""
    if size <= len(array):
        return array
    more = np.zeros(max(size, 2 * len(array)), dtype=array.dtype)
    more[: len(array)] = array
    return more


def raw(column: pl.Series) -> Column:
    """A column of fixed width, without nulls, as numpy; times as integers."""
    values = column.to_numpy()
    return values.view(np.int64) if values.dtype.kind == "M" else values


def has_bytes(dtype: pl.DataType) -> bool:
    """Whether values are strings or bytes, of no fixed width."""
    return isinstance(dtype, pl.String | pl.Binary)


def mix(hashes: HashArray) -> HashArray:
    """Spread 64 bits over 64 bits: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _bits(column: pl.Series) -> HashArray:
    """64 bits a value, the same for values that are equal."""
    if has_bytes(column.dtype):
        return column.hash().to_numpy()
    values = raw(column)
    if values.dtype == np.float64:
        return (values + 0.0).view(np.uint64)  # -0.0 equals 0.0
    return values.astype(np.int64).view(np.uint64)


class Keys:
    """The key columns of some rows, and the forms an index looks them up by, each made once."""

    def __init__(self, columns: Sequence[pl.Series]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    @cached_property
    def values(self) -> Sequence[Hashable]:
        """A plain value or a tuple a row."""
        lists = [c.to_list() if has_bytes(c.dtype) else raw(c).tolist() for c in self.columns]
        return lists[0] if len(lists) == 1 else list(zip(*lists, strict=True))

    @cached_property
    def hashes(self) -> HashArray:
        """64 bits a row."""
        hashes = np.zeros(len(self), dtype=np.uint64)
        for column in self.columns:
            hashes = mix(hashes * np.uint64(0x9E3779B97F4A7C15) + _bits(column))
        return hashes

    def at(self, rows: IntArray) -> "Keys":
        """The keys of some of the rows."""
        picked = pl.Series(rows.astype(np.uint32))
        return Keys([column[picked] for column in self.columns])


class Index(Protocol):
    """From keys to numbers of rows."""

    def has_room(self, more: int) -> bool:
        """Whether so many further keys fit; if not, a new index is built."""
        ...

    def distinct(self, keys: Keys) -> bool:
        """Whether no key occurs twice."""
        ...

    def find(self, keys: Keys) -> IntArray:
        """The row of each key, 0 where there is none."""
        ...

    def put(self, keys: Keys, rows: IntArray, old: IntArray, /) -> None:
        """Let distinct keys lead to new rows; ``old`` is what `find` said about them."""
        ...

    def remove(self, rows: IntArray) -> None:
        """Forget the keys of these rows."""
        ...

    def undo(self, new: IntArray, gone: IntArray) -> None:
        """Forget all rows put after some moment, and lead to those again that went since."""
        ...

    def renumber(self, rows: IntArray) -> None:
        """Let the living rows, in ascending order, be 1, 2, 3 from now on, and forget the others."""
        ...

    def order(self, rows: IntArray, /) -> IntArray | None:
        """The rows ordered by key, if that is cheaper here than ordering columns."""
        ...

    @property
    def nbytes(self) -> int:
        """About the bytes it holds."""
        ...


class DictIndex:
    """A dict of keys, for small states and for the few rows of a tick; the keys are kept by row number too."""

    def __init__(self, rows: int) -> None:
        """An empty index; ``rows`` is the number of the next row, or those put say theirs."""
        self._rows: dict[Hashable, int] = {}
        self._values: list[Any] = [None] * rows

    def has_room(self, more: int) -> bool:
        """See `Index`."""
        return len(self._rows) + more <= DICT_KEYS

    def distinct(self, keys: Keys) -> bool:
        """See `Index`."""
        return len(set(keys.values)) == len(keys)

    def find(self, keys: Keys) -> IntArray:
        """See `Index`."""
        return np.array(list(map(self._rows.get, keys.values, repeat(_EMPTY))), dtype=np.int64)

    def put(self, keys: Keys, rows: IntArray, _old: IntArray, /) -> None:
        """See `Index`."""
        self._rows.update(zip(keys.values, rows.tolist(), strict=True))
        if int(rows[0]) == len(self._values):
            self._values.extend(keys.values)
            return
        for row, key in zip(rows.tolist(), keys.values, strict=True):
            self._values[row] = key

    def remove(self, rows: IntArray) -> None:
        """See `Index`."""
        for row in rows.tolist():
            del self._rows[self._values[row]]

    def undo(self, new: IntArray, gone: IntArray) -> None:
        """See `Index`."""
        for row in new.tolist():
            self._rows.pop(self._values[row], None)
        if len(new):
            del self._values[int(new[0]) :]
        self._rows.update((self._values[row], row) for row in gone.tolist())

    def renumber(self, rows: IntArray) -> None:
        """See `Index`."""
        self._values = [None, *map(self._values.__getitem__, rows.tolist())]
        self._rows = dict(zip(self._values[1:], range(1, len(self._values)), strict=True))

    def order(self, rows: IntArray, /) -> IntArray | None:
        """See `Index`; strings are ordered by code points, which is the order of their UTF-8 bytes."""
        if len(rows) > _FEW:
            return None
        return np.array(sorted(rows.tolist(), key=self._values.__getitem__), dtype=np.int64)

    @property
    def nbytes(self) -> int:
        """About 200 bytes a key: its entry, tuple, values and number."""
        return 200 * len(self._rows) + 8 * len(self._values)


class HashIndex:
    """Open addressing with linear probing, a whole batch a step.

    ``_table`` holds row numbers, `_EMPTY` and `_GONE`; the 64 bits of each row's key and its place in the table are
    kept by row number. Equal bits are never taken for equal keys: the key columns are compared. Entries of removed
    keys are not used again until the table is built anew, which makes `undo` exact.
    """

    def __init__(self, keys_of: Callable[[IntArray], Keys], keys: int, rows: int) -> None:
        """An index with room for at least so many keys, rows numbered below ``rows`` at first."""
        self._keys_of = keys_of
        self._hashes = np.zeros(rows, dtype=np.uint64)
        self._places = np.zeros(rows, dtype=np.int64)
        self._clear(keys)

    def _clear(self, keys: int) -> None:
        size = _SMALLEST
        while size < 3 * keys:
            size *= 2
        self._table = np.zeros(size, dtype=np.int32)
        self._last = size - 1
        self._used = 0

    def rehash(self, rows: IntArray, keys: int) -> None:
        """A new table of the living rows, with room for so many keys."""
        self._clear(keys)
        self._used = len(rows)
        self._claim(self._hashes[rows], rows)

    def has_room(self, more: int) -> bool:
        """See `Index`."""
        return self._used + more <= len(self._table) // 2

    def distinct(self, keys: Keys) -> bool:
        """See `Index`."""
        hashes = np.sort(keys.hashes)
        if not (hashes[1:] == hashes[:-1]).any():
            return True
        return not pl.DataFrame(list(keys.columns)).is_duplicated().any()

    def _wanted(self, hashes: HashArray) -> IntArray:
        return (hashes & np.uint64(self._last)).astype(np.int64)

    def find(self, keys: Keys) -> IntArray:
        """See `Index`."""
        found = np.zeros(len(keys), dtype=np.int64)
        todo = np.arange(len(keys))
        at = self._wanted(keys.hashes)
        while len(todo):
            rows = self._probe(keys.hashes[todo], at)
            hit = rows > 0
            todo, at, rows = todo[hit], at[hit], rows[hit]
            equal = self._equal(keys, todo, rows)
            found[todo[equal]] = rows[equal]
            todo, at = todo[~equal], (at[~equal] + 1) & self._last
        return found

    def _probe(self, hashes: HashArray, at: IntArray) -> IntArray:
        """The next row with the same 64 bits from the places ``at`` on, which move there; 0 where there is none."""
        rows = np.zeros(len(hashes), dtype=np.int64)
        todo = np.arange(len(hashes))
        here, wanted = at, hashes
        while len(todo):
            there = self._table[here]
            same = (there > 0) & (self._hashes[there] == wanted)
            rows[todo[same]] = there[same]
            at[todo] = here
            more = ~same & (there != _EMPTY)
            todo, here, wanted = todo[more], (here[more] + 1) & self._last, wanted[more]
        return rows

    def _equal(self, keys: Keys, asked: IntArray, rows: IntArray) -> NDArray[np.bool_]:
        if not len(rows):
            return np.zeros(0, dtype=np.bool_)
        mine = keys if len(asked) == len(keys) else keys.at(asked)
        equal = np.ones(len(asked), dtype=np.bool_)
        for left, right in zip(mine.columns, self._keys_of(rows).columns, strict=True):
            equal &= (left == right).to_numpy()
        return equal

    def put(self, keys: Keys, rows: IntArray, old: IntArray, /) -> None:
        """See `Index`."""
        end = int(rows[-1]) + 1
        self._hashes = grown(self._hashes, end)
        self._places = grown(self._places, end)
        self._hashes[rows] = keys.hashes
        known = old > 0
        places = self._places[old[known]]
        self._table[places] = rows[known]
        self._places[rows[known]] = places
        new = ~known
        self._used += int(np.count_nonzero(new))
        self._claim(keys.hashes[new], rows[new])

    def _claim(self, hashes: HashArray, rows: IntArray) -> None:
        """A free place for each row. Rows that want the same one all write to it, and the losers go on."""
        at = self._wanted(hashes)
        while len(rows):
            free = self._table[at] == _EMPTY
            self._table[at[free]] = rows[free]
            self._places[rows[free]] = at[free]
            lost = self._table[at] != rows
            rows, at = rows[lost], (at[lost] + 1) & self._last

    def remove(self, rows: IntArray) -> None:
        """See `Index`."""
        self._table[self._places[rows]] = _GONE

    def undo(self, new: IntArray, gone: IntArray) -> None:
        """See `Index`."""
        places = np.unique(self._places[new])
        self._table[places] = _EMPTY
        self._table[self._places[gone]] = gone
        self._used -= int(np.count_nonzero(self._table[places] == _EMPTY))

    def renumber(self, rows: IntArray) -> None:
        """See `Index`."""
        rows = np.concatenate([np.zeros(1, dtype=np.int64), rows])
        self._hashes, self._places = self._hashes[rows], self._places[rows]
        self._table[self._places[1:]] = np.arange(1, len(rows))

    def order(self, _rows: IntArray, /) -> IntArray | None:
        """See `Index`."""
        return None

    @property
    def nbytes(self) -> int:
        """Bytes of the table and of what is kept by row."""
        return self._table.nbytes + self._hashes.nbytes + self._places.nbytes
