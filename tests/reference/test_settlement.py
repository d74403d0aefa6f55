"""Published settlement figures: the UFTP example and Elia's imbalance prices."""

import re
from pathlib import Path

import pytest

from energy.settlement import divide, imbalance_price, settle_delivery

SHARED = Path(__file__).parents[3] / "shared" / "data"
EUR = 1_000_000


@pytest.mark.parametrize(("allocation_mw", "settled_eur"), [(7, 14), (8, 14), (9, -4), (10, -22), (11, -33)])
def test_the_example_of_the_uftp_settle_phase(allocation_mw: int, settled_eur: int) -> None:
    """Baseline 10 MW, 2 MW of reduction sold for one hour at 7 EUR, penalty 11 EUR, over-delivery unpaid."""
    mwh = 1_000_000
    settled = settle_delivery(
        2 * mwh,
        (10 - allocation_mw) * mwh,
        price_micros_per_mwh=7 * EUR,
        penalty_micros_per_mwh=11 * EUR,
    )
    assert settled.amount_micros == settled_eur * EUR


def micros(text: str) -> int:
    return round(float(text) * EUR)


def test_elia_imbalance_prices_of_a_day() -> None:
    path = SHARED / "elia" / "ImbalanceNrvPrices_2022-04-03.csv"
    if not path.exists():
        pytest.skip(f"reference data not present: {path}")
    prices = []
    for line in path.read_text().splitlines()[1:]:
        cells = re.split("[,;]", line)  # the file mixes both
        imbalance, alpha, mip, mdp = cells[5:9]
        paid = {micros(cell) for cell in cells[-2:]}
        assert len(paid) == 1, line  # one price for short and long
        price = imbalance_price(
            system_imbalance=float(imbalance),
            mip=micros(mip) if mip else 0,
            mdp=micros(mdp) if mdp else 0,
            alpha=micros(alpha),
        )
        prices.append(abs(price - paid.pop()))
    assert len(prices) == 96
    assert max(prices) <= divide(EUR, 100)
