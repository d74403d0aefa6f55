"""What a field's name says about its number: the unit, and whether it can be negative or more than one."""

from streams.contracts.topic import Field

_SUFFIXES = {
    "_micros_per_mwh": "millionths of the currency per MWh",
    "_micros_per_mw_h": "millionths of the currency per MW and hour",
    "_micros_per_month": "millionths of the currency per month",
    "_micros_per_h": "millionths of the currency per hour",
    "_micros": "millionths of the currency",
    "_w_per_m2": "W/m²",
    "_m_per_s": "m/s",
    "_g_per_kwh": "g/kWh",
    "_per_day": "per day",
    "_ppm": "millionths",
    "_mhz": "mHz",
    "_wh": "Wh",
    "_w": "W",
    "_s": "s",
    "_c": "°C",
    "_mm": "mm",
    "_ratio": "ratio",
    "_factor": "ratio",
    "_efficiency": "ratio",
}
_RATIOS = {"coverage", "reliability"}
_FACTORS = {"adjustment_ratio", "rebound_ratio"}  # of an adjustment or a rebound: may be more than one
_NUMBER = "number"  # counts or numbers something: never negative
_OTHERS = {
    "demand_rate": "the storage's own unit per second",
    "value_long": "as the field unit says",
    "value_double": "as the field unit says",
    "seed": "no unit",
    "weekdays": "bits, Monday = 1",
    "level": "level of a limit",
    "set_no": _NUMBER,
    "set_size": _NUMBER,
}
_NUMBERS = {
    "revision", "samples", "resources", "lines", "records", "missed", "rejected", "days_used", "sequence", "step",
    "version", "partition", "offset",
}  # fmt: skip
_NUMBER_SUFFIXES = ("_no", "_version", "_partition", "_offset")


def is_number(name: str) -> bool:
    """Whether a field counts or numbers something, as its name says: it has no unit and is never negative."""
    return name in _NUMBERS or (name.endswith(_NUMBER_SUFFIXES) and name != "set_no")


def is_ratio(name: str) -> bool:
    """Whether a field is a share of a whole, 0..1, as its name says."""
    return name in _RATIOS or (name.endswith("_ratio") and name not in _FACTORS)


def is_magnitude(name: str) -> bool:
    """Whether a field is a size without a sign, as its name says: a quantity, a limit, a duration, a count."""
    if is_number(name) or name in ("step_w", "limit_w", "energy_limit_wh"):
        return True
    return name.endswith(("quantity_w", "_limit_w")) or (name.endswith("_s") and "_per_" not in name)


def unit_of(field: Field) -> str | None:
    """The unit that a field's name gives, in words for people; None where a number's name gives none.

    For a field that is no number the empty string.
    """
    if field.kind not in ("long", "double"):
        return ""
    name = field.name
    if name in _OTHERS:
        return _OTHERS[name]
    if is_number(name):
        return _NUMBER
    if name in _RATIOS:
        return "ratio"
    if "fill_level" in name:
        return "the storage's own unit"
    return next((unit for suffix, unit in _SUFFIXES.items() if name.endswith(suffix)), None)
