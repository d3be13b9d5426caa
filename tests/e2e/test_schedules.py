"""Schedules by boto3 and by manifests: they fire, pause, end, and outlive kill -9 as declared."""

import json
import math
import time
from datetime import datetime, timedelta, timezone

import boto3
import pytest
from botocore.exceptions import ClientError
from conftest import PYTHON_RUNTIME, wait_for

ROLE = "arn:aws:iam::000000000000:role/any"
ECHO = {"app.py": "def handler(event, context):\n    return event\n"}


def arn(function):
    return f"arn:aws:lambda:us-east-1:000000000000:function:{function}"


def target(function="echo", **more):
    return {"Arn": arn(function), "RoleArn": ROLE, **more}


def definition(expression, **more):
    return {
        "ScheduleExpression": expression,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": target(),
        **more,
    }


def soon(seconds):
    """An expression for one point in time, so many seconds from now."""
    at = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return f"at({at:%Y-%m-%dT%H:%M:%S})", at.replace(microsecond=0)


def ticks(server, name, function="echo"):
    """The events of a schedule, oldest first, each with its payload."""
    events = server.control(f"events?target=function:{function}&limit=1000")["events"]
    own = [event for event in events if event["source"] == f"schedule:{name}"]
    return [server.control(f"events/{event['id']}") for event in reversed(own)]


def fired(server, name, count=1, function="echo"):
    """Waits until so many events of a schedule have ended, and gives them."""
    ended = lambda: [event for event in ticks(server, name, function) if event["ended"]]
    found = wait_for(f"{count} events of {name}", lambda: len(e := ended()) >= count and e, timeout=120)
    assert all(event["state"] == "succeeded" for event in found), found
    return found


def code(error):
    return error.value.response["Error"]["Code"]


@pytest.fixture(scope="module")
def echo(server):
    server.create("echo", PYTHON_RUNTIME, ECHO)
    return server


@pytest.fixture(scope="module")
def scheduler(echo):
    return echo.client("scheduler")


def test_a_rate_fires_at_once_and_context_attributes_are_replaced(echo, scheduler):
    attributes = ("schedule-arn", "scheduled-time", "execution-id", "attempt-number")
    payload = json.dumps({name: f"<aws.scheduler.{name}>" for name in attributes})
    made = scheduler.create_schedule(
        Name="attributes", **definition("rate(1 hour)", Target=target(Input=payload))
    )
    (event,) = fired(echo, "attributes")
    told = event["payload"]
    assert told["schedule-arn"] == made["ScheduleArn"]
    assert told["execution-id"] == event["id"]
    assert told["attempt-number"] == "1"
    assert told["scheduled-time"][:19] == event["subject"][:19]
    assert event["kind"] == "schedule:Tick"


def test_all_that_is_said_is_given_back_and_update_replaces_it(scheduler):
    begin = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=1)
    said = definition(
        "cron(0/10 8-17 ? * MON-FRI *)",
        ScheduleExpressionTimezone="Europe/Berlin",
        StartDate=begin,
        EndDate=begin + timedelta(days=30),
        Description="office hours",
        State="DISABLED",
        FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5},
        ActionAfterCompletion="DELETE",
        Target=target(
            Input='{"a": 1}',
            RetryPolicy={"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 3},
            DeadLetterConfig={"Arn": "arn:aws:sqs:us-east-1:000000000000:dead"},
        ),
    )
    scheduler.create_schedule(Name="office", **said)
    kept = scheduler.get_schedule(Name="office")
    assert {name: kept[name] for name in said} == said
    assert kept["GroupName"] == "default"
    scheduler.update_schedule(Name="office", **definition("rate(5 days)", State="DISABLED"))
    kept = scheduler.get_schedule(Name="office")
    assert kept["ScheduleExpressionTimezone"] == "UTC"
    assert kept["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 185
    assert "Description" not in kept and "StartDate" not in kept
    scheduler.delete_schedule(Name="office")
    with pytest.raises(scheduler.exceptions.ResourceNotFoundException) as error:
        scheduler.get_schedule(Name="office")
    assert error.value.response["Error"]["Message"] == "Schedule office does not exist."


def test_one_time_schedules_fire_once_and_go_or_stay(echo, scheduler):
    expression, at = soon(3)
    once = definition(expression, Target=target(Input='{"x": "<aws.scheduler.scheduled-time>"}'))
    scheduler.create_schedule(Name="stays", **once)
    scheduler.create_schedule(Name="goes", ActionAfterCompletion="DELETE", **once)
    for name in ("stays", "goes"):
        (event,) = fired(echo, name)
        assert event["payload"]["x"] == f"{at:%Y-%m-%dT%H:%M:%SZ}"
    assert scheduler.get_schedule(Name="stays")["State"] == "ENABLED"
    with pytest.raises(scheduler.exceptions.ResourceNotFoundException):
        scheduler.get_schedule(Name="goes")
    assert len(ticks(echo, "stays")) == 1


def test_a_paused_schedule_does_not_fire_until_it_is_resumed(echo, scheduler):
    expression, _ = soon(3)
    scheduler.create_schedule(Name="paused", State="DISABLED", **definition(expression))
    other, _ = soon(5)
    scheduler.create_schedule(Name="after", **definition(other))
    fired(echo, "after")
    assert ticks(echo, "paused") == []
    later, _ = soon(3)
    scheduler.update_schedule(Name="paused", **definition(later))
    fired(echo, "paused")
    # By the command line.
    scheduler.create_schedule(Name="manual", State="DISABLED", **definition("rate(1 hour)"))
    event = echo.rouse_json("schedule", "run", "manual")["event_id"]
    wait_for("its end", lambda: echo.control(f"events/{event}")["state"] == "succeeded")
    assert echo.control(f"events/{event}")["kind"] == "schedule:Run"
    shown = echo.rouse_json("schedule", "show", "manual")
    assert shown["next"] is None and shown["spec"]["enabled"] is False
    echo.rouse("schedule", "resume", "manual")
    assert scheduler.get_schedule(Name="manual")["State"] == "ENABLED"
    assert "manual" in echo.rouse("schedule").stdout
    assert "rate(1 hour)" in echo.rouse("schedule", "show", "manual").stdout
    echo.rouse("schedule", "pause", "manual")
    assert scheduler.get_schedule(Name="manual")["State"] == "DISABLED"


def test_ticks_reach_queues_straight_and_over_a_bus(echo, scheduler):
    queue = "arn:aws:sqs:us-east-1:000000000000:ticks"
    sqs, events = echo.client("sqs"), echo.client("events")
    url = sqs.create_queue(QueueName="ticks")["QueueUrl"]
    pattern = {"source": ["clockwork"], "detail-type": ["tick"], "detail": {"way": ["bus"]}}
    events.put_rule(Name="ticks", EventPattern=json.dumps(pattern))
    put = events.put_targets(Rule="ticks", Targets=[{"Id": "queue", "Arn": queue}])
    assert put["FailedEntryCount"] == 0
    over = {
        "Arn": "arn:aws:events:us-east-1:000000000000:event-bus/default",
        "RoleArn": ROLE,
        "Input": '{"way": "bus"}',
        "EventBridgeParameters": {"Source": "clockwork", "DetailType": "tick"},
    }
    scheduler.create_schedule(Name="over", **definition("rate(1 hour)", Target=over))
    kept = scheduler.get_schedule(Name="over")["Target"]
    assert {name: kept[name] for name in over} == over
    straight = {"Arn": queue, "RoleArn": ROLE, "Input": '{"way": "straight"}'}
    scheduler.create_schedule(Name="straight", **definition("rate(1 hour)", Target=straight))

    found = {}

    def both():
        received = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5, MaxNumberOfMessages=10)
        for message in received.get("Messages", []):
            body = json.loads(message["Body"])
            found[body.get("detail", body)["way"]] = body
        return len(found) == 2

    wait_for("both messages", both, timeout=120)
    assert found["straight"] == {"way": "straight"}
    assert (found["bus"]["source"], found["bus"]["detail-type"]) == ("clockwork", "tick")
    with pytest.raises(ClientError) as error:
        fifo = {"Arn": queue + ".fifo", "RoleArn": ROLE}
        scheduler.create_schedule(Name="fifo", **definition("rate(1 hour)", Target=fifo))
    assert code(error) == "ValidationException"
    for name in ("over", "straight"):
        scheduler.delete_schedule(Name=name)


def test_listing_groups_and_tags(scheduler):
    created = scheduler.create_schedule_group(Name="team", Tags=[{"Key": "a", "Value": "b"}])
    group = created["ScheduleGroupArn"]
    names = [f"s{number:02}" for number in range(7)]
    for name in names:
        state = "DISABLED" if name < "s04" else "ENABLED"
        spec = definition("cron(0 0 1 1 ? 2199)", GroupName="team", State=state)
        scheduler.create_schedule(Name=name, **spec)
    pages = scheduler.get_paginator("list_schedules").paginate(
        GroupName="team", PaginationConfig={"PageSize": 3}
    )
    pages = [[one["Name"] for one in page["Schedules"]] for page in pages]
    assert pages == [names[:3], names[3:6], names[6:]]
    enabled = scheduler.list_schedules(GroupName="team", State="ENABLED")["Schedules"]
    assert [one["Name"] for one in enabled] == names[4:]
    assert enabled[0]["Target"]["Arn"] == arn("echo")
    some = scheduler.list_schedules(NamePrefix="s0", GroupName="team", MaxResults=2)
    assert len(some["Schedules"]) == 2
    with pytest.raises(ClientError) as error:
        scheduler.list_schedules(NextToken="@@@")
    assert code(error) == "ValidationException"

    scheduler.tag_resource(ResourceArn=group, Tags=[{"Key": "c", "Value": "d"}])
    scheduler.untag_resource(ResourceArn=group, TagKeys=["a", "unknown"])
    tags = scheduler.list_tags_for_resource(ResourceArn=group)["Tags"]
    assert tags == [{"Key": "c", "Value": "d"}]
    groups = scheduler.get_paginator("list_schedule_groups").paginate(
        PaginationConfig={"PageSize": 1}
    )
    groups = [one["Name"] for page in groups for one in page["ScheduleGroups"]]
    assert groups == ["default", "team"]
    assert scheduler.get_schedule_group(Name="team")["State"] == "ACTIVE"

    scheduler.delete_schedule_group(Name="team")
    with pytest.raises(scheduler.exceptions.ResourceNotFoundException):
        scheduler.get_schedule_group(Name="team")
    with pytest.raises(scheduler.exceptions.ResourceNotFoundException):
        scheduler.get_schedule(Name="s00", GroupName="team")
    with pytest.raises(ClientError) as error:
        scheduler.delete_schedule_group(Name="default")
    assert code(error) == "ValidationException"


def test_errors_are_aws_s(scheduler):
    later = definition("cron(0 0 1 1 ? 2199)")
    for change, code_, match in (
        ({"ScheduleExpression": "rate(1 second)"}, "ValidationException", "Invalid Schedule Expression"),
        ({"ScheduleExpression": "at(2020-01-01T00:00:00)"}, "ValidationException", "past"),
        ({"ScheduleExpressionTimezone": "Mars/Olympus"}, "ValidationException", "Mars/Olympus"),
        ({"GroupName": "none"}, "ResourceNotFoundException", "Schedule group none does not exist"),
        ({"Target": target(Input="{")}, "ValidationException", "JSON"),
        (
            {"Target": {"Arn": "arn:aws:kinesis:us-east-1:000000000000:stream/a", "RoleArn": ROLE}},
            "ValidationException",
            "nothing that rouse can wake",
        ),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}, "ValidationException", "must be set"),
    ):
        with pytest.raises(ClientError, match=match) as error:
            scheduler.create_schedule(Name="bad", **{**later, **change})
        assert code(error) == code_, change
    scheduler.create_schedule(Name="taken", **later)
    with pytest.raises(scheduler.exceptions.ConflictException, match="Schedule taken already exists"):
        scheduler.create_schedule(Name="taken", **later)
    with pytest.raises(scheduler.exceptions.ResourceNotFoundException):
        scheduler.update_schedule(Name="none", **later)
    # The same token: the same request, done once.
    for _ in range(2):
        scheduler.create_schedule(Name="token", ClientToken="t-1", **later)
    with pytest.raises(scheduler.exceptions.ConflictException, match="token"):
        scheduler.create_schedule(Name="other", ClientToken="t-1", **later)
    for _ in range(2):
        scheduler.delete_schedule(Name="token", ClientToken="t-2")
    with pytest.raises(scheduler.exceptions.ResourceNotFoundException):
        scheduler.get_schedule(Name="token")


def test_only_who_has_the_owners_keys_may(echo):
    wrong = boto3.client(
        "scheduler",
        endpoint_url=echo.url,
        region_name="us-east-1",
        aws_access_key_id=echo.root["access_key_id"],
        aws_secret_access_key="wrong",
    )
    with pytest.raises(ClientError) as error:
        wrong.list_schedules()
    assert code(error) == "InvalidSignatureException"


MANIFEST = """
name: clock
services:
  worker:
    build: ./worker
    x-rouse:
      runtime: python3.11
      handler: app.handler
      triggers:
        - schedule: rate(1 hour)
          input: '{{"n": {number}}}'
          timezone: Europe/Berlin
{more}
"""


def test_a_manifest_declares_changes_and_drops_schedules(echo, scheduler, tmp_path):
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker/app.py").write_text(ECHO["app.py"])
    second = "        - {schedule: cron(0 0 1 1 ? 2199), name: far, catch_up: all}"
    done = echo.deploy(tmp_path, MANIFEST.format(number=1, more=second))
    assert "worker-1" in done.stdout and "far" in done.stdout
    (event,) = fired(echo, "worker-1", function="worker")
    assert event["payload"] == {"n": 1}
    assert scheduler.get_schedule(Name="worker-1")["Target"]["Arn"] == arn("worker")
    assert echo.rouse_json("schedule", "show", "far")["spec"]["catch_up"] == "all"
    # Deployed again, it is as it was, and stays paused if it was.
    echo.rouse("schedule", "pause", "worker-1")
    echo.deploy(tmp_path, MANIFEST.format(number=1, more=second))
    assert len(ticks(echo, "worker-1", function="worker")) == 1
    assert scheduler.get_schedule(Name="worker-1")["State"] == "DISABLED"
    echo.deploy(tmp_path, MANIFEST.format(number=2, more=""))
    with pytest.raises(scheduler.exceptions.ResourceNotFoundException):
        scheduler.get_schedule(Name="far")
    assert json.loads(scheduler.get_schedule(Name="worker-1")["Target"]["Input"]) == {"n": 2}
    echo.rouse("rm", "--yes", "worker")
    with pytest.raises(scheduler.exceptions.ResourceNotFoundException):
        scheduler.get_schedule(Name="worker-1")


DOWN = """
name: down
services:
  echo:
    build: ./echo
    x-rouse:
      runtime: python3.11
      handler: app.handler
      triggers:
        - {schedule: rate(1 minute), name: skip, catch_up: skip}
        - {schedule: rate(1 minute), name: once, catch_up: once}
        - {schedule: rate(1 minute), name: all, catch_up: all}
"""

POLICIES = ("skip", "once", "all")


def times(server, name):
    """The ticks of a schedule that have events, in seconds since 1970."""
    parse = lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    return [parse(event["subject"]) for event in ticks(server, name)]


@pytest.mark.minutes
def test_what_was_missed_while_it_was_down_is_made_up_for_as_declared(own_server, tmp_path):
    folder = tmp_path / "project"
    (folder / "echo").mkdir(parents=True)
    (folder / "echo/app.py").write_text(ECHO["app.py"])
    own_server.deploy(folder, DOWN)
    scheduler = own_server.client("scheduler")
    for name in POLICIES:
        fired(own_server, name)
    expression, point = soon(30)
    scheduler.create_schedule(Name="point", **definition(expression))
    (begin,) = {times(own_server, name)[0] for name in POLICIES}
    own_server.kill()
    killed = time.time()
    # Two ticks are missed, the second too by more than what counts as late.
    first = begin + 60 * math.ceil((killed - begin) / 60)
    missed = [first, first + 60]
    time.sleep(max(0.0, missed[-1] + 10 - time.time()))
    own_server.start()
    fired(own_server, "point")
    # One tick more, so that nothing can be on its way still.
    for name in POLICIES:
        is_next = lambda: max(times(own_server, name)) > missed[-1]
        wait_for(f"the next tick of {name}", is_next, timeout=180)
    for name in POLICIES:
        after = times(own_server, name)
        assert after == sorted(set(after)), after
        expected = {"skip": [], "once": missed[-1:], "all": missed}[name]
        assert [tick for tick in missed if tick in after] == expected, (name, missed, after)
    assert times(own_server, "point") == [point.timestamp()]
