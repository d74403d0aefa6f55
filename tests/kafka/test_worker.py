"""What a supervisor and the pages of health decide, without a cluster."""

import json
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streams import logs
from streams.cli.run import ordinal
from streams.errors import AbortedError, FencedError, HistoryAwayError, RejectLimitError, StreamsError, WiringError
from streams.kafka.child import CRASHED, PASSING, Ending, load_topology, work
from streams.kafka.cluster import ClusterError
from streams.kafka.runner import Runner
from streams.kafka.topics import NotReadyError
from streams.kafka.watching import REASONS, RunnerView, reason
from streams.kafka.worker import STOPPED, Backoff, Supervisor, described, verdict
from streams.observe import METRICS, Pages, Point, as_table
from streams.topology import ONE_PARTITION


def test_pauses_double_up_to_thirty_seconds() -> None:
    backoff = Backoff()
    assert [backoff.after(0.5) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_pauses_are_short_again_after_a_minute_of_work() -> None:
    backoff = Backoff()
    assert [backoff.after(5), backoff.after(59), backoff.after(60), backoff.after(5)] == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("code", "asked", "expected"),
    [
        (0, True, "ended"),
        (0, False, "crashed"),
        (-signal.SIGKILL, False, "crashed"),
        (-signal.SIGKILL, True, "ended"),
        (1, False, "crashed"),
        (CRASHED, False, "crashed"),
        (PASSING, False, "crashed"),
        (STOPPED, False, "stopped"),
        (STOPPED, True, "stopped"),
    ],
)
def test_only_a_runner_that_cannot_go_on_is_not_started_again(code: int, asked: bool, expected: str) -> None:
    assert verdict(code, asked=asked) == expected


def test_the_end_of_a_process_is_said_in_words() -> None:
    assert described(-9) == "was ended by SIGKILL"
    assert described(70) == "ended with code 70"


class Failing:
    """A runner that ends in one way."""

    at_work = None

    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    def run(self) -> None:
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (RejectLimitError("too much"), STOPPED),
        (NotReadyError("not ready"), STOPPED),
        (WiringError("wrong"), STOPPED),
        (FencedError("another owner"), PASSING),
        (AbortedError("aborted"), PASSING),
        (HistoryAwayError("away"), PASSING),
        (ClusterError("away"), PASSING),
        (ZeroDivisionError("a bug"), CRASHED),
    ],
)
def test_the_exit_code_says_whether_another_start_may_help(error: BaseException | None, code: int) -> None:
    ending = cast("Ending", SimpleNamespace(runner=None, asked=False))
    assert work(lambda: cast("Runner", Failing(error)), ending, lambda _: ExitStack()) == code


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [("settlement-3", 3), ("settlement-12.flexlog.svc", 12), ("laptop", 0), ("node-07", 0), ("x-7d9f-kx2", 0)],
)
def test_a_statefulsets_pod_has_its_number(hostname: str, expected: int) -> None:
    assert ordinal(hostname) == expected


def test_a_topology_that_cannot_be_loaded_is_said_in_one_line() -> None:
    with pytest.raises(WiringError, match=r"topology 'json:nothing' cannot be loaded .* give module:function"):
        load_topology("json:nothing", ONE_PARTITION)
    with pytest.raises(WiringError, match="gave a dict; it must give a Topology"):
        load_topology("builtins:dict", ONE_PARTITION)


class Scripted(Supervisor):
    """A supervisor whose runners are small programs."""

    program = ""

    def command(self, name: str, slot: int, port: int) -> list[str]:
        """The program, told who it is."""
        return [sys.executable, "-I", "-c", self.program, name, str(slot), str(port)]


def scripted(program: str, **options: Any) -> tuple[Scripted, list[logs.Event]]:
    lines: list[logs.Event] = []
    made = Scripted(tell=lines.append, backoff=lambda: Backoff(first_s=0.1), **options)
    made.program = program
    return made, lines


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_one_that_cannot_go_on_is_left_and_the_others_go_on() -> None:
    program = f"import sys, time; sys.exit({STOPPED}) if sys.argv[1] == 'bad' else time.sleep(60)"
    supervisor, _ = scripted(program)
    with supervisor:
        supervisor.start(["bad", "good"])
        until(lambda: supervisor.status()[0].state == "stopped")
        assert [(one.name, one.state, one.starts) for one in supervisor.status()] == [
            ("bad", "stopped", 1),
            ("good", "runs", 1),
        ]
        assert supervisor.stop() == 1


def test_all_end_with_the_first_that_cannot_go_on_where_that_is_asked_for() -> None:
    program = f"import sys, time; sys.exit({STOPPED}) if sys.argv[1] == 'bad' else time.sleep(60)"
    supervisor, _ = scripted(program, stop_all=True)
    with supervisor:
        supervisor.start(["good", "bad"])
        assert supervisor.wait(10)
        assert {one.name: one.state for one in supervisor.status()} == {"good": "ended", "bad": "stopped"}


def test_slots_and_ports_count_on() -> None:
    supervisor, lines = scripted("import sys; print(*sys.argv[1:])", slot=2, runners=2, health_port=9000)
    with supervisor:
        supervisor.start(["a", "b"])
        until(lambda: {line["message"] for line in lines} >= {"a 4 9000", "a 5 9001", "b 4 9002", "b 5 9003"})
    with pytest.raises(StreamsError, match="was stopped"):
        supervisor.start(["c"])


def test_one_that_does_not_end_is_killed_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.worker._AFTER_GRACE_S", 0.3)
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(60)"
    supervisor, lines = scripted(program.replace("print('deaf')", "print('deaf', flush=True)"), grace_s=0.1)
    supervisor.start(["deaf"])
    until(lambda: lines)
    begun = time.monotonic()
    assert supervisor.stop() == 0
    assert 0.3 < time.monotonic() - begun < 3
    assert any("did not end in time: killed" in line["message"] for line in lines)


def test_what_a_runner_or_its_libraries_say_is_an_event_with_its_name() -> None:
    known = {"processor": "hours", "slot": 1}
    own = json.dumps({"time": "t", "level": "ERROR", "message": "stopped", "task": "hours.v1.0"})
    assert logs.parsed(own, **known) == {**known, **json.loads(own)}
    client = logs.parsed("%4|1795266175.677|GETPID|flexlog#producer-6| [thrd:main]: Failed", **known)
    assert (client["level"], client["logger"]) == ("WARNING", "librdkafka")
    assert client["message"] == "GETPID|flexlog#producer-6| [thrd:main]: Failed"
    assert logs.parsed('{"no": "event"}', **known)["message"] == '{"no": "event"}'
    line = {**known, "time": "2026-01-01T00:00:00Z", "level": "WARNING", "task": "hours.v1.0", "message": "waits"}
    assert logs.as_text(line) == "2026-01-01 00:00:00Z  hours/1           warning: hours.v1.0 waits"
    assert json.loads(logs.as_json({**line, "message": "two\nlines"}))["message"] == "two\nlines"


class Shown:
    """A view that says what it is told to."""

    name = "hours/0"

    def __init__(self) -> None:
        self.fault = ""

    def unwell(self) -> str:
        return self.fault

    unready = unwell

    def told(self) -> str:
        return "hours: 2 tasks"

    def points(self, metric: str) -> Iterable[Point]:
        return [(7.0, {"processor": "hours"})] if metric == "flexlog.records.consumed" else []

    def taken(self, metric: str) -> Iterable[Point]:
        return [(0.03, {"processor": "hours"}), (0.3, {"processor": "hours"})]


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_pages_say_well_or_why_not_and_all_figures() -> None:
    view = Shown()
    with Pages(view, host="127.0.0.1", port=0) as pages:
        assert fetch(pages.port, "/healthz") == (200, "well: hours: 2 tasks\n")
        assert fetch(pages.port, "/readyz?verbose") == (200, "ready: hours: 2 tasks\n")
        view.fault = "its loop has not turned"
        assert fetch(pages.port, "/healthz") == (503, "not well: its loop has not turned\n")
        text = fetch(pages.port, "/metrics")[1]
        assert 'flexlog_records_consumed_total{processor="hours"} 7.0\n' in text
        assert "# TYPE flexlog_batch_duration_seconds histogram" in text
        buckets = {line for line in text.splitlines() if line.startswith("flexlog_batch_duration_seconds_bucket")}
        low = next(line for line in buckets if 'le="0.05"' in line)
        high = next(line for line in buckets if 'le="0.5"' in line)
        assert float(high.split()[-1]) == 2 * float(low.split()[-1]) > 0  # one of two is below 0.05 s
        with pytest.raises(StreamsError, match="FLEXLOG_KAFKA__HEALTH_PORT"):
            Pages(view, host="127.0.0.1", port=pages.port)


def test_a_runner_is_unwell_when_its_loop_stands_or_its_membership_ended() -> None:
    member = SimpleNamespace(alive=True, failure=None, answered=False, owned=lambda: {0: "fence"})
    runner = SimpleNamespace(
        spec=SimpleNamespace(name="hours", version=1),
        slot="0",
        turned=time.monotonic(),
        member=None,
        tasks={},
        batches=deque([0.5]),
        told=lambda: "hours: 0 tasks",
        waits="the registry: away",
    )
    view = RunnerView(cast("Runner", runner), stuck_s=10)
    assert view.unwell() == ""
    assert "has not given it its tasks" in view.unready()
    runner.member = member
    assert "has not given it its tasks" in view.unready()
    member.answered = True
    assert "the state of task 0 is not whole" in view.unready()
    runner.tasks = {0: "whole"}
    assert view.unready() == ""
    runner.tasks, member.owned = {}, dict
    assert view.unready() == ""  # more runners than tasks
    runner.turned -= 11
    assert "has not turned for 11 s, 10 are allowed" in view.unwell()
    runner.turned, member.alive, member.failure = time.monotonic(), False, "refused"
    assert "its membership of the group has ended: refused" in view.unwell()
    assert list(view.taken("flexlog.batch.duration")) == [(0.5, {"processor": "hours", "slot": "0"})]
    assert {point[1]["reason"]: point[0] for point in view.points("flexlog.waiting")} == {
        **dict.fromkeys(REASONS, 0.0),
        "registry": 1.0,
    }


def test_every_reason_to_wait_has_a_word() -> None:
    assert reason("") == "nothing"
    assert reason("the cluster") == "cluster"
    assert reason("the state of task 3: 1 of 2 records of its changelog") == "state"
    assert reason("tasks of its own") == "tasks"
    assert reason("ClickHouse at 127.0.0.1:8123 does not answer") == "history"


def test_the_table_of_metrics_names_each_as_prometheus_does() -> None:
    table = as_table()
    assert table.count("\n") == len(METRICS) + 2
    assert "| `flexlog_batch_duration_seconds` | histogram | `processor`, `slot` |" in table
