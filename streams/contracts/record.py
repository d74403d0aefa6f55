"""The base of all record classes: a record is its topic, its columns and its events in one."""

from typing import TYPE_CHECKING, Any, ClassVar, Self

from streams.columns import Col

if TYPE_CHECKING:
    from streams.contracts.topic import Topic


class Record:
    """One event. On the class a field is an expression, on an event its value.

    Classes are made from ``avro/`` and ``topics/`` by `streams.contracts.load`; nobody writes them by hand.
    """

    __topic__: ClassVar["Topic"]

    def __init__(self, **values: Any) -> None:
        fields = self.__topic__.fields
        for field in fields:
            if field.name in values:
                self.__dict__[field.name] = values.pop(field.name)
            elif field.has_default:
                self.__dict__[field.name] = field.default
            else:
                raise TypeError(f"{type(self).__name__} needs {field.name!r} (topic {self.__topic__.name})")
        if values:
            known = ", ".join(field.name for field in fields)
            raise TypeError(f"{type(self).__name__} has no field {next(iter(values))!r}; it has {known}")

    def to_dict(self) -> dict[str, Any]:
        """The event's values by field name."""
        return dict(self.__dict__)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The event of these values."""
        return cls(**values)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *map(str, self.__dict__.values())))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items() if value is not None)
        return f"{type(self).__name__}({shown})"

    @classmethod
    def make(cls, topic: "Topic") -> type["Record"]:
        """The class of a topic's record."""
        body: dict[str, Any] = {field.name: Col(field.name) for field in topic.fields}
        made = type(topic.record_name, (Record,), body | {"__doc__": topic.doc, "__topic__": topic})
        made.__module__ = "topics"
        return made
