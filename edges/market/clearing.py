"""Who is bought and who is called: merit orders, pure and in whole numbers."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step that someone offers for one period.

    Attributes:
        owner: Who; the order among equals.
        quantity_w: How much.
        minimum_w: Least that may be bought of it; the whole quantity if it is indivisible.
        capacity_price: Micros per MW and hour.
        energy_price: Micros per MWh.
    """

    owner: str
    quantity_w: int
    minimum_w: int
    capacity_price: int
    energy_price: int


def clear(steps: Sequence[Step], need_w: int, step_w: int) -> list[int]:
    """Buy the cheapest capacity until the need is met.

    Order: capacity price, energy price, owner. A step that is not bought whole is bought in multiples of ``step_w`` and
    not below its minimum; where that cannot be, the next one is tried.

    Returns:
        Watts bought of each step, in the order given; together never more than the need.
    """
    bought = [0] * len(steps)
    left_w = need_w
    order = sorted(range(len(steps)), key=lambda n: (steps[n].capacity_price, steps[n].energy_price, steps[n].owner))
    for number in order:
        quantity_w = _part(steps[number].quantity_w, steps[number].minimum_w, left_w // step_w * step_w)
        bought[number] = quantity_w
        left_w -= quantity_w
    return bought


def call(steps: Sequence[Step], need_w: int, step_w: int) -> list[int]:
    """Call the cheapest energy of what was bought until the need is met; the last step in part if it allows.

    Order: energy price, owner. The need counts up to the next multiple of ``step_w``; a step's minimum is called even
    where less would do.

    Returns:
        Watts called of each step, in the order given.
    """
    called = [0] * len(steps)
    left_w = -(-need_w // step_w) * step_w
    for number in sorted(range(len(steps)), key=lambda n: (steps[n].energy_price, steps[n].owner)):
        if left_w <= 0:
            break
        one = steps[number]
        called[number] = min(one.quantity_w, max(left_w, one.minimum_w))
        left_w -= called[number]
    return called


def _part(quantity_w: int, minimum_w: int, left_w: int) -> int:
    if quantity_w <= left_w:
        return quantity_w
    return left_w if left_w >= max(minimum_w, 1) else 0
