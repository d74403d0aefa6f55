"""What an operator sees of a process: ``/healthz``, ``/readyz`` and ``/metrics`` on a port.

The figures are read from what the process keeps anyway when somebody asks for them: nothing is counted in between.
They go through OpenTelemetry, so that its names and units hold, to Prometheus' text.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from streams.errors import StreamsError

Point = tuple[float, Mapping[str, str]]
_log = logging.getLogger(__name__)
_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_PATIENCE_S = 10.0
_SUFFIXES = {"s": "_seconds", "By": "_bytes", "1": "_ratio"}


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as OpenTelemetry has it.
        kind: what it is.
        unit: as UCUM has it, things that are counted in braces.
        text: what it says.
        labels: what tells its values from each other.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    text: str
    labels: tuple[str, ...]

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus' text."""
        suffix = _SUFFIXES.get(self.unit, "")
        return self.name.replace(".", "_") + suffix + ("_total" if self.kind == "counter" else "")


_TASK, _RUNNER = ("processor", "task"), ("processor", "slot")
METRICS: tuple[Metric, ...] = (
    Metric("flexlog.records.consumed", "counter", "{record}", "Records of committed batches.", _TASK),
    Metric("flexlog.records.rejected", "counter", "{record}", "Records put into the rejected topics.", _TASK),
    Metric("flexlog.commits", "counter", "{commit}", "Commits of the task since it exists, restarts included.", _TASK),
    Metric("flexlog.batch.duration", "histogram", "s", "A batch, from reading to committed.", _RUNNER),
    Metric("flexlog.tick.last", "gauge", "s", "The task's last tick, seconds since 1970.", _TASK),
    Metric("flexlog.tick.behind", "gauge", "s", "How far the task's last tick is behind the newest one.", _TASK),
    Metric(
        "flexlog.input.lag",
        "gauge",
        "{record}",
        "From the task's position to the end of its input; a few are markers of transactions. At most 10 s old.",
        ("processor", "topic", "partition"),
    ),
    Metric("flexlog.tasks", "gauge", "{task}", "Tasks that the group gave this runner, their state whole.", _RUNNER),
    Metric(
        "flexlog.waiting", "gauge", "", "1 for what the runner waits for now, 0 for the rest.", (*_RUNNER, "reason")
    ),
    Metric("flexlog.restore.progress", "gauge", "1", "How much of a task's changelog is read, while it is.", _TASK),
    Metric("flexlog.transactions.aborted", "counter", "{transaction}", "Aborted transactions, tried again.", _RUNNER),
    Metric("flexlog.tasks.fenced", "counter", "{task}", "Tasks dropped because another owner had them.", _RUNNER),
    Metric("process.memory.usage", "gauge", "By", "Resident memory of the process.", _RUNNER),
)
"""All metrics of a runner; the page of reference is made of this."""


def as_table() -> str:
    """The metrics as a table in Markdown."""
    rows = [
        f"| `{m.prometheus}` | {m.kind} | {', '.join(f'`{label}`' for label in m.labels)} | {m.text} |" for m in METRICS
    ]
    return "\n".join(["| Metric | Kind | Labels | What it says |", "|---|---|---|---|", *rows, ""])


class View(Protocol):
    """What the pages show."""

    name: str

    def unwell(self) -> str:
        """Why the process should be started again; empty where it is well."""
        ...

    def unready(self) -> str:
        """What it lacks; empty where it works."""
        ...

    def told(self) -> str:
        """One line on what it does."""
        ...

    def points(self, metric: str) -> Iterable[Point]:
        """The values of a metric now."""
        ...

    def taken(self, metric: str) -> Iterable[Point]:
        """What was measured for a histogram since this was asked last."""
        ...


class _Meters:
    """The metrics of a view, as OpenTelemetry has them."""

    def __init__(self, view: View) -> None:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415 -- 12 MB
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415

        self._view = view
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        self._generate: Callable[[Any], bytes] = generate_latest
        reader = PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)
        resource = Resource.create({"service.name": "flexlog", "service.instance.id": view.name})
        self._provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("flexlog")
        self._histograms: dict[str, Any] = {}
        for metric in METRICS:
            named = {"name": metric.name, "unit": metric.unit, "description": metric.text}
            if metric.kind == "histogram":
                made = meter.create_histogram(**named, explicit_bucket_boundaries_advisory=_BUCKETS)
                self._histograms[metric.name] = made
            elif metric.kind == "counter":
                meter.create_observable_counter(callbacks=[self._reading(metric)], **named)
            else:
                meter.create_observable_gauge(callbacks=[self._reading(metric)], **named)

    def _reading(self, metric: Metric) -> Callable[[Any], Iterable[Any]]:
        from opentelemetry.metrics import Observation  # noqa: PLC0415

        def read(_: Any) -> Iterable[Any]:
            return [Observation(value, dict(labels)) for value, labels in self._view.points(metric.name)]

        return read

    def take(self) -> None:
        """Put what was measured into the histograms."""
        with self._lock:
            self._take()

    def _take(self) -> None:
        for name, histogram in self._histograms.items():
            for value, labels in self._view.taken(name):
                histogram.record(value, dict(labels))

    def text(self) -> bytes:
        """All metrics in Prometheus' text."""
        with self._lock:
            self._take()
            return self._generate(self._registry)

    def close(self) -> None:
        """Let go of it all."""
        self._provider.shutdown()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    meters: _Meters
    view: View

    def service_actions(self) -> None:
        """Called twice a second."""
        self.meters.take()


class _Page(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE_S

    def do_GET(self) -> None:
        """Answer."""
        view = self.server.view
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, self.server.meters.text(), "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/healthz":
            self._verdict(view.unwell(), "well", "not well")
        elif path == "/readyz":
            self._verdict(view.unready(), "ready", "not ready")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there are /healthz, /readyz and /metrics\n")

    def _verdict(self, fault: str, good: str, bad: str) -> None:
        if fault:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{bad}: {fault}\n".encode())
        else:
            self._answer(HTTPStatus.OK, f"{good}: {self.server.view.told()}\n".encode())

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the server's name for it
        """Nothing: probes come every second."""


class Pages:
    """Serves the pages until it is left.

    Args:
        view: what they show.
        host: address to listen at.
        port: port to listen at.

    Raises:
        StreamsError: the port is taken.
    """

    def __init__(self, view: View, *, host: str, port: int) -> None:
        try:
            self._server = _Server((host, port), _Page)
        except OSError as error:
            raise StreamsError(
                f"{view.name}: {host}:{port} for /healthz, /readyz and /metrics cannot be had ({error.strerror}); set "
                "FLEXLOG_KAFKA__HEALTH_PORT to the first of a row of free ports, or to 0 for none"
            ) from None
        self._server.view = view
        self._server.meters = _Meters(view)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="pages", daemon=True)
        self._thread.start()
        _log.info("pages of health at http://%s:%d", host, self.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.meters.close()
