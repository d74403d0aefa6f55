"""With all faults off, a home's intervals have the energy of the measured file, to the Wh."""

from datetime import timedelta
from pathlib import Path

import polars as pl

from demo.scenario import Plan
from edges import clock, dataset, homes, rules
from processors.intervals import SPEC
from streams.contracts import Contracts
from streams.hosts.local import LocalHost
from streams.topology import Topology
from topics import IntervalMeasured


def test_a_homes_intervals_have_the_files_energy_to_the_wh(homes_data: Path) -> None:
    plan = Plan(homes=17)
    edges = (
        clock.spec(clock.Config(start=plan.start)),
        rules.spec(rules.Config(valid_from=plan.start)),
        homes.spec(
            homes.Config(data=str(homes_data), start=plan.start, seed=5, faults=homes.Faults.none(), opt_out_share=0.0)
        ),
    )
    topology = Topology(Contracts.installed(), (SPEC,), edges, absent=True)
    with LocalHost(topology, start=plan.start) as host:
        host.run(plan.start + timedelta(hours=25))
        topic = IntervalMeasured.__topic__
        slab = host.log.read(topic.name, 0, 0, limit=1_000_000)
        intervals = host.codec.decode(topic, slab.keys, slab.values).frame
    assert set(intervals["revision"]) == {0}
    assert set(intervals["quality"]) == {"MEASURED"}
    hours = (
        intervals.filter(pl.col("period_start") < plan.start + timedelta(hours=24))
        .group_by("resource_id", pl.col("period_start").dt.truncate("1h"))
        .agg(pl.col("energy_wh").sum(), pl.len())
    )
    assert set(hours["len"]) == {4}
    measured = dataset.homes(str(homes_data))
    for resource_id, start, energy_wh in hours.select("resource_id", "period_start", "energy_wh").iter_rows():
        home, kind = resource_id.removeprefix("home-").split("/")
        row = dataset.row_of(start, dataset.FIRST_DAY)
        load, pv = measured.load_w[int(home) - 1, row], -measured.pv_w[int(home) - 1, row]
        expected = {"load": load, "pv": pv, "battery": 0.0, "meter": load + pv}[kind]
        assert abs(energy_wh - expected) < 0.5, f"{resource_id} {start}"
    assert len(hours) == 17 * 4 * 24
