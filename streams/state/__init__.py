"""Typed keyed columns with their changelog: what a task remembers.

`StateStore` holds the classes of one task, `KeyedState` is one of them as a processor sees it. Rows lie in an
append-only arena (`arena`) under an index from key to row (`index`); the bytes of changelog and snapshots are
described in `changelog`.
"""

from streams.state.store import StateStore

__all__ = ["StateStore"]
