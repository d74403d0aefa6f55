"""What the tests of the simulators share: a made-up year, the measured one, and drivers that are closed again."""

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from streams import Edge
from streams.testing import TopologyDriver

SHARED = Path(__file__).parents[2] / "shared" / "data" / "citylearn2022"
ARCHIVE = SHARED / "citylearn_challenge_2022_phase_all.tar.xz"


@pytest.fixture(scope="session")
def year(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a made-up year of 17 homes in the data set's format: load and PV differ in every home and hour."""
    folder = tmp_path_factory.mktemp("year")
    hour = np.arange(8760)
    label = np.where(hour % 24 == 0, 24, hour % 24)
    day = (hour - 1) // 24  # the label 24 belongs to the day before
    months = np.repeat([8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6, 7], [31, 30, 31, 30, 31, 31, 28, 31, 30, 31, 30, 31])
    common = {
        "Month": months[day % 365],
        "Hour": label,
        "Day Type": day % 7 + 1,
        "Daylight Savings Status": 0,
    }
    buildings = {}
    for home in range(1, 18):
        sun = np.maximum(np.sin((hour % 24 - 6) / 12 * np.pi), 0) * (700 + home + hour % 97)
        frame = pl.DataFrame(common | {
            "Equipment Electric Power [kWh]": 0.4 + home / 100 + hour % 89 / 500,
            "Solar Generation [W/kW]": sun,
        })  # fmt: skip
        frame.write_csv(folder / f"Building_{home}.csv")
        storage = {"capacity": 6.4, "nominal_power": 5.0, "efficiency": 0.81}
        buildings[f"Building_{home}"] = {
            "energy_simulation": f"Building_{home}.csv",
            "electrical_storage": {"attributes": storage},
            "pv": {"attributes": {"nominal_power": 4.0 + home % 2}},
        }
    (folder / "schema.json").write_text(json.dumps({"buildings": buildings}))
    pl.DataFrame({
        "Outdoor Drybulb Temperature [C]": 15 + 5 * np.sin(hour / 24 * 2 * np.pi),
        "Relative Humidity [%]": 50.0 + hour % 24,
        "Diffuse Solar Radiation [W/m2]": np.maximum(np.sin((hour % 24 - 6) / 12 * np.pi), 0) * 800,
        "Direct Solar Radiation [W/m2]": np.maximum(np.sin((hour % 24 - 6) / 12 * np.pi), 0) * 600,
    }).write_csv(folder / "weather.csv")  # fmt: skip
    pl.DataFrame({"Electricity Pricing [$/kWh]": 0.2 + hour % 24 / 100}).write_csv(folder / "pricing.csv")
    return str(folder)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder with the measured year."""
    if not ARCHIVE.is_file():
        pytest.skip(f"the measured year is not there: {ARCHIVE}")
    folder = tmp_path_factory.mktemp("measured")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return str(folder / "citylearn_challenge_2022_phase_all")


Drive = Callable[..., TopologyDriver]


@pytest.fixture
def drive() -> Iterator[Drive]:
    """Make drivers of edges; they are closed when the test is over."""
    made: list[TopologyDriver] = []

    def start(*specs: Edge[Any, Any, Any, Any], **options: Any) -> TopologyDriver:
        made.append(TopologyDriver(*specs, **options))
        return made[-1]

    yield start
    for driver in made:
        driver.close()
