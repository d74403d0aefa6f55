from datetime import timedelta
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy import settlement as es

amounts = st.integers(-(10**15), 10**15)


@pytest.mark.parametrize(
    ("numerator", "denominator", "result"),
    [
        (5, 10, 0),
        (15, 10, 2),
        (25, 10, 2),
        (-5, 10, 0),
        (-15, 10, -2),
        (-25, 10, -2),
        (26, 10, 3),
        (-26, 10, -3),
        (9, 3, 3),
    ],
)
def test_division_rounds_half_to_even(numerator: int, denominator: int, result: int) -> None:
    assert es.divide(numerator, denominator) == result
    frame = pl.DataFrame({"n": [numerator]})
    assert frame.select(es.to_divided(pl.col("n"), denominator)).item() == result


@given(energy=amounts, price=st.integers(-(10**12), 10**12))
def test_energy_is_priced_exactly_beyond_64_bits(energy: int, price: int) -> None:
    exact = round(Fraction(energy * price, 10**6))  # Python rounds a fraction half-even
    assert es.energy_micros(energy, price) == exact
    frame = pl.DataFrame({"e": [energy], "p": [price]}, schema={"e": pl.Int64, "p": pl.Int64})
    priced = es.to_energy_micros(pl.col("e"), pl.col("p"))
    if abs(exact) < 2**63:
        assert frame.select(priced).item() == exact
    else:
        with pytest.raises(pl.exceptions.InvalidOperationError):
            frame.select(priced)


def test_prices_by_hand() -> None:
    # 1.25 kWh at 80 EUR/MWh is 10 cents; 85 kW for a quarter-hour at 12 EUR/MW/h is 25.5 cents
    assert es.energy_micros(1_250, 80_000_000) == 100_000
    assert es.capacity_micros(85_000, timedelta(minutes=15), 12_000_000) == 255_000
    frame = pl.DataFrame({"w": [85_000], "d": [timedelta(minutes=15)], "p": [12_000_000]})
    assert frame.select(es.to_capacity_micros(pl.col("w"), pl.col("d"), pl.col("p"))).item() == 255_000
    assert es.scale(-1_000_001, 800_000) == -800_001
    assert (
        pl.DataFrame({"a": [-1_000_001], "s": [800_000]}).select(es.to_scaled(pl.col("a"), pl.col("s"))).item()
        == -800_001
    )


def test_a_split_gives_the_rest_to_the_largest_remainders() -> None:
    # 10 over 3:3:1 is 4.29, 4.29, 1.43: the one left goes to the third
    assert es.split(10, [3, 3, 1]) == [4, 4, 2]
    assert es.split(-10, [3, 3, 1]) == [-4, -4, -2]
    assert es.split(2, [1, 1, 1]) == [1, 1, 0]
    assert es.split(5, [0, 0]) == [3, 2]
    assert es.split(5, []) == []
    assert es.share(100, [800_000]) == [80, 20]
    assert es.share(-1, [333_333, 333_333]) == [0, 0, -1]


@given(amount=amounts, weights=st.lists(st.integers(0, 10**12), min_size=1, max_size=8))
def test_parts_sum_to_the_amount_and_are_within_one_of_their_share(amount: int, weights: list[int]) -> None:
    parts = es.split(amount, weights)
    assert sum(parts) == amount
    counted = weights if any(weights) else [1] * len(weights)
    for part, weight in zip(parts, counted, strict=True):
        assert abs(Fraction(amount * weight, sum(counted)) - part) < 1
    frame = pl.DataFrame({"g": [1] * len(parts), "a": [amount] * len(parts), "w": weights})
    assert frame.select(es.to_split(pl.col("a"), pl.col("w"), ["g"])).to_series().to_list() == parts


def test_groups_are_split_apart() -> None:
    frame = pl.DataFrame({"g": ["x", "y", "x", "y"], "a": [10, -3, 10, -3], "w": [1, 1, 2, 1]})
    assert frame.select(es.to_split(pl.col("a"), pl.col("w"), ["g"])).to_series().to_list() == [3, -2, 7, -1]


def test_an_hour_is_split_into_quarters_carrying_the_remainder() -> None:
    # Energinet: 0.003 becomes 0.001, 0.001, 0.000, 0.001
    assert es.split_hour(3) == [1, 1, 0, 1]
    assert es.split_hour(-3) == [-1, -1, 0, -1]
    # 0.25, 0.5, 0.75, 1.0 with the half rounded up: the carried remainder comes back at the next step
    assert es.split_hour(1) == [0, 1, 0, 0]
    assert es.split_hour(8) == [2, 2, 2, 2]


@given(values=st.lists(amounts, max_size=20), divisor=st.integers(1, 10**6), cut=st.integers(0, 20))
def test_carried_results_sum_to_the_rounded_sum_in_any_chunks(values: list[int], divisor: int, cut: int) -> None:
    results, left = es.carry(values, divisor)
    assert sum(results) * divisor + left == sum(values)
    assert abs(left) * 2 <= divisor
    head, carried = es.carry(values[:cut], divisor)
    tail, rest = es.carry(values[cut:], divisor, carried)
    assert (head + tail, rest) == (results, left)


@given(
    requested=st.integers(0, 10**9),
    delivered=st.integers(-(10**9), 10**9),
    price=st.integers(-(10**9), 10**9),
    over=st.booleans(),
)
def test_deliveries_in_columns_are_settled_as_one_by_one(
    requested: int, delivered: int, price: int, over: bool
) -> None:
    one = es.settle_delivery(
        requested, delivered, price_micros_per_mwh=price, penalty_micros_per_mwh=2 * abs(price), over_delivery_paid=over
    )
    frame = pl.DataFrame({
        "requested_wh": [requested], "delivered_wh": [delivered],
        "price_micros_per_mwh": [price], "penalty_micros_per_mwh": [2 * abs(price)],
    })  # fmt: skip
    row = es.settle_deliveries(frame, over_delivery_paid=over).row(0, named=True)
    names = ("paid_wh", "shortfall_wh", "energy_micros", "penalty_micros")
    assert tuple(row[name] for name in names) == tuple(getattr(one, name) for name in names)
    assert one.penalty_micros <= 0


def test_over_delivery_is_paid_only_where_agreed() -> None:
    capped = es.settle_delivery(1000, 1500, price_micros_per_mwh=100_000_000, penalty_micros_per_mwh=0)
    assert capped == es.Delivered(1000, 0, 100_000, 0)
    paid = es.settle_delivery(
        1000, 1500, price_micros_per_mwh=100_000_000, penalty_micros_per_mwh=0, over_delivery_paid=True
    )
    assert paid == es.Delivered(1500, 0, 150_000, 0)
