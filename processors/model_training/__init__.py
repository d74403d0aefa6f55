"""Models of the sites' load and PV, trained anew every week; a model is an event with its bytes.

**Rule.** The first training falls when `learn_days` of measured quarter-hours are there, the next ones `retrain_days`
after the one before, at ticks of six hours. What is learned from is the time of the rule `forecast.training` (28 days)
up to the watermark of `telemetry.interval`. A resource of kind `load` or `pv` teaches the model of that scope: one set
of models for all sites, of powers relative to each resource's own recent mean, so more than `sites_max` sites teach
nothing new; then every n-th by id is taken. Weather is the forecast that was known `weather_lead` before, as it will be
when the model is used. A quarter-hour that is MISSING is left out.

**Formula.** A LightGBM model per quantile q minimises Σ max(q · e, (q - 1) · e) (pinball loss) over the features of
`energy.forecast`: calendar, weather, lags. One thread, a fixed seed, no sampling: the same past gives the same bytes.

**What comes out.** `forecast.model`, purpose `load_forecast`, scope `load` or `pv`: a set of chunks of at most
`chunk_bytes` and the SHA-256 of the whole. It is read as a delayed table, so a training never holds up a dispatch.

**Source.** Koenker, Bassett 1978 (quantile regression); Ke et al. 2017 (LightGBM).
"""

from datetime import timedelta

from processors.model_training.logic import Config, Trained, on_tick
from streams import Processor, records
from streams.contracts import Record
from topics import (
    IntervalMeasured,
    ModelTrained,
    ResourceRegistered,
    RulePublished,
    SiteRegistered,
    WeatherPredicted,
)


def spec(config: Config) -> Processor[Config, Record, ModelTrained]:
    """The training with a configuration."""
    return Processor(
        name="model_training",
        version=1,
        writes=records(ModelTrained),
        tables=records(ResourceRegistered, SiteRegistered, RulePublished),
        history=records(IntervalMeasured, WeatherPredicted),
        state=(Trained,),
        on_tick=on_tick,
        every=timedelta(hours=6),
        config=config,
        single=True,
    )


SPEC = spec(Config())
