"""What a battery does with the power asked of it, for many batteries at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Batteries:
    """Batteries of any number; every array has one entry each.

    Attributes:
        capacity_wh: Energy when full.
        reserve_wh: Energy that the owner keeps; nothing below it is discharged.
        power_w: Greatest power, charging or discharging, at the terminals.
        efficiency: Of one way: stored = taken x efficiency, given = drawn x efficiency.
    """

    capacity_wh: Floats
    reserve_wh: Floats
    power_w: Floats
    efficiency: Floats

    def follow(self, stored_wh: Floats, asked_w: Floats, hours: float) -> tuple[Floats, Floats]:
        """Hold a power for a time, as far as power and stored energy allow.

        Args:
            stored_wh: Energy stored at the beginning.
            asked_w: Power asked for at the terminals, positive = charging.
            hours: How long.

        Returns:
            Mean power over the time in W, and the energy stored at its end in Wh.
        """
        room_w = np.maximum(self.capacity_wh - stored_wh, 0.0) / (self.efficiency * hours)
        left_w = np.maximum(stored_wh - self.reserve_wh, 0.0) * self.efficiency / hours
        power_w = np.clip(asked_w, -np.minimum(left_w, self.power_w), np.minimum(room_w, self.power_w))
        gained_w = np.where(power_w > 0, power_w * self.efficiency, power_w / self.efficiency)
        return power_w, np.clip(stored_wh + gained_w * hours, 0.0, self.capacity_wh)
