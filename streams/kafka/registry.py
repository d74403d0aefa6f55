"""Schemas in a registry with Confluent's REST API: Confluent's own, or Apicurio's ``ccompat`` interface, version 7.

An outage is waited out, for as long as the host allows; only the registry's own word that it has no such schema makes
a record one that is rejected. An id never stands for a schema's identity: digests use the fingerprint.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import urllib3

from streams.contracts.registry import RegistryAway, UnknownSchema
from streams.contracts.schema import canonical
from streams.contracts.violation import FaultError
from streams.errors import StreamsError
from streams.kafka.settings import RegistrySettings

FULL_TRANSITIVE = "FULL_TRANSITIVE"
_TYPE = "application/vnd.schemaregistry.v1+json"
_NO_SUBJECT, _NO_VERSION, _NO_SCHEMA, _NO_LEVEL = 40401, 40402, 40403, 40408
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_FIRST_PAUSE_S = 0.1
log = logging.getLogger(__name__)


class RegistryError(StreamsError):
    """The registry is there and refuses: credentials, an incompatible schema, an answer that is none."""


@dataclass(frozen=True)
class Waiting:
    """What a wait for the registry is about.

    Attributes:
        reason: one line: where, and what is wrong.
        since_s: seconds since the first try.
        pause_s: seconds until the next one.
    """

    reason: str
    since_s: float
    pause_s: float


@dataclass(frozen=True)
class _Answer:
    status: int
    code: int  # the registry's own error code, 0 where the answer is not the registry's
    body: Any

    def is_(self, *codes: int) -> bool:
        return self.code in codes

    @property
    def message(self) -> str:
        text = self.body.get("message", "") if isinstance(self.body, Mapping) else ""
        return " ".join(str(text).split())


def meaning(text: str) -> str:
    """A schema's text without what changes no meaning; defaults and logical types count. The text if it is none."""
    try:
        return json.dumps(canonical(json.loads(text)), sort_keys=True)
    except (ValueError, FaultError, KeyError, TypeError, AttributeError, RecursionError):
        return text


class RestRegistry:
    """A client, for several threads; what it has learnt is kept (a schema's id never changes its meaning).

    Args:
        settings: where it is.
        prefix: of the deployment; it stands before every subject.
        patience_s: how long an outage is waited out before `RegistryAway` is raised; None for ever, 0 not at all.
        on_wait: called before each pause; what it raises ends the wait (a host that stops, or polls its group).
        pause: sleeps; an event's ``wait`` lets a host wake it.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        prefix: str = "",
        patience_s: float | None = None,
        on_wait: Callable[[Waiting], None] | None = None,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.settings = settings
        self.prefix = prefix
        self._patience_s = patience_s
        self._on_wait = on_wait
        self._pause = pause
        self._base = settings.url.rstrip("/")
        self._headers = {"Accept": f"{_TYPE}, application/json", "Content-Type": _TYPE}
        if settings.user is not None and settings.secret is not None:
            login = f"{settings.user}:{settings.secret.get_secret_value()}"
            self._headers |= urllib3.make_headers(basic_auth=login)
        self._pool = urllib3.PoolManager(
            maxsize=4,
            retries=False,
            timeout=urllib3.Timeout(connect=settings.connect_timeout_s, read=settings.read_timeout_s),
            ca_certs=str(settings.ca_file) if settings.ca_file else None,
        )
        self._schemas: dict[int, str] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._ours: dict[str, str] = {}  # our texts by meaning

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    # --- what the codec asks -----------------------------------------------------------------------------------

    def schema(self, schema_id: int) -> str:
        """The schema of an id.

        Where the registry has our schema in other words (reordered, without documentation), our own text is given.

        Raises:
            UnknownSchema: the registry says that it has none of this id.
            RegistryAway: it cannot be asked, and patience is over.
            RegistryError: it refuses to answer.
        """
        found = self._schemas.get(schema_id)
        if found is None:
            if schema_id <= 0:  # what no registry ever gave out is not asked for
                raise UnknownSchema(f"no schema has the id {schema_id}")
            answer = self._ask("GET", f"/schemas/ids/{schema_id}", absent=(_NO_SCHEMA,))
            if answer.is_(_NO_SCHEMA):
                raise UnknownSchema(f"no schema has the id {schema_id}")
            text = self._text(answer, f"schema {schema_id}")
            found = self._schemas[schema_id] = self._ours.get(meaning(text), text)
        return found

    def register(self, subject: str, schema: str) -> int:
        """The id of a schema under a subject, which becomes FULL_TRANSITIVE before its first version.

        A version that differs in documentation alone is taken as it is.

        Raises:
            RegistryAway: it cannot be asked, and patience is over.
            RegistryError: it refuses the schema, as incompatible with an earlier version or as malformed.
        """
        found = self._ids.get((subject, schema))
        if found is None:
            own = meaning(schema)
            found = self.find(subject, schema)
            if found is None:
                if self.level(subject) != FULL_TRANSITIVE:
                    self.set_level(subject)
                found = self.add(subject, schema)
            self._ours[own] = schema
            self._prove(subject, found, own)
            self._schemas[found] = schema
            self._ids[subject, schema] = found
        return found

    def know(self, schemas: Iterable[str]) -> None:
        """Name our own schemas, so that `schema` gives them in our words before any is registered."""
        self._ours.update({meaning(text): text for text in schemas})

    def _prove(self, subject: str, schema_id: int, own: str) -> None:
        """What the registry gives for the id must be what was registered: every reader will go by it."""
        answer = self._ask("GET", f"/schemas/ids/{schema_id}", absent=(_NO_SCHEMA,))
        if answer.is_(_NO_SCHEMA) or meaning(self._text(answer, f"schema {schema_id}")) != own:
            raise RegistryError(
                f"the registry at {self._base} says {self.prefix}{subject} has the id {schema_id} and gives another "
                "schema for it; nothing may be written with this id: see whether its storage was restored from a copy"
            )

    # --- what topics as code ask -------------------------------------------------------------------------------

    def subjects(self) -> list[str]:
        """The subjects of this deployment, without its prefix."""
        answer = self._ask("GET", "/subjects")
        if not isinstance(answer.body, list):
            raise RegistryError(f"the registry at {self._base} gives no list of subjects; is this its Confluent API?")
        names = map(str, answer.body)
        return sorted(name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix))

    def level(self, subject: str) -> str:
        """The subject's own compatibility level; empty where it has none."""
        answer = self._ask("GET", f"/config/{self._path(subject)}", absent=(_NO_SUBJECT, _NO_LEVEL))
        if answer.is_(_NO_SUBJECT, _NO_LEVEL):
            return ""
        return str(answer.body.get("compatibilityLevel", ""))

    def set_level(self, subject: str) -> None:
        """Make a subject FULL_TRANSITIVE."""
        self._ask("PUT", f"/config/{self._path(subject)}", {"compatibility": FULL_TRANSITIVE})

    def find(self, subject: str, schema: str) -> int | None:
        """The id of the version of this text, or else of one of the same meaning; None where there is none."""
        found = self.exact(subject, schema)
        if found is not None:
            return found
        own = meaning(schema)
        return next((id_ for _, id_, text in reversed(self.versions(subject)) if meaning(text) == own), None)

    def exact(self, subject: str, schema: str) -> int | None:
        """The id of the version of these very words; None where there is none."""
        absent = (_NO_SUBJECT, _NO_VERSION, _NO_SCHEMA)
        answer = self._ask("POST", f"/subjects/{self._path(subject)}", {"schema": schema}, absent=absent)
        return None if answer.is_(*absent) else self._id(answer)

    def add(self, subject: str, schema: str) -> int:
        """Register a version; its id."""
        return self._id(self._ask("POST", f"/subjects/{self._path(subject)}/versions", {"schema": schema}))

    def versions(self, subject: str) -> list[tuple[int, int, str]]:
        """All versions of a subject as (number, id, schema), oldest first; none where there is no such subject."""
        path = f"/subjects/{self._path(subject)}/versions"
        answer = self._ask("GET", path, absent=(_NO_SUBJECT,))
        if answer.is_(_NO_SUBJECT):
            return []
        found = []
        for number in sorted(map(int, answer.body)):
            version = self._ask("GET", f"{path}/{number}", absent=(_NO_SUBJECT, _NO_VERSION))
            if not version.is_(_NO_SUBJECT, _NO_VERSION):  # deleted meanwhile
                found.append((number, self._id(version), self._text(version, f"{subject} version {number}")))
        return found

    # --- the wire ----------------------------------------------------------------------------------------------

    def _path(self, subject: str) -> str:
        return quote(self.prefix + subject, safe="")

    def _id(self, answer: _Answer) -> int:
        found = answer.body.get("id") if isinstance(answer.body, Mapping) else None
        if not isinstance(found, int):
            raise RegistryError(f"the registry at {self._base} gives no schema id; is this its Confluent API?")
        return found

    def _text(self, answer: _Answer, what: str) -> str:
        found = answer.body.get("schema") if isinstance(answer.body, Mapping) else None
        if not isinstance(found, str):
            raise RegistryError(f"the registry at {self._base} gives no text for {what}; is this its Confluent API?")
        return found

    def _ask(self, method: str, path: str, body: Any = None, *, absent: Iterable[int] = ()) -> _Answer:
        """One request, tried again while the registry is away.

        Args:
            method: of HTTP.
            path: below the API's address.
            body: JSON.
            absent: error codes that are an answer; all others are errors.
        """
        began = time.monotonic()
        pause = _FIRST_PAUSE_S
        told = False
        while True:
            answer, trouble = self._try(method, path, body)
            if answer is not None:
                if told:
                    log.info("the registry at %s is back after %.1f s", self._base, time.monotonic() - began)
                return self._judged(answer, method, path, absent)
            waited = time.monotonic() - began
            reason = f"the registry at {self._base} is away: {trouble}"
            if self._patience_s is not None and waited >= self._patience_s:
                raise RegistryAway(f"{reason}; start it, or set FLEXLOG_REGISTRY__URL")
            if not told:
                log.warning("%s; waiting for it", reason)
                told = True
            if self._patience_s is not None:
                pause = min(pause, self._patience_s - waited)
            if self._on_wait is not None:
                self._on_wait(Waiting(reason, waited, pause))
            self._pause(pause)
            pause = min(2 * pause, self.settings.backoff_max_s)

    def _try(self, method: str, path: str, body: Any) -> tuple[_Answer | None, str]:
        """One try: the registry's answer, or why there is none."""
        sent = None if body is None else json.dumps(body).encode()
        try:
            response = self._send(method, path, sent)
        except urllib3.exceptions.HTTPError as error:
            return None, _why(error)
        code, parsed = 0, None
        try:
            parsed = json.loads(response.data)
        except ValueError:
            pass
        else:
            code = parsed.get("error_code", 0) if isinstance(parsed, dict) else 0
        if response.status in _TRANSIENT:
            return None, f"it answers {response.status} {response.reason or ''}".rstrip()
        if response.status == 404 and not code:
            # A proxy in front of a registry that is not up says so too; it never means that a schema is unknown.
            return None, "404 without a registry's error code (is this the address of its Confluent API?)"
        if response.status < 300 and parsed is None:
            return None, f"it answers {response.status} and no JSON (is this the address of its Confluent API?)"
        return _Answer(response.status, code if isinstance(code, int) else -1, parsed), ""

    def _send(self, method: str, path: str, body: bytes | None) -> urllib3.BaseHTTPResponse:
        """One request, on a new connection where the kept one was closed meanwhile; all of them may be repeated."""
        try:
            return self._pool.request(method, self._base + path, body=body, headers=self._headers)
        except urllib3.exceptions.ProtocolError:
            return self._pool.request(method, self._base + path, body=body, headers=self._headers)

    def _judged(self, answer: _Answer, method: str, path: str, absent: Iterable[int]) -> _Answer:
        if answer.status < 300:
            return _Answer(answer.status, 0, answer.body)
        if answer.status == 404 and answer.code in absent:
            return answer
        if answer.status in (401, 403):
            who = f"user {self.settings.user}" if self.settings.user else "a client without a user"
            raise RegistryError(
                f"the registry at {self._base} refuses {who} ({answer.status}); "
                "set FLEXLOG_REGISTRY__USER and FLEXLOG_REGISTRY__SECRET"
            )
        if answer.status == 409:
            subject = path.split("/")[2]
            raise RegistryError(
                f"{subject}: the registry refuses this schema as incompatible with an earlier version: "
                f"{answer.message}; see `flexlog topics plan`"
            )
        raise RegistryError(
            f"the registry at {self._base} answers {answer.status} to {method} {path}: {answer.message}"
        )


def _why(error: urllib3.exceptions.HTTPError) -> str:
    """What is wrong with a connection, in few words."""
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "no answer in time"
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError) and not refused:
        return "no connection in time"
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    return f"{type(cause).__name__}: {cause}"
