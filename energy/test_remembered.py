"""Results are given again for arguments of equal content, and for no others."""

import polars as pl

from energy.remembered import KEPT, remembered


def counted() -> tuple[list[int], pl.DataFrame]:
    return [], pl.DataFrame({"site_id": ["s1", "s2"], "limit_w": [5.0, None]})


def test_equal_rows_are_worked_out_once_and_others_again() -> None:
    calls, sites = counted()

    @remembered
    def total(frame: pl.DataFrame, factor: int) -> float:
        calls.append(factor)
        return float(frame["limit_w"].sum()) * factor

    assert total(sites, 2) == 10.0
    assert total(sites.clone(), 2) == 10.0
    assert total(pl.DataFrame(sites.to_dict(as_series=False)), 2) == 10.0
    assert calls == [2]
    assert total(sites, 3) == 15.0
    assert total(sites.with_columns(limit_w=pl.lit(7.0)), 2) == 28.0
    assert calls == [2, 3, 2]


def test_tasks_that_ask_in_turn_do_not_get_the_results_of_each_other() -> None:
    calls, _ = counted()
    frames = [pl.DataFrame({"site_id": [f"s{number}"]}) for number in range(KEPT + 1)]

    @remembered
    def first(frame: pl.DataFrame) -> str:
        calls.append(len(calls))
        return str(frame["site_id"][0])

    for _ in range(2):
        assert [first(frame.clone()) for frame in frames[:KEPT]] == [f"s{number}" for number in range(KEPT)]
    assert len(calls) == KEPT
    assert [first(frame.clone()) for frame in frames] == [f"s{number}" for number in range(KEPT + 1)]
