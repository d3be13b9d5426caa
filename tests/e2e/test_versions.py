"""Versions and aliases: published, weighted, rolled back, by boto3 and by the command line."""

import base64
import hashlib
import json
import threading

import pytest
from botocore.exceptions import ClientError
from conftest import PYTHON_RUNTIME, Server, wait_for, zipped

# Says which code it is and how it was called.
TELL = """
import os
def handler(event, context):
    return {{'code': {code!r}, 'version': os.environ['AWS_LAMBDA_FUNCTION_VERSION'],
            'context': context.function_version, 'arn': context.invoked_function_arn}}
"""

MANIFEST = """
name: versions-{name}
services:
  {name}:
    build: ./{name}
    x-rouse:
      runtime: python3.11
      handler: app.handler
"""


def code(text):
    return TELL.format(code=text)


def created(server, name, text="one"):
    return server.create(name, PYTHON_RUNTIME, {"app.py": code(text)})


def update(server, name, text, **more):
    return server.client("lambda").update_function_code(
        FunctionName=name, ZipFile=zipped({"app.py": code(text)}), **more
    )


def deploy(server, name, source, check=True):
    folder = server.data.parent / f"{server.data.name}-{name}"
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "app.py").write_text(source)
    (folder / "compose.yaml").write_text(MANIFEST.format(name=name))
    return server.rouse("deploy", cwd=folder, check=check)


def refused(code, status, call, **parameters):
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    answer = caught.value.response
    assert answer["Error"]["Code"] == code, answer
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
    return answer["Error"]["Message"]


def said(server, name, **options):
    error, answer, _ = server.invoke(name, **options)
    assert error is None, answer
    return answer


def test_published_versions_do_not_change(server):
    client = server.client("lambda")
    created(server, "pinned")
    one = client.publish_version(FunctionName="pinned", Description="the first")
    assert one["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (one["Version"], one["Description"]) == ("1", "the first")
    assert one["FunctionArn"].endswith(":function:pinned:1")
    assert client.publish_version(FunctionName="pinned")["Version"] == "1", "nothing was changed"
    two = update(server, "pinned", "two", Publish=True)
    assert two["Version"] == "2" and two["CodeSha256"] != one["CodeSha256"]
    update(server, "pinned", "three")
    for qualifier, expected in [("1", "one"), ("2", "two"), ("$LATEST", "three")]:
        answer = said(server, "pinned", Qualifier=qualifier)
        assert answer["code"] == expected
        assert answer["version"] == answer["context"] == qualifier
        assert answer["arn"].endswith(f":function:pinned:{qualifier}")
    assert said(server, "pinned")["code"] == "three"
    arn = one["FunctionArn"]
    assert said(server, arn)["code"] == "one"
    shown = client.get_function_configuration(FunctionName="pinned", Qualifier="1")
    assert shown["CodeSha256"] == one["CodeSha256"] and shown["RevisionId"] == one["RevisionId"]
    assert client.get_function(FunctionName=arn)["Configuration"]["Version"] == "1"
    executed = client.invoke(FunctionName="pinned", Qualifier="2")["ExecutedVersion"]
    assert executed == "2"
    runs = server.control("runs?target=function:pinned&limit=1")
    assert runs[0]["version"] == 2
    missing = "ResourceNotFoundException"
    message = refused(missing, 404, client.invoke, FunctionName="pinned", Qualifier="7")
    assert message.endswith(":function:pinned:7")
    refused(missing, 404, client.get_function, FunctionName="pinned", Qualifier="prod")


def test_publishing_checks_what_it_is_told(server):
    client = server.client("lambda")
    made = created(server, "checked")
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    publish = client.publish_version
    invalid = "InvalidParameterValueException"
    refused(invalid, 400, publish, FunctionName="checked", CodeSha256=wrong)
    stale = "PreconditionFailedException"
    refused(stale, 412, publish, FunctionName="checked", RevisionId="another")
    given = dict(CodeSha256=made["CodeSha256"], RevisionId=made["RevisionId"])
    assert publish(FunctionName="checked", **given)["Version"] == "1"


def test_versions_and_aliases_are_listed_in_pages(server):
    client = server.client("lambda")
    created(server, "many")
    for number in range(4):
        update(server, "many", str(number), Publish=True)
    pages = client.get_paginator("list_versions_by_function")
    pages = pages.paginate(FunctionName="many", PaginationConfig={"PageSize": 2})
    found = [version["Version"] for page in pages for version in page["Versions"]]
    assert found == ["$LATEST", "1", "2", "3", "4"]
    for name, version in [("a", "1"), ("b", "2"), ("c", "2")]:
        client.create_alias(FunctionName="many", Name=name, FunctionVersion=version)
    pages = client.get_paginator("list_aliases")
    pages = pages.paginate(FunctionName="many", PaginationConfig={"PageSize": 2})
    assert [alias["Name"] for page in pages for alias in page["Aliases"]] == ["a", "b", "c"]
    of_two = client.list_aliases(FunctionName="many", FunctionVersion="2")["Aliases"]
    assert [alias["Name"] for alias in of_two] == ["b", "c"]


def test_an_alias_moves_and_keeps_its_version(server):
    client = server.client("lambda")
    created(server, "named")
    client.publish_version(FunctionName="named")
    update(server, "named", "two", Publish=True)
    made = client.create_alias(FunctionName="named", Name="prod", FunctionVersion="1", Description="d")
    assert made["AliasArn"].endswith(":function:named:prod")
    answer = said(server, "named:prod")
    assert (answer["code"], answer["version"]) == ("one", "1")
    assert answer["arn"].endswith(":function:named:prod")
    conflict = "ResourceConflictException"
    same = dict(FunctionName="named", Name="prod", FunctionVersion="1")
    refused(conflict, 409, client.create_alias, **same)
    refused(conflict, 409, client.delete_function, FunctionName="named", Qualifier="1")
    stale = dict(FunctionName="named", Name="prod", FunctionVersion="2", RevisionId="other")
    refused("PreconditionFailedException", 412, client.update_alias, **stale)
    moved = client.update_alias(FunctionName="named", Name="prod", FunctionVersion="2")
    assert moved["Description"] == "d" and moved["RevisionId"] != made["RevisionId"]
    assert said(server, "named", Qualifier="prod")["code"] == "two"
    client.delete_function(FunctionName="named", Qualifier="1")
    refused("ResourceNotFoundException", 404, client.invoke, FunctionName="named:1")
    assert client.get_alias(FunctionName="named", Name="prod")["FunctionVersion"] == "2"
    client.delete_alias(FunctionName="named", Name="prod")
    refused("ResourceNotFoundException", 404, client.get_alias, FunctionName="named", Name="prod")
    nowhere = dict(FunctionName="named", Name="x", FunctionVersion="9")
    refused("ResourceNotFoundException", 404, client.create_alias, **nowhere)


def test_a_weighted_alias_gives_each_version_its_part(server):
    client = server.client("lambda")
    created(server, "shared")
    client.publish_version(FunctionName="shared")
    update(server, "shared", "two", Publish=True)
    routing = {"AdditionalVersionWeights": {"2": 0.3}}
    client.create_alias(
        FunctionName="shared", Name="canary", FunctionVersion="1", RoutingConfig=routing
    )
    shown = client.get_alias(FunctionName="shared", Name="canary")
    assert shown["RoutingConfig"] == routing
    calls = 600
    executed = [
        client.invoke(FunctionName="shared", Qualifier="canary")["ExecutedVersion"]
        for _ in range(calls)
    ]
    assert set(executed) == {"1", "2"}
    # Eight standard deviations: about one run in 10^15 leaves them by chance.
    expected, deviation = calls * 0.3, (calls * 0.3 * 0.7) ** 0.5
    assert abs(executed.count("2") - expected) < 8 * deviation
    client.update_alias(
        FunctionName="shared", Name="canary", RoutingConfig={"AdditionalVersionWeights": {}}
    )
    shown = client.get_alias(FunctionName="shared", Name="canary")
    assert "RoutingConfig" not in shown
    assert {said(server, "shared:canary")["version"] for _ in range(20)} == {"1"}


def test_an_event_goes_to_the_version_that_it_names(server):
    client = server.client("lambda")
    created(server, "sent")
    client.publish_version(FunctionName="sent")
    update(server, "sent", "two")
    client.invoke(FunctionName="sent", Qualifier="1", InvocationType="Event", Payload="{}")

    def ran():
        return server.control("runs?target=function:sent&limit=9")

    assert [run["version"] for run in wait_for("the run", ran)] == [1]
    missing = dict(FunctionName="sent", Qualifier="5", InvocationType="Event")
    refused("ResourceNotFoundException", 404, client.invoke, **missing)


def test_versions_share_what_is_reserved_for_their_function(server):
    client = server.client("lambda")
    created(server, "single")
    client.publish_version(FunctionName="single")
    update(server, "single", "two", Publish=True)
    client.put_function_concurrency(FunctionName="single", ReservedConcurrentExecutions=1)
    for _ in range(3):
        for qualifier, expected in [("1", "one"), ("2", "two"), ("$LATEST", "two")]:
            assert said(server, "single", Qualifier=qualifier)["code"] == expected
            mine = [
                one
                for one in server.control("instances")
                if one["owner"].get("name") == "single" and one["state"] != "stopping"
            ]
            assert len(mine) <= 1, mine


def test_deploy_and_rollback(server):
    deploy(server, "live", code("one"))
    deploy(server, "live", code("two"))
    deploy(server, "live", code("two"))
    assert said(server, "live")["code"] == "two"
    found = server.rouse_json("versions", "live")
    assert [version["number"] for version in found["versions"]] == [2, 1]
    assert all(version["by"] == "root" for version in found["versions"])
    text = server.rouse("versions", "live").stdout
    assert "live" in text.splitlines()[1] and "live" not in text.splitlines()[2]
    assert "version 1 of live serves" in server.rouse("rollback", "live").stdout
    answer = said(server, "live")
    assert (answer["code"], answer["version"]) == ("one", "1")
    status, _, body = server.http("POST", "/fn/live/", b"{}")
    assert status == 200 and b'"one"' in body
    assert said(server, "live", Qualifier="$LATEST")["code"] == "two"
    further = server.rouse("rollback", "live", check=False)
    assert further.returncode != 0 and "no version before" in further.stderr
    server.rouse("rollback", "live", "--to", "2")
    assert said(server, "live")["code"] == "two"
    server.rouse("rollback", "live")
    deploy(server, "live", code("two"))
    assert said(server, "live")["version"] == "2", "a deployment serves what it declares"
    server.rouse("alias", "live", "beta", "1")
    assert said(server, "live:beta")["code"] == "one"
    server.rouse("alias", "live", "live", "2", "--share", "1=50%")
    assert "live 50%" in server.rouse("versions", "live").stdout
    server.rouse("alias", "live", "beta", "--rm")


def test_a_version_that_does_not_start_does_not_serve(server):
    deploy(server, "careful", code("one"))
    broken = deploy(server, "careful", "raise RuntimeError('no such luck')", check=False)
    assert broken.returncode != 0
    assert "version 1 goes on serving" in broken.stderr and "no such luck" in broken.stderr
    assert said(server, "careful")["code"] == "one"
    numbers = [version["number"] for version in server.rouse_json("versions", "careful")["versions"]]
    assert numbers == [1]
    deploy(server, "careful", code("three"))
    assert said(server, "careful")["code"] == "three"


def test_what_served_before_can_be_rolled_back_to(server):
    created(server, "adopted", "by the API")
    deploy(server, "adopted", code("by the manifest"))
    assert said(server, "adopted")["code"] == "by the manifest"
    server.rouse("rollback", "adopted")
    assert said(server, "adopted")["code"] == "by the API"


def test_rollback_under_load_loses_no_call(server):
    deploy(server, "busy", code("one"))
    deploy(server, "busy", code("two"))
    stop, codes, failures = threading.Event(), [], []

    def caller():
        client = server.client("lambda")
        while not stop.is_set():
            try:
                answer = client.invoke(FunctionName="busy", Payload=b"{}")
                body = json.loads(answer["Payload"].read())
                assert "FunctionError" not in answer, body
                codes.append(body["code"])
            except Exception as error:  # each call must be answered
                failures.append(error)
                return

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for one in callers:
        one.start()
    for target in [1, 2, 1, 2, 1]:
        before = len(codes)
        wait_for("calls", lambda: failures or len(codes) > before + 20)
        server.rouse("rollback", "busy", "--to", str(target))
        # Whoever asks now is answered by the version that serves now.
        assert said(server, "busy")["version"] == str(target)
    stop.set()
    for one in callers:
        one.join(60)
    assert not failures and set(codes) == {"one", "two"}


def test_versions_survive_a_kill_and_are_bounded(tmp_path):
    server = Server(tmp_path / "data", ["--max-versions", "3"]).start()
    try:
        client = server.client("lambda")
        created(server, "kept")
        client.publish_version(FunctionName="kept")
        client.create_alias(FunctionName="kept", Name="old", FunctionVersion="1")
        for number in range(2, 7):
            update(server, "kept", str(number), Publish=True)
        numbers = [version["number"] for version in server.rouse_json("versions", "kept")["versions"]]
        assert numbers == [6, 5, 1], "the oldest go that no alias names"
        deploy(server, "stays", code("one"))
        deploy(server, "stays", code("two"))
        server.rouse("rollback", "stays")
        server.kill()
        server.start()
        assert said(server, "kept:old")["code"] == "one", "its code was not swept away"
        assert said(server, "kept", Qualifier="5")["code"] == "5"
        assert said(server, "stays")["code"] == "one"
        assert said(server, "stays", Qualifier="2")["code"] == "two"
        assert update(server, "kept", "8", Publish=True)["Version"] == "7"
    finally:
        server.stop()


def test_events_are_replayed_against_a_named_version(server):
    client = server.client("lambda")
    created(server, "anew")
    client.publish_version(FunctionName="anew")
    update(server, "anew", "two", Publish=True)
    client.invoke(FunctionName="anew", InvocationType="Event", Payload=b"{}")

    def ended(count):
        found = server.rouse_json("events", "--target", "function:anew")["events"]
        done = [event for event in found if event["state"] == "succeeded"]
        return done if len(done) == count else None

    def ran(event):
        return server.control(f"events/{event}")["runs"][0].get("version")

    (first,) = wait_for("the first to end", lambda: ended(1))
    assert ran(first["id"]) is None, "$LATEST has no number"
    again = server.rouse("events", "replay", first["id"], "--version", "1", "--wait").stdout.strip()
    assert ran(again) == 1
    choice = ("--function", "anew", "--until", "0s", "--yes", "--version", "2")
    assert server.rouse_json("events", "replay", *choice)["replayed"] == 2
    wait_for("the others to end", lambda: ended(4))
    events = server.rouse_json("events", "--target", "function:anew")["events"]
    assert sorted(ran(event["id"]) or 0 for event in events) == [0, 1, 2, 2]
    unknown = server.rouse("events", "replay", first["id"], "--version", "9", check=False)
    assert unknown.returncode == 1 and "9" in unknown.stderr
    other = server.rouse("events", "replay", "--source", "invoke", "--yes", "--version", "1", check=False)
    assert other.returncode == 1 and "only functions have versions" in other.stderr


def test_the_history_of_aliases_is_told_and_gone_back_in(server):
    for text in ["one", "two", "three"]:
        deploy(server, "past", code(text))
    server.rouse("alias", "past", "live", "2", "--share", "3=25%")
    server.rouse("alias", "past", "beta", "1")
    moves = server.rouse_json("versions", "past", "--history", "--alias", "live")["moves"]
    ways = [(one["from"] and one["from"]["version"], one["to"]["version"]) for one in moves]
    assert ways == [(3, 2), (2, 3), (1, 2), (None, 1)]
    assert moves[0]["to"]["share"] == {"version": 3, "weight": 0.25}
    assert {one["by"] for one in moves} == {"root"} and not any(one["back"] for one in moves)
    digests = {one["number"]: one for one in server.rouse_json("versions", "past")["versions"]}
    assert moves[0]["digest"] == digests[2]["spec"]["code"]["zip"]["digest"]
    for expected in ["3", "2", "1"]:
        assert f"version {expected} of past serves" in server.rouse("rollback", "past").stdout
        assert said(server, "past")["version"] == expected
    assert server.rouse("rollback", "past", check=False).returncode == 1
    text = server.rouse("versions", "past", "--history").stdout
    assert "2 75%, 3 25%" in text and "1 (rollback)" in text and "beta" in text
    server.rouse("alias", "past", "beta", "--rm")
    newest = server.rouse_json("versions", "past", "--history", "--limit", "1")["moves"]
    assert [(one["alias"], one["to"]) for one in newest] == [("beta", None)]


def test_versions_are_shown_where_calls_are(server):
    deploy(server, "seen", code("one") + "print('hello')\n")
    deploy(server, "seen", code("two"))
    called = server.rouse_json("invoke", "seen:1")
    assert (called["version"], called["payload"]["code"]) == (1, "one")
    assert "version 2" in server.rouse("invoke", "seen", "--log").stderr
    assert server.rouse_json("invoke", "seen:$LATEST")["payload"]["version"] == "$LATEST"
    missing = server.rouse("invoke", "seen:9", check=False)
    assert missing.returncode == 1 and "seen:9" in missing.stderr
    event = server.rouse("invoke", "seen:1", "--event").stdout.strip()

    def ended():
        shown = server.rouse_json("events", "show", event)
        return shown if shown["state"] == "succeeded" else None

    shown = wait_for("its end", ended)
    assert (shown["qualifier"], shown["runs"][0]["version"]) == ("1", 1)
    assert "function:seen:1" in server.rouse("events", "show", event).stdout
    lines = [json.loads(line) for line in server.rouse("logs", "seen", "--json").stdout.splitlines()]
    assert {line.get("version") for line in lines if line["text"] == "hello"} == {1}
    row = next(row for row in server.rouse("ls").stdout.splitlines() if row.startswith("seen "))
    assert row.split()[1] == "2"
    assert "version 1" in server.rouse("ps").stdout
