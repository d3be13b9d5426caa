"""The bus: rules, patterns, transformers and targets, by boto3's EventBridge client."""

import base64
import hmac
import http.server
import json
import ssl
import subprocess
import threading
import time

import pytest
from botocore.exceptions import ClientError
from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_http_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.v1.event import CloudEvent
from conftest import REPO, Server, wait_for

ECHO = """
import json
def handler(event, context):
    print("GOT " + json.dumps(event))
    return event
"""


@pytest.fixture(scope="module")
def events(server):
    server.create("listener", "python3.11", {"app.py": ECHO})
    return server.client("events")


def arn(function):
    return f"arn:aws:lambda:us-east-1:000000000000:function:{function}"


def put(events, source, detail, kind="order placed", bus=None):
    entry = {"Source": source, "DetailType": kind, "Detail": json.dumps(detail)}
    if bus:
        entry["EventBusName"] = bus
    answer = events.put_events(Entries=[entry])
    assert answer["FailedEntryCount"] == 0, answer
    return answer["Entries"][0]["EventId"]


def effects(server, cause, count=1):
    """The events that this one caused, once there are so many and all have ended."""

    def look():
        found = [e for e in server.control("events?limit=1000")["events"] if e["cause"] == cause]
        ended = [e for e in found if e["state"] not in ("waiting", "leased")]
        return ended if len(ended) == count else None

    found = wait_for(f"{count} effects of {cause}", look)
    return [server.control(f"events/{event['id']}") for event in found]


def ended(server, event):
    def look():
        found = server.control(f"events/{event}")
        return found if found["state"] not in ("waiting", "leased") else None

    return wait_for(f"the end of {event}", look)


def refused(code, call, **parameters):
    with pytest.raises(ClientError) as error:
        call(**parameters)
    assert error.value.response["Error"]["Code"] == code, error.value
    return error.value.response["Error"]["Message"]


def test_an_event_reaches_the_targets_of_the_rules_that_fit(server, events):
    rule = events.put_rule(
        Name="orders",
        EventPattern=json.dumps({"source": ["shop"], "detail": {"total": [{"numeric": [">", 100]}]}}),
        Description="large orders",
        Tags=[{"Key": "team", "Value": "sales"}],
    )
    assert rule["RuleArn"] == "arn:aws:events:us-east-1:000000000000:rule/orders"
    transformer = {
        "InputPathsMap": {"id": "$.detail.id", "total": "$.detail.total"},
        "InputTemplate": '{"order": <id>, "text": "<id> for <total> by <aws.events.rule-name>"}',
    }
    targets = [
        {"Id": "whole", "Arn": arn("listener")},
        {"Id": "part", "Arn": arn("listener"), "InputPath": "$.detail"},
        {"Id": "constant", "Arn": arn("listener"), "Input": '{"fixed": true}'},
        {"Id": "made", "Arn": arn("listener"), "InputTransformer": transformer},
    ]
    assert events.put_targets(Rule="orders", Targets=targets)["FailedEntryCount"] == 0
    listed = events.list_targets_by_rule(Rule="orders")["Targets"]
    assert sorted(listed, key=lambda t: t["Id"]) == sorted(targets, key=lambda t: t["Id"])
    assert events.list_rule_names_by_target(TargetArn=arn("listener"))["RuleNames"] == ["orders"]

    detail = {"id": "A7", "total": 250.5}
    event = put(events, "shop", detail)
    told = [effect["payload"] for effect in effects(server, event, 4)]
    [whole] = [payload for payload in told if "detail-type" in payload]
    assert whole["id"] == event
    assert (whole["version"], whole["source"], whole["detail-type"]) == ("0", "shop", "order placed")
    assert (whole["account"], whole["region"]) == ("000000000000", "us-east-1")
    assert time.strptime(whole["time"], "%Y-%m-%dT%H:%M:%SZ") and whole["resources"] == []
    assert whole["detail"] == detail
    for expected in (detail, {"fixed": True}, {"order": "A7", "text": "A7 for 250.5 by orders"}):
        assert expected in told
    logs = server.rouse("logs", "listener", "--tail", "1000").stdout
    assert "A7 for 250.5 by orders" in logs

    small = put(events, "shop", {"id": "A8", "total": 3})
    end = ended(server, small)
    assert end["state"] == "succeeded" and end["runs"][0]["ending"] == "unmatched"
    listed = server.control("events?limit=1000")["events"]
    assert not [e for e in listed if e["cause"] == small]

    events.disable_rule(Name="orders")
    assert events.describe_rule(Name="orders")["State"] == "DISABLED"
    off = put(events, "shop", detail)
    assert ended(server, off)["runs"][0]["ending"] == "unmatched"
    events.enable_rule(Name="orders")
    assert "has targets" in refused("ValidationException", events.delete_rule, Name="orders")
    left = events.remove_targets(Rule="orders", Ids=["whole", "part", "constant", "made", "other"])
    assert [entry["TargetId"] for entry in left["FailedEntries"]] == ["other"]
    events.delete_rule(Name="orders")
    refused("ResourceNotFoundException", events.describe_rule, Name="orders")


def test_buses_lead_to_each_other_and_a_loop_is_cut(server, events):
    made = events.create_event_bus(Name="loop", Description="round", Tags=[{"Key": "a", "Value": "b"}])
    bus = made["EventBusArn"]
    assert bus.endswith(":event-bus/loop")
    refused("ResourceAlreadyExistsException", events.create_event_bus, Name="loop")
    assert events.list_tags_for_resource(ResourceARN=bus)["Tags"] == [{"Key": "a", "Value": "b"}]
    events.tag_resource(ResourceARN=bus, Tags=[{"Key": "c", "Value": "d"}])
    events.untag_resource(ResourceARN=bus, TagKeys=["a"])
    assert events.list_tags_for_resource(ResourceARN=bus)["Tags"] == [{"Key": "c", "Value": "d"}]
    names = [b["Name"] for b in events.list_event_buses()["EventBuses"]]
    assert "default" in names and "loop" in names
    assert events.describe_event_bus(Name="loop")["Description"] == "round"
    events.put_rule(Name="again", EventBusName="loop", EventPattern='{"source": ["round"]}')
    events.put_targets(Rule="again", EventBusName=bus, Targets=[{"Id": "1", "Arn": bus}])
    event = put(events, "round", {}, bus="loop")
    for _ in range(17):
        [effect] = effects(server, event)
        event = effect["id"]
    assert effect["state"] == "dead" and effect["depth"] == 17 and effect["runs"] == []
    assert "loop" in effect["last_error"] and "--max-depth" in effect["last_error"]
    refused("ValidationException", events.delete_event_bus, Name="loop")
    events.remove_targets(Rule="again", EventBusName="loop", Ids=["1"])
    events.delete_rule(Name="again", EventBusName="loop")
    events.delete_event_bus(Name="loop")
    refused("ResourceNotFoundException", events.describe_event_bus, Name="loop")
    refused("ValidationException", events.delete_event_bus, Name="default")


def test_each_entry_has_its_own_result(server, events):
    good = {"Source": "s", "DetailType": "t", "Detail": "{}"}
    answer = events.put_events(
        Entries=[
            good,
            {**good, "Detail": "no json"},
            {**good, "Detail": "[1]"},
            {**good, "Source": "aws.s3"},
            {**good, "EventBusName": "nowhere"},
            {k: v for k, v in good.items() if k != "DetailType"},
            {**good, "Time": 1_700_000_000, "Resources": ["arn:x"]},
        ]
    )
    codes = [entry.get("ErrorCode") for entry in answer["Entries"]]
    assert codes == [
        None,
        "MalformedDetail",
        "MalformedDetail",
        "NotAuthorizedForSourceException",
        "ResourceNotFoundException",
        "InvalidArgument",
        None,
    ]
    assert answer["FailedEntryCount"] == 5
    last = ended(server, answer["Entries"][6]["EventId"])["payload"]
    assert (last["time"], last["resources"]) == ("2023-11-14T22:13:20Z", ["arn:x"])
    refused("ValidationException", events.put_events, Entries=[good] * 11)
    large = {**good, "Detail": json.dumps({"x": "y" * 600_000})}
    assert "over the limit" in refused("ValidationException", events.put_events, Entries=[large] * 2)
    assert events.put_events(Entries=[large])["FailedEntryCount"] == 0


def test_what_is_wrong_is_refused_in_the_words_of_aws(server, events):
    message = refused(
        "InvalidEventPatternException", events.put_rule, Name="bad", EventPattern='{"source": "x"}'
    )
    assert message == 'Event pattern is not valid. Reason: "source" must be an object or an array'
    message = refused("ValidationException", events.put_rule, Name="t", ScheduleExpression="rate(1 day)")
    assert "Scheduler" in message
    refused("ValidationException", events.put_rule, Name="none")
    refused(
        "ResourceNotFoundException", events.put_rule, Name="x", EventBusName="no", EventPattern='{"a": [1]}'
    )
    events.put_rule(Name="kept", EventPattern='{"a": [1]}')
    for code, target in [
        ("ValidationException", {"Id": "1", "Arn": "arn:aws:sns:us-east-1:000000000000:t"}),
        ("ResourceNotFoundException", {"Id": "1", "Arn": arn("nobody")}),
        ("ValidationException", {"Id": "1", "Arn": arn("listener"), "Input": "{"}),
        ("ValidationException", {"Id": "1", "Arn": arn("listener"), "Input": "1", "InputPath": "$"}),
        ("ValidationException", {"Id": "1", "Arn": arn("listener"), "RetryPolicy": {"MaximumRetryAttempts": 186}}),
    ]:
        refused(code, events.put_targets, Rule="kept", Targets=[target])
    many = [{"Id": str(n), "Arn": arn("listener")} for n in range(6)]
    refused("LimitExceededException", events.put_targets, Rule="kept", Targets=many)
    events.delete_rule(Name="kept")
    events.delete_rule(Name="kept")
    refused("UnknownOperationException", events.list_archives)


def test_patterns_are_tested_without_a_rule(events):
    event = {"id": "1", "source": "s", "detail-type": "t", "account": "0", "region": "r", "time": "now",
             "resources": [], "detail": {"ip": "10.0.0.7", "file": "a/b.PNG", "state": None}}
    for pattern, expected in [
        ({"detail": {"ip": [{"cidr": "10.0.0.0/24"}]}}, True),
        ({"detail": {"file": [{"suffix": {"equals-ignore-case": ".png"}}]}}, True),
        ({"detail": {"file": [{"wildcard": "a/*.png"}]}}, False),
        ({"$or": [{"source": ["x"]}, {"detail": {"state": [None]}}]}, True),
        ({"detail": {"other": [{"exists": False}]}}, True),
        ({"source": [{"anything-but": {"prefix": ["s", "t"]}}]}, False),
    ]:
        answer = events.test_event_pattern(EventPattern=json.dumps(pattern), Event=json.dumps(event))
        assert answer["Result"] is expected, pattern


def test_pages_of_rules(events):
    for n in range(5):
        events.put_rule(Name=f"page-{n}", EventPattern='{"a": [1]}')
    first = events.list_rules(NamePrefix="page-", Limit=3)
    rest = events.list_rules(NamePrefix="page-", Limit=3, NextToken=first["NextToken"])
    names = [rule["Name"] for rule in first["Rules"] + rest["Rules"]]
    assert names == [f"page-{n}" for n in range(5)] and "NextToken" not in rest
    for name in names:
        events.delete_rule(Name=name)


def test_cloud_events_come_in_by_the_official_sdk(server, events):
    events.put_rule(
        Name="cloud", EventPattern=json.dumps({"cloudevent": {"specversion": ["1.0"]}, "detail": {"n": [1]}})
    )
    events.put_targets(Rule="cloud", Targets=[{"Id": "1", "Arn": arn("listener")}])
    attributes = {
        "type": "order.placed",
        "source": "https://shop.example/orders",
        "subject": "café 7",
        "datacontenttype": "application/json",
    }

    def write(event, mode):
        message = mode(event)
        return message.headers, message.body

    def send(headers, body, path="events"):
        status, _, answer = server.http("POST", f"/_rouse/v1/{path}", body, headers)
        assert status == 202, answer
        return json.loads(answer)

    ids = []
    for mode in (to_binary_event, to_structured_event):
        event = CloudEvent(dict(attributes), {"n": 1})
        first = send(*write(event, mode))["event_id"]
        assert send(*write(event, mode))["event_id"] == first, "the same source and id is one event"
        ids.append(first)
        [woken] = effects(server, first)
        told = woken["payload"]
        assert (told["id"], told["source"]) == (event.get_id(), attributes["source"])
        assert (told["detail-type"], told["detail"]) == ("order.placed", {"n": 1})
        assert told["cloudevent"]["subject"] == attributes["subject"]
        assert woken["subject"] == attributes["subject"]
    assert ids[0] != ids[1]

    batch = [json.loads(write(CloudEvent(dict(attributes), {"n": n}), to_structured_event)[1]) for n in (1, 2, 1)]
    kind = {"Content-Type": "application/cloudevents-batch+json"}
    answer = send(kind, json.dumps(batch).encode(), "buses/default/events")
    endings = [ended(server, event)["runs"][0]["ending"] for event in answer["event_ids"]]
    assert endings == ["succeeded", "unmatched", "succeeded"]

    for headers, body, status in [
        ({"Content-Type": "application/cloudevents+json"}, b"{}", 400),
        ({"Content-Type": "application/cloudevents+xml"}, b"<a/>", 400),
        ({"Content-Type": "application/json"}, b"{}", 400),
        (kind, json.dumps([batch[0], {**batch[1], "specversion": "0.3"}]).encode(), 400),
    ]:
        assert server.http("POST", "/_rouse/v1/events", body, headers)[0] == status
    assert server.http("POST", "/_rouse/v1/buses/none/events", body, kind)[0] in (400, 404)
    events.remove_targets(Rule="cloud", Ids=["1"])
    events.delete_rule(Name="cloud")


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what it is sent; the first two answers are an error and a redirect."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), body))
        status = {1: 500, 2: 307}.get(len(self.server.got), 204)
        self.send_response(status)
        if status == 307:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *arguments):
        pass


def test_a_webhook_is_signed_and_tried_again(tmp_path):
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    receiver.got = []
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    server = Server(tmp_path / "data", ["--private-webhooks"]).start()
    try:
        events = server.client("events")
        declared = {
            "url": f"http://127.0.0.1:{receiver.server_port}/in",
            "headers": {"X-Api-Key": "hidden-key"},
        }
        status, _, body = server.http("PUT", "/_rouse/v1/webhooks/billing", json.dumps(declared).encode())
        made = json.loads(body)
        assert status == 200 and made["secret"].startswith("whsec_"), made
        shown = server.control("webhooks/billing")
        assert "secret" not in shown and "hidden-key" not in json.dumps(shown)
        events.put_rule(Name="hook", EventPattern='{"source": ["shop"]}')
        events.put_targets(Rule="hook", Targets=[{"Id": "1", "Arn": made["arn"]}])
        event = put(events, "shop", {"n": 1})
        [sent] = effects(server, event)
        assert sent["state"] == "succeeded" and len(sent["runs"]) == 3
        assert [run["ending"] for run in sent["runs"]] == ["failed", "failed", "succeeded"]
        headers, body = receiver.got[-1]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(made["secret"].removeprefix("whsec_"))
        digest = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        assert headers["webhook-signature"] == f"v1,{digest}"
        assert headers["webhook-id"] == sent["id"] and headers["x-api-key"] == "hidden-key"
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 600
        received = from_http_event(HTTPMessage(headers, body))
        assert (received.get_source(), received.get_type()) == ("shop", "order placed")
        log = server.log.read_text()
        assert "hidden-key" not in log and made["secret"] not in log
    finally:
        server.stop()
        receiver.shutdown()


def test_webhooks_over_https_trust_the_roots_of_the_host_and_nobody_else(tmp_path, monkeypatch):
    def certificate(name):
        key, cert = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        made += ["-days", "2", "-subj", f"/CN={name}", "-keyout", key, "-out", cert]
        made += ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
        subprocess.run([str(part) for part in made], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        # Two are there already: the next answer is a good one.
        receiver.got = [None, None]
        receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        return cert, receiver

    (trusted, known), (_, unknown) = certificate("known"), certificate("unknown")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    server = Server(tmp_path / "data", ["--private-webhooks"]).start()
    try:
        events = server.client("events")
        for name, receiver in (("known", known), ("unknown", unknown)):
            declared = json.dumps({"url": f"https://localhost:{receiver.server_port}/"}).encode()
            _, _, body = server.http("PUT", f"/_rouse/v1/webhooks/{name}", declared)
            events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
            events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": json.loads(body)["arn"]}])
        [sent] = effects(server, put(events, "known", {}))
        assert sent["state"] == "succeeded" and len(known.got) == 3
        put(events, "unknown", {})

        def refusal():
            found = server.control("events?target=webhook:unknown")["events"]
            return found and found[0]["last_error"]

        assert "certificate" in wait_for("the refusal", refusal)
        assert len(unknown.got) == 2, "nothing was sent"
    finally:
        server.stop()
        known.shutdown()
        unknown.shutdown()


def test_a_webhook_does_not_lead_home_by_itself(server, events):
    declared = {"url": f"http://127.0.0.1:{server.port}/_rouse/health"}
    _, _, body = server.http("PUT", "/_rouse/v1/webhooks/home", json.dumps(declared).encode())
    events.put_rule(Name="home", EventPattern='{"source": ["home"]}')
    events.put_targets(Rule="home", Targets=[{"Id": "1", "Arn": json.loads(body)["arn"]}])
    put(events, "home", {})

    def refusal():
        found = server.control("events?target=webhook:home")["events"]
        return found and found[0]["last_error"]

    assert "loopback address" in wait_for("the refusal", refusal)
    assert server.http("DELETE", "/_rouse/v1/webhooks/home")[0] == 204
    [dead] = server.control("events?target=webhook:home")["events"]
    assert (dead["state"], dead["last_error"]) == ("cancelled", "webhook deleted")
    events.remove_targets(Rule="home", Ids=["1"])
    events.delete_rule(Name="home")


def test_a_manifest_declares_what_buses_wake(server, events, tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "app.py").write_text(ECHO)
    manifest = """
name: bus
services:
  billed:
    build: ./code
    x-rouse:
      runtime: python3.11
      handler: app.handler
      triggers:
        - {bus: billing, pattern: {source: [shop], detail: {total: [{numeric: [">", 100]}]}}}
"""
    told = server.deploy(tmp_path, manifest).stdout
    assert "function-billed-1" in told and "billing" in told
    event = put(events, "shop", {"total": 101}, bus="billing")
    [woken] = effects(server, event)
    assert (woken["target"], woken["state"]) == ("function:billed", "succeeded")
    [rule] = events.list_rules(EventBusName="billing")["Rules"]
    assert rule["ManagedBy"] == "function:billed"
    refused("ManagedRuleException", events.delete_rule, Name=rule["Name"], EventBusName="billing")
    assert "unchanged" in server.deploy(tmp_path, manifest).stdout
    server.deploy(tmp_path, manifest[: manifest.index("      triggers:")])
    assert events.list_rules(EventBusName="billing")["Rules"] == []
    server.deploy(tmp_path, manifest)
    server.rouse("rm", "billed", "--yes")
    assert events.list_rules(EventBusName="billing")["Rules"] == []
    (tmp_path / "compose.yaml").write_text(manifest.replace("source: [shop]", "source: shop"))
    bad = server.rouse("deploy", cwd=tmp_path, check=False)
    assert bad.returncode != 0 and "must be an object or an array" in bad.stderr


TALKER = """
import json, boto3
def handler(event, context):
    boto3.client("events").put_events(Entries=[
        {"Source": "talker", "DetailType": "again", "Detail": json.dumps(event["detail"])}])
    try:
        boto3.client("events").delete_rule(Name="talk")
    except Exception as error:
        return type(error).__name__
"""


def test_a_function_that_wakes_itself_over_the_bus_is_cut(tmp_path):
    packages = REPO / "examples/shop/thumbnail-py/packages"
    if not packages.exists():
        pytest.exit(f"{packages} is missing: run ./test, which installs it", 2)
    server = Server(tmp_path / "data", ["--max-depth", "4"]).start()
    try:
        files = {"app.py": TALKER}
        for package in ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3"):
            for file in (packages / package).rglob("*"):
                # Of the services' descriptions only what is used: the zip stays small.
                used = "/data/" not in str(file) or "/data/events/" in str(file) or file.parent.name == "data"
                if file.is_file() and file.suffix != ".pyc" and used:
                    files[str(file.relative_to(packages))] = file.read_bytes()
        files["six.py"] = (packages / "six.py").read_bytes()
        server.create("talker", "python3.11", files, Timeout=30)
        events = server.client("events")
        events.put_rule(Name="talk", EventPattern='{"source": ["talker"]}')
        events.put_targets(Rule="talk", Targets=[{"Id": "1", "Arn": arn("talker")}])
        chain = [put(events, "talker", {"n": 1})]
        for _ in range(5):
            [effect] = effects(server, chain[-1])
            chain.append(effect["id"])
        targets = [server.control(f"events/{event}")["target"] for event in chain]
        assert targets == ["bus:default", "function:talker"] * 3
        assert effect["state"] == "dead" and effect["depth"] == 5 and effect["runs"] == []
        assert "\ndepth      5\n" in server.rouse("events", "show", chain[-1]).stdout
        assert events.describe_rule(Name="talk")["State"] == "ENABLED", "functions may put events only"
    finally:
        server.stop()


def test_what_was_accepted_is_routed_once_whatever_is_killed(own_server):
    """Every entry that was answered has one end and one effect for each target, after kill -9."""
    server = own_server
    server.create("listener", "python3.11", {"app.py": ECHO})
    events = server.client("events")
    events.put_rule(Name="all", EventPattern='{"source": ["shop"]}')
    targets = [{"Id": str(n), "Arn": arn("listener")} for n in range(2)]
    events.put_targets(Rule="all", Targets=targets)
    accepted = []
    for _ in range(8):
        for _ in range(5):
            entries = [{"Source": "shop", "DetailType": "t", "Detail": "{}"}] * 4
            answer = events.put_events(Entries=entries)
            accepted += [entry["EventId"] for entry in answer["Entries"]]
        server.kill()
        server.start()

    def done():
        listed = server.control("events?limit=1000")["events"]
        return listed if all(e["state"] not in ("waiting", "leased") for e in listed) else None

    listed = wait_for("the end of all events", done)
    assert sorted(e["id"] for e in listed if e["target"] == "bus:default") == sorted(accepted)
    causes = sorted(e["cause"] for e in listed if e["target"] == "function:listener")
    assert causes == sorted(accepted * 2)
    assert {e["state"] for e in listed} == {"succeeded"}
