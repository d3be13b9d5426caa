"""Event sources that name a version or an alias of their function, by boto3."""

import json

import pytest
from botocore.exceptions import ClientError
from conftest import PYTHON_RUNTIME, wait_for, zipped

ARN = "arn:aws:lambda:us-east-1:000000000000:function"


@pytest.fixture
def two(server):
    """A function of two versions and the alias beta, which names the first."""

    def make(name):
        client = server.client("lambda")
        server.create(name, PYTHON_RUNTIME, {"app.py": "def handler(event, context): return 1"})
        client.publish_version(FunctionName=name)
        other = zipped({"app.py": "def handler(event, context): return 2"})
        client.update_function_code(FunctionName=name, ZipFile=other, Publish=True)
        client.create_alias(FunctionName=name, Name="beta", FunctionVersion="1")
        return client

    return make


def ran(server, name, count):
    """The versions of the function's runs, the oldest first, once there are so many."""

    def look():
        runs = server.control(f"runs?target=function:{name}&limit=100")
        return runs if len(runs) >= count else None

    return [run.get("version") for run in reversed(wait_for(f"{count} runs of {name}", look))]


def refused(code, call, **parameters):
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    assert caught.value.response["Error"]["Code"] == code, caught.value.response
    return caught.value.response["Error"]["Message"]


def test_a_mapping_reads_for_an_alias_and_follows_it(server, two):
    client, sqs = two("reader"), server.client("sqs")
    queue = sqs.create_queue(QueueName="read-for-beta")["QueueUrl"]
    source = "arn:aws:sqs:us-east-1:000000000000:read-for-beta"
    create = client.create_event_source_mapping
    made = create(FunctionName="reader:beta", EventSourceArn=source)
    assert made["FunctionArn"] == f"{ARN}:reader:beta"
    refused("ResourceConflictException", create, FunctionName=f"{ARN}:reader:beta", EventSourceArn=source)
    missing = "InvalidParameterValueException"
    refused(missing, create, FunctionName="reader:gamma", EventSourceArn=source)
    refused(missing, create, FunctionName="reader:9", EventSourceArn=source)
    sqs.send_message(QueueUrl=queue, MessageBody="a")
    assert ran(server, "reader", 1) == [1]
    client.update_alias(FunctionName="reader", Name="beta", FunctionVersion="2")
    sqs.send_message(QueueUrl=queue, MessageBody="b")
    assert ran(server, "reader", 2) == [1, 2]
    changed = client.update_event_source_mapping(UUID=made["UUID"], FunctionName="reader:1")
    assert changed["FunctionArn"] == f"{ARN}:reader:1"
    sqs.send_message(QueueUrl=queue, MessageBody="c")
    assert ran(server, "reader", 3) == [1, 2, 1]
    listed = client.list_event_source_mappings(FunctionName="reader:1")["EventSourceMappings"]
    assert [one["UUID"] for one in listed] == [made["UUID"]]
    assert client.list_event_source_mappings(FunctionName="reader:beta")["EventSourceMappings"] == []
    assert len(client.list_event_source_mappings(FunctionName="reader")["EventSourceMappings"]) == 1


def test_a_bucket_wakes_the_version_that_its_notification_names(server, two):
    two("noticed")
    s3 = server.client("s3")
    s3.create_bucket(Bucket="notices-one")

    def notify(qualifier):
        rule = {
            "Id": "r", "Events": ["s3:ObjectCreated:*"], "LambdaFunctionArn": f"{ARN}:noticed:{qualifier}"
        }
        s3.put_bucket_notification_configuration(
            Bucket="notices-one", NotificationConfiguration={"LambdaFunctionConfigurations": [rule]}
        )

    notify("1")
    shown = s3.get_bucket_notification_configuration(Bucket="notices-one")
    assert shown["LambdaFunctionConfigurations"][0]["LambdaFunctionArn"] == f"{ARN}:noticed:1"
    s3.put_object(Bucket="notices-one", Key="a", Body=b"a")
    assert ran(server, "noticed", 1) == [1]
    assert "function:noticed:1" in server.rouse("ls").stdout
    (event,) = server.rouse_json("events", "--target", "function:noticed")["events"]
    assert event["qualifier"] == "1"
    notify("$LATEST")
    s3.put_object(Bucket="notices-one", Key="b", Body=b"b")
    assert ran(server, "noticed", 2) == [1, None]
    with pytest.raises(ClientError) as caught:
        notify("gamma")
    assert "noticed:gamma" in str(caught.value)


def test_a_rule_and_a_schedule_wake_what_their_targets_name(server, two):
    two("targeted")
    events = server.client("events")
    events.put_rule(Name="to-beta", EventPattern=json.dumps({"source": ["qualifiers"]}))
    target = {"Id": "t", "Arn": f"{ARN}:targeted:beta"}
    events.put_targets(Rule="to-beta", Targets=[target])
    assert events.list_targets_by_rule(Rule="to-beta")["Targets"][0]["Arn"] == target["Arn"]
    by_target = events.list_rule_names_by_target
    assert by_target(TargetArn=target["Arn"])["RuleNames"] == ["to-beta"]
    assert by_target(TargetArn=f"{ARN}:targeted")["RuleNames"] == []
    entry = {"Source": "qualifiers", "DetailType": "d", "Detail": "{}"}
    events.put_events(Entries=[entry])
    assert ran(server, "targeted", 1) == [1]
    scheduler = server.client("scheduler")
    role = "arn:aws:iam::000000000000:role/any"
    scheduler.create_schedule(
        Name="for-two", ScheduleExpression="rate(1 day)", FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": f"{ARN}:targeted:2", "RoleArn": role},
    )
    assert scheduler.get_schedule(Name="for-two")["Target"]["Arn"] == f"{ARN}:targeted:2"
    # It may tick by itself, too.
    server.rouse("schedule", "run", "for-two")
    first, *later = ran(server, "targeted", 2)
    assert first == 1 and set(later) == {2}


def test_events_of_an_alias_are_delivered_as_is_said_of_it(server, two):
    client, sqs = two("told"), server.client("sqs")
    queue = sqs.create_queue(QueueName="told-of-beta")["QueueUrl"]
    destination = {"OnSuccess": {"Destination": "arn:aws:sqs:us-east-1:000000000000:told-of-beta"}}
    missing = "ResourceNotFoundException"
    config = dict(FunctionName="told", MaximumRetryAttempts=1, DestinationConfig=destination)
    refused(missing, client.put_function_event_invoke_config, Qualifier="gamma", **config)
    get = client.get_function_event_invoke_config
    refused(missing, get, FunctionName="told", Qualifier="beta")
    put = client.put_function_event_invoke_config(Qualifier="beta", **config)
    assert put["FunctionArn"] == f"{ARN}:told:beta"
    shown = get(FunctionName="told:beta")
    assert (shown["MaximumRetryAttempts"], shown["DestinationConfig"]["OnSuccess"]) == (1, destination["OnSuccess"])
    refused(missing, get, FunctionName="told")
    client.update_function_event_invoke_config(FunctionName="told", Qualifier="beta", MaximumEventAgeInSeconds=60)
    shown = get(FunctionName="told", Qualifier="beta")
    assert (shown["MaximumRetryAttempts"], shown["MaximumEventAgeInSeconds"]) == (1, 60)
    for qualifier in [{}, {"Qualifier": "1"}, {"Qualifier": "beta"}]:
        client.invoke(FunctionName="told", InvocationType="Event", Payload=b"{}", **qualifier)
    assert sorted(ran(server, "told", 3), key=str) == [1, 1, None]

    def received():
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in found]

    (record,) = wait_for("the record", received)
    assert record["responsePayload"] == 1 and record["responseContext"]["executedVersion"] == "1"
    client.put_function_event_invoke_config(FunctionName="told", Qualifier="2", MaximumRetryAttempts=0)
    listed = client.list_function_event_invoke_configs(FunctionName="told", MaxItems=1)
    assert [one["FunctionArn"] for one in listed["FunctionEventInvokeConfigs"]] == [f"{ARN}:told:2"]
    more = client.list_function_event_invoke_configs(FunctionName="told", Marker=listed["NextMarker"])
    assert [one["FunctionArn"] for one in more["FunctionEventInvokeConfigs"]] == [f"{ARN}:told:beta"]
    client.delete_function_event_invoke_config(FunctionName="told", Qualifier="beta")
    refused(missing, get, FunctionName="told", Qualifier="beta")
    assert received() == []
