from pathlib import Path

import pytest

from streams.contracts import Contracts
from streams.contracts.codec import Codec, MemoryRegistry
from streams.contracts.topic import Topic
from tests.contracts.making import House
from topics import CONTRACTS


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A project of one record and one topic, on disk."""
    return House(tmp_path)


@pytest.fixture
def door(house: House) -> Topic:
    """Its topic."""
    return house.topic()


@pytest.fixture
def codec() -> Codec:
    return Codec(MemoryRegistry())


@pytest.fixture
def contracts() -> Contracts:
    """The project's own contracts."""
    return CONTRACTS
