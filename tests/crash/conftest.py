"""What the tests of durability share: the witness that functions talk to."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest

import e2e
from witness import Witness


@pytest.fixture(scope="session", autouse=True)
def binary():
    if not e2e.ROUSE.exists():
        pytest.exit(f"{e2e.ROUSE} is missing: run ./test, which builds it", 2)


@pytest.fixture(scope="session")
def witness():
    running = Witness()
    yield running
    running.close()
