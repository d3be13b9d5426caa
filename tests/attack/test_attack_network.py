"""The Runtime API, the doors of the platform, and the policy for outbound connections."""

import shutil
import threading

import e2e
import pytest
from cases import UNREACHED, words

PLACE = "folder"


@pytest.fixture(scope="module")
def api(attacked, program, tmp_path_factory):
    """A function with one instance, so that calls follow each other in it."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "code").mkdir()
    (folder / "code/bootstrap").write_bytes(program.read_bytes())
    (folder / "code/bootstrap").chmod(0o755)
    one = {"build": "./code", "x-rouse": {"runtime": "provided", "timeout": "20s",
                                          "concurrency": {"min": 1, "max": 1, "keep_alive": "10m"}}}
    attacked.deploy_manifest(folder, {"services": {"api": one}})
    yield "api"
    attacked.client("lambda").delete_function(FunctionName="api")


def refused(answer):
    """Statuses that refuse, or a connection that was closed."""
    return all(word == "closed" or word.startswith("4") for word in words(answer))


def test_a_guessed_request_id(attacked, judge, api):
    told = []
    victim = threading.Thread(target=lambda: told.append(attacked.attack(api, "deaf 3")))
    victim.start()
    line = e2e.wait_for("the victim's call", lambda: [
        one for one in attacked.rouse("logs", api, "--tail", "50").stdout.splitlines() if "deaf in " in one])
    number = line[-1].rsplit("deaf in ", 1)[1].rstrip(".")
    answer, detail = attacked.attack("user", f"guessed-request-id {number}")
    victim.join()
    held = refused(answer) and told[0][0] == "slept"
    judge("7-guessed-request-id", PLACE, answer, f"{detail}; the victim answered {told}", held,
          "answer another instance's call, or one that was made up", 7)


def test_a_double_response(attacked, judge, api):
    first, _ = attacked.attack(api, "double-response")
    answer, detail = attacked.attack(api, "double-response-status")
    judge("7-double-response", PLACE, answer, f"{detail}; the caller got '{first}'",
          first == "first" and refused(answer), "answer a call twice", 7)


def test_a_late_response(attacked, judge, api):
    assert attacked.attack(api, "late-response")[0] == "kept"
    answer, detail = attacked.attack(api, "late-response")
    judge("7-late-response", PLACE, answer, detail, refused(answer), "answer a call that is over", 7)


@pytest.mark.parametrize("name,tried", [
    ("smuggled-request", "two requests in one, an unknown version of HTTP"),
    ("control-api", "control API, Lambda API, routes and S3 without credentials or with made-up ones"),
])
def test_doors(attacked, judge, api, name, tried):
    answer, detail = attacked.attack(api, name)
    held = refused(answer) or words(answer) <= {"closed", "505", "400"}
    judge(f"7-{name}", PLACE, answer, detail, held, tried, 7)


OWNER_ONLY = """
import json, os, urllib.request, urllib.error, boto3
from botocore.exceptions import ClientError

def handler(event, context):
    made = {}
    for service, call, options in [
        ("lambda", "list_functions", {}),
        ("lambda", "delete_function", {"FunctionName": "neighbour"}),
        ("lambda", "update_function_configuration", {"FunctionName": "neighbour", "Timeout": 1}),
        ("s3", "create_bucket", {"Bucket": "planted"}),
    ]:
        try:
            getattr(boto3.client(service), call)(**options)
            made[call] = "done"
        except ClientError as error:
            made[call] = str(error.response["ResponseMetadata"]["HTTPStatusCode"])
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        ask = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"] + "/_rouse/v1/functions")
        ask.add_header("Authorization", "Bearer " + os.environ[name])
        try:
            made["control by " + name] = str(urllib.request.urlopen(ask).status)
        except urllib.error.HTTPError as error:
            made["control by " + name] = str(error.code)
    return {"answer": "|".join(sorted(set(made.values()))), "detail": json.dumps(made)}
"""


def test_what_is_the_owners_with_a_functions_own_keys(attacked, judge, tmp_path):
    packages = e2e.REPO / "examples/shop/thumbnail-py/packages"
    if not packages.exists():
        pytest.exit(f"{packages} is missing: run ./test, which installs it", 2)
    shutil.copytree(packages, tmp_path / "code", ignore=shutil.ignore_patterns("PIL", "numpy*", "pillow*"))
    (tmp_path / "code/app.py").write_text(OWNER_ONLY)
    attacked.deploy_manifest(tmp_path, {"services": {"owned": {
        "build": "./code", "x-rouse": {"runtime": "python3.11", "handler": "app.handler", "timeout": "30s",
                                       "memory": "256M"}}}})
    answer, detail = attacked.attack("owned", "")
    attacked.client("lambda").delete_function(FunctionName="owned")
    judge("7-owner-only", PLACE, answer, detail, words(answer) <= {"401", "403"},
          "what is the owner's, with a function's own keys", 7)


# Policy → addresses that must not be reached. The host listens on both.
POLICIES = {
    "none": ("none", "127.0.0.1 {port} ::1 {port} {address} {port} 169.254.169.254 80 198.51.100.1 80"),
    "public": ("public", "127.0.0.1 {port} ::1 {port} {address} {port} 169.254.169.254 80 10.0.0.1 80 "
                         "::ffff:127.0.0.1 {port}"),
    "list": (["example.org:443"], "127.0.0.1 {port} {address} {port} 169.254.169.254 80 198.51.100.1 80"),
}


@pytest.mark.parametrize("name", POLICIES)
def test_egress(attacked, arguments, judge, program, tmp_path, name):
    """Whatever the policy: neither the host, nor private and metadata addresses, nor others than listed."""
    policy, command = POLICIES[name]
    (tmp_path / "code").mkdir()
    (tmp_path / "code/bootstrap").write_bytes(program.read_bytes())
    (tmp_path / "code/bootstrap").chmod(0o755)

    attacked.deploy_manifest(tmp_path, {"services": {"egress": {
        "build": "./code", "x-rouse": {"runtime": "provided", "timeout": "60s", "egress": policy}}}})
    tried = f"egress `{name}`: the host, private, metadata and unlisted addresses"
    answer, detail = attacked.attack("egress", "addresses " + command.format(**arguments))
    attacked.client("lambda").delete_function(FunctionName="egress")
    judge(f"7-egress-{name}", PLACE, answer, detail, words(answer) <= set(UNREACHED.split()), tried, 7)
