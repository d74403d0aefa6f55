"""What a cluster and a registry have against what the contracts want: a list of steps, and what to do about each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Verb = Literal["create", "change", "forbidden", "unknown", "note"]
Kind = Literal["topic", "config", "key", "schema", "level"]
VERBS: Mapping[Verb, str] = {
    "create": "to create",
    "change": "to change",
    "forbidden": "forbidden",
    "unknown": "unknown to us",
    "note": "to know",
}


@dataclass(frozen=True)
class Step:
    """One difference.

    Attributes:
        verb: what is to be done about it.
        kind: what it is about.
        name: the topic's or subject's name on the cluster, prefix included.
        text: one line: what is there, what is wanted, and for what is forbidden the way out.
        topic: the topic it belongs to, prefix included.
        needed: a worker must not start before it is done.
        values: what `apply` needs: the configuration to set, the key to remember.
    """

    verb: Verb
    kind: Kind
    name: str
    text: str
    topic: str = ""
    needed: bool = False
    values: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{'schema' if self.kind in ('schema', 'level') else 'topic'} {self.name}: {self.text}"

    def json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "verb": self.verb,
            "kind": self.kind,
            "name": self.name,
            "text": self.text,
            "needed": self.needed,
            "values": dict(self.values),
        }


@dataclass(frozen=True)
class Plan:
    """All differences.

    Attributes:
        steps: in the order of the contracts.
        topics: how many topics were wanted.
        subjects: how many subjects were wanted.
    """

    steps: tuple[Step, ...]
    topics: int
    subjects: int

    def of(self, *verbs: Verb) -> list[Step]:
        """The steps of these verbs, in order."""
        return [step for step in self.steps if step.verb in verbs]

    @property
    def allowed(self) -> list[Step]:
        """What `apply` does: nothing for a topic about which anything is forbidden."""
        barred = {step.topic for step in self.of("forbidden")}
        return [step for step in self.of("create", "change") if step.topic not in barred]

    @property
    def blocking(self) -> list[Step]:
        """What keeps a worker from starting: what is forbidden, lacking, or would erase what it needs."""
        return [step for step in self.steps if step.verb == "forbidden" or step.needed]

    @property
    def exit_code(self) -> int:
        """0 nothing to do, 2 changes, 1 something is forbidden."""
        if self.of("forbidden"):
            return 1
        return 2 if self.of("create", "change") else 0

    def json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "topics": self.topics,
            "subjects": self.subjects,
            "exit_code": self.exit_code,
            "steps": [step.json() for step in self.steps],
        }

    def __str__(self) -> str:
        lines = [f"{self.topics} topics and {self.subjects} schemas are wanted: {summary(self.steps)}"]
        for verb, title in VERBS.items():
            lines += listed(title, self.of(verb))
        return "\n".join(lines)


def summary(steps: Sequence[Step]) -> str:
    """How many steps of each verb there are."""
    counts = {title: sum(step.verb == verb for step in steps) for verb, title in VERBS.items()}
    return ", ".join(f"{count} {title}" for title, count in counts.items() if count) or "all is as it should be"


def listed(title: str, steps: Iterable[Step]) -> list[str]:
    """A heading and a line a step; nothing where there is none."""
    lines = [f"  {step}" for step in steps]
    return [f"{title}:", *lines] if lines else []
