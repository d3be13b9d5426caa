"""The server of the end-to-end tests, which is killed here."""

import importlib.util
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
_found = importlib.util.spec_from_file_location("e2e_conftest", REPO / "tests/e2e/conftest.py")
conftest = importlib.util.module_from_spec(_found)
_found.loader.exec_module(conftest)

Server, wait_for, ROUSE = conftest.Server, conftest.wait_for, conftest.ROUSE
