"""What is derived from tables is worked out once for the same tables, and again for others."""

import polars as pl

from energy.derived import Derived


def test_the_same_tables_are_looked_at_once_and_others_again() -> None:
    seen: list[int] = []

    @Derived
    def rows(left: pl.DataFrame, right: pl.DataFrame) -> int:
        seen.append(left.height)
        return left.height + right.height

    one, two = pl.DataFrame({"n": [1]}), pl.DataFrame({"n": [2, 3]})
    assert (rows(one, two), rows(one, two), rows(two, two), rows(one, two)) == (3, 3, 4, 3)
    assert seen == [1, 2, 1]


def test_an_equal_table_is_not_the_same() -> None:
    seen: list[int] = []

    @Derived
    def height(table: pl.DataFrame) -> int:
        seen.append(table.height)
        return table.height

    assert height(pl.DataFrame({"n": [1]})) == height(pl.DataFrame({"n": [1]})) == 1
    assert len(seen) == 2
