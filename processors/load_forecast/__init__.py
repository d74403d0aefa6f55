"""Probabilistic forecast of each site's load and PV for the coming local day.

**Rule.** At 09:00 of a site's local day (`issue_hour`) the next local day is forecast, its 92, 96 or 100 quarter-hours,
once: for each resource of kind `load` or `pv` that is active. The newest complete set of models of its scope is used,
as `model_training` had written it six hours before (a delayed table, so that a training never holds this up). While
there is none, or nothing measured to go on, it is tried again every hour of that day. A model whose bytes do not have
the fingerprint that it states stops the processor.

**Formula.** Features of `energy.forecast`: calendar of the site's time zone, the newest weather forecast, and the
resource's own quarter-hours of the last `history_days`, up to the end of the day two days before the one forecast (the
day in between is not over). Seven quantiles q05 to q95, put in order so that they do not cross (rearrangement), and the
mean as the integral of the quantile function. Load is not negative, PV not positive; in W, positive = consumption.

**What comes out.** `forecast.load`, `issued_at` = the tick, with the model's id and fingerprint.

**Source.** Koenker, Bassett 1978 (quantile regression); Chernozhukov, Fernández-Val, Galichon 2010 (rearrangement).
"""

from datetime import timedelta

from processors.load_forecast.logic import Config, Due, Resource, on_batch, on_tick
from streams import Processor, records
from topics import (
    IntervalMeasured,
    LoadPredicted,
    ModelTrained,
    ResourceRegistered,
    SiteRegistered,
    WeatherPredicted,
)

SPEC = Processor(
    name="load_forecast",
    version=1,
    reads=records(ResourceRegistered),
    writes=records(LoadPredicted),
    tables=records(WeatherPredicted, SiteRegistered),
    keep={WeatherPredicted: timedelta(hours=1)},
    delayed={ModelTrained: timedelta(hours=6)},
    history=records(IntervalMeasured),
    state=(Resource, Due),
    on_batch=on_batch,
    on_tick=on_tick,
    every=timedelta(hours=1),
    config=Config(),
)
