"""From a record's old major to its new one: the upcaster beside the new record.

A change that FULL_TRANSITIVE refuses is a new record (``ReadingTakenV2``), a new topic (``….v2``) and
``avro/<context>/ReadingTakenV2.upcast.py`` with one function ``upcast(frame) -> frame``, which makes rows of the new
record from rows of the one before.
"""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from streams.contracts.library import Contracts
from streams.contracts.topic import Topic
from streams.errors import ContractError, WiringError

_MAJOR = re.compile(r"(?P<stem>.*[A-Za-z])V(?P<number>[1-9]\d*)")
_TOPIC = re.compile(r"(?P<stem>.*\.v)(?P<number>\d+)")


def major(record_name: str) -> int:
    """The major version that a record's name carries: ``ReadingTaken`` 1, ``ReadingTakenV2`` 2."""
    found = _MAJOR.fullmatch(record_name)
    return int(found["number"]) if found else 1


def upcast_file(topic: Topic) -> Path:
    """Where the upcaster to a topic's record stands."""
    return topic.schema_file.with_name(f"{topic.schema_file.stem}.upcast.py")


def previous(contracts: Contracts, topic: Topic) -> Topic:
    """The topic of the major before.

    Raises:
        WiringError: there is none.
    """
    found = _TOPIC.fullmatch(topic.name)
    if not found or int(found["number"]) < 2:
        raise WiringError(f"{topic.name} is the first of its kind; there is nothing to upcast from")
    return contracts.topic(f"{found['stem']}{int(found['number']) - 1}")


def upcaster(contracts: Contracts, topic: Topic) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """What makes rows of a topic from rows of the major before.

    The result takes a frame with the old record's columns and gives one with the new record's, in that order,
    row by row.

    Raises:
        ContractError: the file is missing or has no function ``upcast``; when called: it makes another number of
            rows, or columns that are not the record's.
        WiringError: the topic is the first of its kind.
    """
    previous(contracts, topic)
    file = upcast_file(topic)
    function = _function(file)

    def upcast(frame: pl.DataFrame) -> pl.DataFrame:
        made = function(frame)
        if not isinstance(made, pl.DataFrame) or made.height != frame.height:
            raise ContractError(f"{file}: upcast must give a frame with as many rows as it was given")
        wrong = {name: dtype for name, dtype in topic.columns.items() if made.schema.get(name) != dtype}
        if wrong or made.width != len(topic.columns):
            extra = sorted(set(made.columns) - set(topic.columns))
            raise ContractError(f"{file}: upcast must give the columns of {topic.record_name}; wrong: {wrong or extra}")
        return made.select(list(topic.columns))

    return upcast


def _function(file: Path) -> Callable[[pl.DataFrame], Any]:
    if not file.is_file():
        raise ContractError(f"{file}: is missing; it makes this record from the major before")
    spec = importlib.util.spec_from_file_location(f"upcast_{file.stem.partition('.')[0]}", file)
    if spec is None or spec.loader is None:
        raise ContractError(f"{file}: cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ContractError(f"{file}: {type(error).__name__}: {error}") from error
    function = getattr(module, "upcast", None)
    if not callable(function):
        raise ContractError(f"{file}: has no function upcast(frame)")
    return function  # type: ignore[no-any-return]  # what a person wrote; its result is looked at
