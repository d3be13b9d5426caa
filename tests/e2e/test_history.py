"""What happened, again, for how long: replays by query, the life of an event, export, metrics, retention."""

import json
import re
import subprocess
import time
import uuid

from cloudevents.core.bindings.http import HTTPMessage, from_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from conftest import PYTHON_RUNTIME, ROUSE, Server, wait_for

# Fails until it is told otherwise by its environment.
PICKY = """
import os
def handler(event, context):
    print('looking at', event)
    if os.environ.get('MOOD') != 'mild':
        raise ValueError('not today')
    return event
"""


MANIFEST = """
name: history-{name}
services:
  {name}:
    build: ./{name}
    {more}
    x-rouse:
      runtime: python3.11
      handler: app.handler
      retry: {{attempts: 1}}
"""


def quick(server, name, code=PICKY, more=""):
    """A function whose events are dead after one attempt."""
    folder = server.data.parent / f"{server.data.name}-{name}"
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "app.py").write_text(code)
    server.deploy(folder, MANIFEST.format(name=name, more=more))


def send(server, name, count, start=0):
    client = server.client("lambda")
    for number in range(start, start + count):
        client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"n": number}))


def events(server, name, state=None):
    wanted = f"events?limit=1000&target=function:{name}" + (f"&state={state}" if state else "")
    return server.control(wanted)["events"]


def until_ended(server, name, count):
    def ended():
        found = events(server, name)
        return found if len(found) == count and all(event["ended"] for event in found) else None

    return wait_for(f"{count} events of {name} to end", ended, timeout=90)


def mild(server, name):
    quick(server, name, more="environment: {MOOD: mild}")


def test_replay_of_all_that_a_query_means(server):
    quick(server, "picky")
    send(server, "picky", 7)
    dead = until_ended(server, "picky", 7)
    assert {event["state"] for event in dead} == {"dead"}
    mild(server, "picky")
    choice = ["--function", "picky", "--state", "dead", "--since", "2h"]
    said = server.rouse("events", "replay", *choice, "--dry-run").stdout
    assert said == "7 events would be replayed\n"
    refused = server.rouse("events", "replay", *choice, check=False)
    assert refused.returncode == 2 and "--yes" in refused.stderr
    assert len(events(server, "picky")) == 7

    name = str(uuid.uuid4())
    first = server.rouse_json("events", "replay", *choice, "--yes", "--id", name, "--limit", "5")
    assert (first["state"], first["replayed"], first["id"]) == ("done", 5, name)
    again = server.rouse_json("events", "replay", *choice, "--yes", "--id", name, "--limit", "5")
    assert again == first
    other = server.rouse("events", "replay", "--function", "other", "--yes", "--id", name, check=False)
    assert other.returncode == 2 and "other events" in other.stderr

    found = until_ended(server, "picky", 12)
    replays = [event for event in found if event["replay_of"]]
    oldest = sorted(event["id"] for event in dead)[:5]
    assert sorted(event["replay_of"] for event in replays) == oldest
    assert {event["state"] for event in replays} == {"succeeded"}
    payloads = [server.control(f"events/{event['id']}")["payload"]["n"] for event in replays]
    assert sorted(payloads) == [0, 1, 2, 3, 4]


def test_what_waits_can_be_cancelled_by_its_id_and_by_a_query(server):
    quick(server, "unwanted")
    # Nothing takes them: they wait.
    server.client("lambda").put_function_concurrency(FunctionName="unwanted", ReservedConcurrentExecutions=0)
    send(server, "unwanted", 5)
    choice = ("--function", "unwanted", "--state", "waiting")
    ids = [event["id"] for event in events(server, "unwanted", "waiting")]
    assert len(ids) == 5
    assert server.rouse("events", "cancel", ids[2]).stdout == "1 event cancelled\n"
    again = server.rouse("events", "cancel", ids[2], check=False)
    assert again.returncode != 0 and "it is cancelled" in again.stderr
    said = server.rouse("events", "cancel", *choice, "--dry-run").stdout
    assert said == "4 events would be cancelled\n"
    refused = server.rouse("events", "cancel", *choice, check=False)
    assert refused.returncode != 0 and "--yes" in refused.stderr
    ended = server.rouse("events", "cancel", "--function", "unwanted", "--state", "dead", "--yes", check=False)
    assert ended.returncode != 0 and "only events that wait" in ended.stderr
    assert server.rouse_json("events", "cancel", *choice, "--limit", "1", "--yes") == {"cancelled": 1}
    oldest = sorted(set(ids) - {ids[2]})[0]
    cancelled = {event["id"] for event in events(server, "unwanted", "cancelled")}
    assert cancelled == {ids[2], oldest}
    assert server.rouse_json("events", "cancel", *choice, "--yes") == {"cancelled": 3}
    found = events(server, "unwanted", "cancelled")
    assert {event["id"] for event in found} == set(ids)
    assert {event["last_error"] for event in found} == {"cancelled by root"}
    listed = server.rouse_json("events", "replays")["replays"]
    name = str(uuid.uuid4())
    server.rouse("events", "replay", "--function", "nobody", "--yes", "--id", name)
    now = server.rouse_json("events", "replays")["replays"]
    assert (now[0]["id"], now[0]["state"], len(now)) == (name, "done", len(listed) + 1)
    assert name in server.rouse("events", "replays").stdout


def test_a_replay_leaves_out_what_wakes_nothing_any_more(server):
    quick(server, "gone")
    send(server, "gone", 2)
    until_ended(server, "gone", 2)
    server.client("lambda").delete_function(FunctionName="gone")
    done = server.rouse("events", "replay", "--function", "gone", "--yes").stdout
    assert "0 events replayed; 2 events left out" in done
    assert len(events(server, "gone")) == 2


def test_a_replay_goes_on_after_a_crash(own_server):
    code = "def handler(event, context):\n    return event\n"
    quick(own_server, "twice", code)
    send(own_server, "twice", 3)
    until_ended(own_server, "twice", 3)
    # Many steps: all events of it, again and again, each time double.
    total = 3
    while total < 1500:
        own_server.rouse("events", "replay", "--function", "twice", "--yes", "--since", "1h")
        total *= 2
        until_ended(own_server, "twice", total) if total < 1000 else None
    wait_for("all to end", lambda: not any(
        own_server.control(f"events?target=function:twice&state={state}")["events"]
        for state in ("waiting", "leased")), timeout=120)
    name = str(uuid.uuid4())
    order = {"id": name, "query": {"target": "function:twice", "states": ["succeeded"]}}
    status, _, body = own_server.http("POST", "/_rouse/v1/replays", json.dumps(order).encode(),
                                      {"content-type": "application/json"})
    assert status == 202, body
    own_server.kill()
    own_server.start()
    replay = wait_for("the replay's end", lambda: own_server.control(f"replays/{name}")
                      if own_server.control(f"replays/{name}")["state"] == "done" else None)
    assert replay["replayed"] == total
    lines = own_server.rouse("events", "export", "--function", "twice").stdout.splitlines()
    old = {line["id"] for line in map(json.loads, lines) if line["id"] < replay["before"]}
    new = [line["replayof"] for line in map(json.loads, lines) if line["id"] > replay["before"]]
    assert len(old) == total and sorted(new) == sorted(old)


def test_the_life_of_an_event(server):
    quick(server, "chain", "def handler(event, context):\n    print('seen', event['detail']['n'])\n")
    bus = server.client("events")
    bus.put_rule(Name="chained", EventPattern='{"source": ["shop"]}')
    arn = "arn:aws:lambda:us-east-1:000000000000:function:chain"
    bus.put_targets(Rule="chained", Targets=[{"Id": "1", "Arn": arn}])
    entry = {"Source": "shop", "DetailType": "placed", "Detail": '{"n": 7}'}
    first = bus.put_events(Entries=[entry])["Entries"][0]["EventId"]
    second = until_ended(server, "chain", 1)[0]["id"]
    above, below = (server.rouse_json("events", "show", event) for event in (first, second))
    assert [event["id"] for event in above["effects"]] == [second]
    assert [event["id"] for event in below["causes"]] == [first]
    run = below["runs"][0]
    assert "seen 7" in [line["text"] for line in below["logs"][run["request_id"]]]

    again = server.rouse("events", "replay", second).stdout.strip()
    life = server.rouse_json("events", "show", second)
    assert [event["id"] for event in life["replays"]] == [again]
    shown = server.rouse("events", "show", second).stdout
    for part in ("CAUSED BY", first, "REPLAYED AS", again, "seen 7", "log of attempt 1", run["request_id"]):
        assert part in shown


def test_export_is_cloud_events(server):
    quick(server, "exported")
    send(server, "exported", 3)
    dead = until_ended(server, "exported", 3)
    lines = server.rouse("events", "export", "--function", "exported", "--since", "1h").stdout.splitlines()
    told = [json.loads(line) for line in lines]
    assert [line["id"] for line in told] == sorted(event["id"] for event in dead)
    assert [line["data"] for line in told] == [{"n": 0}, {"n": 1}, {"n": 2}]
    for line, text in zip(told, lines):
        message = HTTPMessage({"content-type": "application/cloudevents+json"}, text.encode())
        event = from_structured(message, JSONFormat(), CloudEvent)
        assert event.get_id() == line["id"]
        assert event.get_extension("state") == "dead"
        assert event.get_extension("target") == "function:exported"
        assert event.get_extension("attempts") == 1
        assert "not today" in event.get_extension("lasterror")
    some = server.rouse("events", "export", "--function", "exported", "--limit", "2").stdout
    assert some.splitlines() == lines[:2]
    none = server.rouse("events", "export", "--function", "exported", "--state", "succeeded").stdout
    assert none == ""


def metrics(server):
    """{(name, label's value): value}"""
    status, headers, body = server.http("GET", "/_rouse/v1/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for line in body.decode().splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP|TYPE) [a-z_]+ .+", line)
            continue
        name, label, value = re.fullmatch(r'([a-z_]+)\{[a-z]+="([^"]*)"\} (\S+)', line).groups()
        assert (name, label) not in found
        found[name, label] = float(value)
    return found


def test_metrics_tell_what_is_where(own_server):
    server = own_server
    quick(server, "counted")
    server.create("idle", PYTHON_RUNTIME, {"app.py": PICKY})
    server.client("lambda").put_function_concurrency(FunctionName="idle", ReservedConcurrentExecutions=0)
    send(server, "counted", 3)
    send(server, "idle", 2)
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    for _ in range(3):
        sqs.send_message(QueueUrl=url, MessageBody="x")
    got = sqs.receive_message(QueueUrl=url)["Messages"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=got[0]["ReceiptHandle"])
    sqs.receive_message(QueueUrl=url)
    until_ended(server, "counted", 3)
    told = metrics(server)
    expected = {"waiting": 0, "leased": 0, "accepted_total": 3, "succeeded_total": 0, "dead_total": 3}
    for name, value in expected.items():
        assert told[f"rouse_events_{name}", "function:counted"] == value, name
    assert told["rouse_events_waiting", "function:idle"] == 2
    assert told["rouse_events_oldest_waiting_age_seconds", "function:idle"] > 0
    assert ("rouse_events_oldest_waiting_age_seconds", "function:counted") not in told
    expected = {"visible": 1, "in_flight": 1, "delayed": 0, "sent_total": 3, "received_total": 2, "deleted_total": 1}
    for name, value in expected.items():
        assert told[f"rouse_queue_messages_{name}", "jobs"] == value, name
    assert told["rouse_queue_oldest_message_age_seconds", "jobs"] > 0
    assert told["rouse_metrics_left_out", "target"] == 0
    assert server.http("GET", "/_rouse/v1/metrics", token=False)[0] == 401

    server.kill()
    server.start()
    told = metrics(server)
    assert told["rouse_events_waiting", "function:idle"] == 2
    assert ("rouse_events_accepted_total", "function:idle") in told
    assert told["rouse_events_dead_total", "function:counted"] == 0


def test_what_ended_long_ago_is_dropped_and_what_waits_stays(tmp_path):
    server = Server(tmp_path / "data", ["--keep-events", "2s"]).start()
    try:
        quick(server, "ends")
        send(server, "ends", 2)
        wait_for("events to be dropped", lambda: events(server, "ends") == [], timeout=60)
        quick(server, "waits")
        server.client("lambda").put_function_concurrency(FunctionName="waits", ReservedConcurrentExecutions=0)
        send(server, "waits", 2)
        send(server, "ends", 1)
        first = [event["id"] for event in events(server, "waits")]
        until_ended(server, "ends", 1)
        time.sleep(5)
        # Partitions begin and go meanwhile; the one of what waits stays, with all that is in it.
        assert [event["id"] for event in events(server, "waits")] == first
        server.kill()
        server.start()
        assert [event["id"] for event in events(server, "waits", "waiting")] == first
        server.client("lambda").delete_function_concurrency(FunctionName="waits")
        wait_for("them to end and be dropped", lambda: events(server, "waits") == [], timeout=90)
    finally:
        server.stop()


def test_keeping_nothing_is_refused(tmp_path):
    server = Server(tmp_path / "data")
    for options in (["--keep-events", "0s"], ["--keep-events-size", "1KiB"], ["--keep-events", "soon"]):
        done = subprocess.run([ROUSE, "serve", "--data", server.data, *options], capture_output=True, text=True)
        assert done.returncode == 2 and options[0] in done.stderr
