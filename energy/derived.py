"""What follows from whole tables, worked out once for tables that stay the same."""

from collections.abc import Callable
from typing import Generic, TypeVar

import polars as pl

T = TypeVar("T")


class Derived(Generic[T]):
    """A pure function of frames that remembers its newest result: the same objects are not looked at again.

    A frame must not be changed in place. What came of other frames is let go of.

    Args:
        work: the function; used as a decorator.
    """

    def __init__(self, work: Callable[..., T]) -> None:
        self.__doc__ = work.__doc__
        self._work = work
        self._newest: tuple[tuple[pl.DataFrame, ...], T] | None = None

    def __call__(self, *frames: pl.DataFrame) -> T:
        """Return what follows from the frames."""
        newest = self._newest
        if newest is not None and all(one is other for one, other in zip(newest[0], frames, strict=True)):
            return newest[1]
        found = self._work(*frames)
        self._newest = frames, found
        return found
