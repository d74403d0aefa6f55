"""The domain: pure functions on units, time, money and energy. No I/O, no clock, no streams."""
