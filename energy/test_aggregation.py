from datetime import UTC, datetime

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from energy.aggregation import MARKET, merit_order

NOON = datetime(2026, 2, 16, 12, tzinfo=UTC)
SCHEMA = {
    "zone": pl.String(), "grid_node_id": pl.String(), "product_id": pl.String(), "direction": pl.String(),
    "period_start": pl.Datetime("us", "UTC"), "resource_id": pl.String(), "step": pl.Int64(), "quantity_w": pl.Int64(),
    "min_quantity_w": pl.Int64(), "price_micros_per_mwh": pl.Int64(), "limit_group": pl.String(),
    "energy_limit_wh": pl.Int64(), "reliability": pl.Float64(),
}  # fmt: skip


def offer(resource: str, quantity: int, price: int, energy: int | None = None, **rest: object) -> dict[str, object]:
    return {
        "zone": "BE", "grid_node_id": "", "product_id": "local", "direction": "UP", "period_start": NOON,
        "resource_id": resource, "step": 1, "quantity_w": quantity, "min_quantity_w": 0, "price_micros_per_mwh": price,
        "limit_group": None, "energy_limit_wh": energy, "reliability": None,
    } | rest  # fmt: skip


def frame(*offers: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(offers), schema=SCHEMA)


def test_offers_are_stacked_by_cost() -> None:
    curve = merit_order(frame(offer("c", 5000, 90), offer("a", 3000, 70), offer("b", 4000, 90)), hold_s=3600)
    names = ["step", "price_micros_per_mwh", "quantity_w", "cumulative_w", "firm_quantity_w", "resources"]
    assert curve.select(names).rows() == [(1, 70, 3000, 3000, 3000, 1), (2, 90, 9000, 12000, 9000, 2)]


def test_prices_are_rounded_up_to_their_step() -> None:
    offers = frame(offer("a", 1, 101), offer("b", 1, 100), offer("c", 1, 200), offer("d", 1, -101))
    assert merit_order(offers, hold_s=1, price_step_micros=100)["price_micros_per_mwh"].to_list() == [-100, 100, 200]


def test_firm_is_what_energy_can_hold() -> None:
    # 2000 Wh last two hours at 1000 W; 2500 Wh at 1250 W
    offers = frame(offer("a", 5000, 70, 2000), offer("b", 1200, 80, 2500), offer("c", 900, 80))
    assert merit_order(offers, hold_s=7200)["firm_quantity_w"].to_list() == [1000, 2100]
    assert merit_order(offers, hold_s=900)["firm_quantity_w"].to_list() == [5000, 2100]


def test_steps_that_share_energy_hold_it_once_the_cheapest_first() -> None:
    offers = frame(
        offer("a", 2000, 90, 3000, step=2, limit_group="a/UP"),
        offer("a", 2000, 70, 3000, limit_group="a/UP"),
        offer("b", 500, 90, 3000),
    )
    curve = merit_order(offers, hold_s=3600)
    assert curve.select("quantity_w", "firm_quantity_w").rows() == [(2000, 2000), (2500, 1500)]


def test_what_is_unreliable_counts_by_its_reliability() -> None:
    curve = merit_order(frame(offer("a", 1000, 70, reliability=0.75), offer("b", 999, 70, reliability=0.5)), hold_s=900)
    assert curve["firm_quantity_w"].to_list() == [750 + 499]


def test_zones_products_directions_and_periods_do_not_mix() -> None:
    others: list[dict[str, object]] = [
        {"zone": "NL"}, {"grid_node_id": "n1"}, {"product_id": "mfrr"}, {"direction": "DOWN"},
        {"period_start": datetime(2026, 2, 16, 12, 15, tzinfo=UTC)},
    ]  # fmt: skip
    offers = frame(offer("a", 100, 70), *(offer("a", 100, 70) | other for other in others))
    curve = merit_order(offers, hold_s=900)
    assert curve["cumulative_w"].to_list() == [100] * 6
    assert curve.equals(curve.sort(*MARKET, "step"))


@given(
    rows=st.lists(
        st.tuples(st.integers(1, 10**6), st.integers(-(10**9), 10**9), st.integers(0, 10**6), st.sampled_from("xyz")),
        min_size=1,
        max_size=12,
    ),
    hold=st.integers(1, 10**5),
)
def test_nothing_is_lost_and_firm_never_exceeds_quantity_or_energy(
    rows: list[tuple[int, int, int, str]], hold: int
) -> None:
    limits = {group: energy for _, _, energy, group in rows}
    offers = frame(*(
        offer(f"r{number}", quantity, price, limits[group], limit_group=group)
        for number, (quantity, price, _, group) in enumerate(rows)
    ))  # fmt: skip
    curve = merit_order(offers, hold_s=hold)
    assert curve["quantity_w"].sum() == sum(quantity for quantity, *_ in rows)
    assert (curve["firm_quantity_w"] <= curve["quantity_w"]).all()
    assert curve["price_micros_per_mwh"].is_sorted()
    firm = sum(
        min(sum(quantity for quantity, _, _, of in rows if of == group), energy * 3600 // hold)
        for group, energy in limits.items()
    )
    assert curve["firm_quantity_w"].sum() == firm


def test_the_order_of_the_offers_changes_nothing() -> None:
    offers = frame(*(offer(f"r{n}", n % 7 + 1, n % 5, 10 * n) for n in range(200)))
    shuffled = offers.sample(fraction=1.0, shuffle=True, seed=3)
    assert merit_order(shuffled, hold_s=900).equals(merit_order(offers, hold_s=900))
