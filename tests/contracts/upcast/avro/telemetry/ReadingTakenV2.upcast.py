"""Readings of the first meters in the signs and words of today: consumption is positive, quality is an enum."""

import polars as pl


def upcast(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of ReadingTakenV2 from rows of ReadingTaken."""
    flag = pl.col("flag")
    return frame.select(
        "site_id",
        "resource_id",
        "occurred_at",
        power_w=-pl.col("power_w").cast(pl.Float64) + 0.0,  # no negative zero
        quality=flag.replace_strict({"ok": "MEASURED", "est": "ESTIMATED"}, default="MISSING"),
        fault_code=pl.when(~flag.is_in(["ok", "est"])).then(flag),
    )
