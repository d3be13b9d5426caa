"""The server and the clients of the end-to-end tests, which the attacks use too, and their program."""

import importlib.util
import subprocess
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
_found = importlib.util.spec_from_file_location("e2e_conftest", REPO / "tests/e2e/conftest.py")
conftest = importlib.util.module_from_spec(_found)
_found.loader.exec_module(conftest)

Server, OrdinaryServer = conftest.Server, conftest.OrdinaryServer
free_port, wait_for = conftest.free_port, conftest.wait_for
ROUSE = conftest.ROUSE


def use(binary):
    """Starts this binary from now on."""
    conftest.ROUSE = binary


def compile_attacks(to):
    """Compiles the attacks into one static program; an error tells what the compiler said."""
    sources = sorted((REPO / "tests/attack/program").glob("*.c"))
    done = subprocess.run(
        ["gcc", "-static", "-O1", "-Wall", "-Wextra", "-Wno-format-truncation", "-o", to, *sources],
        capture_output=True, text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the attacks do not compile:\n{done.stderr}")
    return to
