"""Weather forecasts, simulated: every six hours, for the next 48 hours.

The weather is the data set's (a typical year; see `edges.dataset`, also for why its *diffuse* radiation is published as
global). The data set's own predictions are the later values themselves, so a forecast is made here: the later value
with an error that grows with the horizon and does not jump from hour to hour (a random walk over the horizon):

- temperature: standard deviation ``temperature_error_c`` x sqrt(hours ahead), 0.3 K: 1.5 K a day ahead;
- irradiance: a factor exp(error), ``irradiance_error`` x sqrt(hours ahead), 0.05: 0.24 a day ahead; night stays dark;
- humidity: ``humidity_error`` x sqrt(hours ahead), 0.015: 7 points a day ahead, kept within 0 and 1.
"""

from edges.weather.conversation import Config, Forecaster, on_wake
from streams import Edge, records
from streams.contracts import Record
from topics import WeatherPredicted


def spec(config: Config) -> Edge[Forecaster, Config, Record, WeatherPredicted]:
    """The weather service of a configuration."""
    return Edge(
        name="weather",
        version=1,
        session=Forecaster,
        writes=records(WeatherPredicted),
        keys=("weather",),
        config=config,
        on_wake=on_wake,
    )


SPEC = spec(Config())

__all__ = ["SPEC", "Config", "spec"]
