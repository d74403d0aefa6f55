"""Lines for whoever runs this: one an event, for people on a terminal, as JSON for a collector of logs."""

import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Literal, TextIO

Form = Literal["text", "json"]
Event = Mapping[str, Any]
FIELDS = ("time", "level", "processor", "slot", "task", "logger", "message", "error")
"""What a line may have, in this order; the last is a traceback."""

_LIBRDKAFKA = re.compile(r"%(\d)\|[\d.]+\|(.*)")
_SYSLOG_WARNING = 4
_COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}


def now() -> str:
    """This moment as a line has it."""
    return _stamp(datetime.now(UTC))


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def event_of(record: logging.LogRecord) -> dict[str, Any]:
    """A record of the standard library as an event."""
    made: dict[str, Any] = {
        "time": _stamp(datetime.fromtimestamp(record.created, UTC)),
        "level": record.levelname,
        "processor": getattr(record, "processor", None),
        "slot": getattr(record, "slot", None),
        "task": getattr(record, "task", None),
        "logger": record.name,
        "message": record.getMessage(),
    }
    if record.exc_info and record.exc_info[1] is not None:
        made["error"] = "".join(traceback.format_exception(record.exc_info[1])).rstrip()
    return {name: value for name, value in made.items() if value is not None}


def as_json(event: Event) -> str:
    """An event as one line of JSON."""
    return json.dumps({name: event[name] for name in FIELDS if name in event}, ensure_ascii=False, default=str)


def as_text(event: Event, *, colour: bool = False) -> str:
    """An event for people: time, who, how bad, what. A plan or a traceback goes on below."""
    who = f"{event['processor']}/{event.get('slot', '')}".rstrip("/") if event.get("processor") else "flexlog"
    task = f"{event['task']} " if event.get("task") else ""
    level = str(event.get("level", "INFO"))
    mark = "" if level == "INFO" else f"{level.lower()}: "
    if colour and level in _COLOURS:
        mark = f"\x1b[{_COLOURS[level]}m{mark}\x1b[0m"
    when = str(event.get("time", now())).replace("T", " ")
    below = f"\n{event['error']}" if event.get("error") else ""
    return f"{when}  {who:<16}  {mark}{task}{event.get('message', '')}{below}"


def parsed(line: str, **known: Any) -> dict[str, Any]:
    """A line of another process: an event of ours, or whatever a library printed, made one."""
    if line.startswith("{"):
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if isinstance(found, dict) and "message" in found and "level" in found:
            return {**known, **found}
    made = {"time": now(), "level": "INFO", **known, "logger": "stderr", "message": line}
    if told := _LIBRDKAFKA.fullmatch(line):  # its worst is ours to wait out
        level = "WARNING" if int(told[1]) <= _SYSLOG_WARNING else "INFO"
        made |= {"level": level, "logger": "librdkafka", "message": told[2]}
    return made


class Printer:
    """Writes events to a stream, whole lines, from any thread."""

    def __init__(self, form: Form | None = None, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._form: Form = form or "text"
        self._colour = self._form == "text" and self._stream.isatty()
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        """Write one event."""
        line = as_json(event) if self._form == "json" else as_text(event, colour=self._colour)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


class _Known(logging.Filter):
    """Adds what a process knows of itself to its records."""

    def __init__(self, known: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__()
        self._known = known

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in self._known().items():
            if getattr(record, name, None) is None:
                setattr(record, name, value)
        return True


class _Printed(logging.Handler):
    def __init__(self, printer: Printer) -> None:
        super().__init__()
        self._printer = printer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._printer(event_of(record))
        except Exception:  # noqa: BLE001 -- as all handlers do: a line that cannot be written ends nothing
            self.handleError(record)


def configure(form: Form, known: Callable[[], Mapping[str, Any]] = dict) -> None:
    """Send the records of this process to its standard error, ours from INFO on, those of libraries from WARNING.

    Args:
        form: for people or for a collector.
        known: asked at each record for fields it does not have itself (processor, slot, task).
    """
    handler = _Printed(Printer(form))
    handler.addFilter(_Known(known))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in ("streams", "processors", "edges", "demo"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.raiseExceptions = False
