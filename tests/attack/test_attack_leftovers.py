"""What one instance leaves, another function, version or instance never sees, however slots are reused."""

import secrets

import e2e
import pytest

PLACE = "folder"
ROUNDS = 40
TRIED = {
    "another function": "files, IPC, sockets, memory, environment, processes of another function before",
    "another version": "the same of the version before",
    "another instance": "the same of another function that runs at the same time",
}


@pytest.fixture
def pair(attacked, program, tmp_path):
    """Two functions whose instances live for one call, or for long."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/bootstrap").write_bytes(program.read_bytes())
    (tmp_path / "code/bootstrap").chmod(0o755)

    def deployed(keep_alive, **environments):
        services = {
            name: {"build": "./code", "environment": environment,
                   "x-rouse": {"runtime": "provided", "memory": "96M", "timeout": "20s",
                               "concurrency": {"max": 2, "keep_alive": keep_alive}}}
            for name, environment in environments.items()
        }
        attacked.deploy_manifest(tmp_path, {"services": services})

    yield deployed
    for function in attacked.control("functions"):
        name = function.get("name") or function["spec"]["name"]
        if name in ("first", "second"):
            attacked.client("lambda").delete_function(FunctionName=name)


@pytest.mark.parametrize("who", TRIED)
def test_leftovers(attacked, judge, pair, who):
    found, details = set(), ""
    keep = "10m" if who == "another instance" else "1ms"
    secret = secrets.token_hex(16)
    for turn in range(ROUNDS):
        if who == "another version":
            pair(keep, first={"PLANTED": secret})
        elif turn == 0:
            pair(keep, first={"PLANTED": secret}, second={})
        planted, detail = attacked.attack("first", f"plant {secret}")
        assert planted == "planted", detail
        finder = "second"
        if who == "another version":
            pair(keep, first={"TURN": str(turn)})
            finder = "first"
        if who != "another instance":
            e2e.wait_for("the instance to go", lambda: not attacked.shows("first"))
        answer, details = attacked.attack(finder, f"find {secret}")
        found.add(answer)
        if found != {"none"} or secret in details:
            break
        if who == "another instance":
            break
    answer = "|".join(sorted(found))
    judge(f"8-leftovers-of-{who.replace(' ', '-')}", PLACE, answer, f"{turn + 1} rounds; {details}",
          found == {"none"} and secret not in details, TRIED[who], 8)
