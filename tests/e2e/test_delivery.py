"""What becomes of events: destinations, dead letters, idempotency keys, by boto3."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError
from conftest import ROUSE, Server, wait_for

WORKER = """
def handler(event, context):
    print("GOT", event)
    if isinstance(event, dict) and event.get("fail"):
        raise ValueError("as asked")
    return {"did": event}
"""
ACCOUNT = "000000000000"


@pytest.fixture(scope="module")
def clients(server):
    server.create("listener", "python3.11", {"app.py": WORKER})
    return {name: server.client(name) for name in ("lambda", "sqs", "s3", "events", "scheduler")}


def worker(server, name):
    server.create(name, "python3.11", {"app.py": WORKER})
    return name


def queue(clients, name, **attributes):
    url = clients["sqs"].create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url, f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"


def receive(clients, url):
    """The next message of a queue, taken out."""

    def look():
        found = clients["sqs"].receive_message(
            QueueUrl=url,
            WaitTimeSeconds=5,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        return found.get("Messages")

    [message] = wait_for(f"a message of {url}", look)
    clients["sqs"].delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return message


def submit(clients, name, payload, key=None):
    client = clients["lambda"]

    def add(params, **_):
        if key is not None:
            params["headers"]["Idempotency-Key"] = key

    client.meta.events.register("before-call.lambda.Invoke", add)
    try:
        answer = client.invoke(
            FunctionName=name, InvocationType="Event", Payload=json.dumps(payload)
        )
    finally:
        client.meta.events.unregister("before-call.lambda.Invoke", add)
    assert answer["StatusCode"] == 202
    return answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]


def ended(server, event):
    def look():
        found = server.control(f"events/{event}")
        return found if found["state"] not in ("waiting", "leased") else None

    return wait_for(f"the end of {event}", look)


def told(server, target, kind=None):
    """Events for a target, once there are some and all have ended."""

    def look():
        found = server.control("events?limit=1000")["events"]
        found = [e for e in found if e["target"] == target and kind in (None, e["kind"])]
        return found if found and all(e["state"] not in ("waiting", "leased") for e in found) else None

    found = wait_for(f"events for {target}", look)
    return [server.control(f"events/{event['id']}") for event in found]


def refused(code, call, **parameters):
    with pytest.raises(ClientError) as error:
        call(**parameters)
    assert error.value.response["Error"]["Code"] == code, error.value
    return error.value.response["Error"]["Message"]


def test_a_configuration_is_put_read_changed_and_taken_back(server, clients):
    client, name = clients["lambda"], worker(server, "configured")
    _, done = queue(clients, "configured-done")
    before = client.get_function_configuration(FunctionName=name)
    refused("ResourceNotFoundException", client.get_function_event_invoke_config, FunctionName=name)
    put = client.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnSuccess": {"Destination": done}},
    )
    arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}:$LATEST"
    assert put["FunctionArn"] == arn and put["LastModified"].year > 2000
    assert (put["MaximumRetryAttempts"], put["MaximumEventAgeInSeconds"]) == (0, 21600)
    changed = client.update_function_event_invoke_config(
        FunctionName=name, MaximumEventAgeInSeconds=60
    )
    assert (changed["MaximumRetryAttempts"], changed["MaximumEventAgeInSeconds"]) == (0, 60)
    assert changed["DestinationConfig"] == {"OnSuccess": {"Destination": done}, "OnFailure": {}}
    read = client.get_function_event_invoke_config(FunctionName=name, Qualifier="$LATEST")
    listed = client.list_function_event_invoke_configs(FunctionName=name)
    for answer in (changed, read):
        answer.pop("ResponseMetadata")
    assert listed["FunctionEventInvokeConfigs"] == [read] == [changed]
    # Instances have nothing to do with it.
    after = client.get_function_configuration(FunctionName=name)
    assert after["RevisionId"] == before["RevisionId"]
    missing = f"arn:aws:sqs:us-east-1:{ACCOUNT}:nowhere"
    for wrong in (
        {"MaximumRetryAttempts": 3},
        {"DestinationConfig": {"OnFailure": {"Destination": missing}}},
        {"DestinationConfig": {"OnFailure": {"Destination": f"{done}.fifo"}}},
        {"DestinationConfig": {"OnFailure": {"Destination": arn.removesuffix(":$LATEST")}}},
        {},
    ):
        put = client.put_function_event_invoke_config
        refused("InvalidParameterValueException", put, FunctionName=name, **wrong)
    client.delete_function_event_invoke_config(FunctionName=name)
    refused(
        "ResourceNotFoundException", client.delete_function_event_invoke_config, FunctionName=name
    )


def test_a_queue_is_told_of_a_success_and_a_bucket_of_a_failure(server, clients):
    client, name = clients["lambda"], worker(server, "telling")
    url, done = queue(clients, "telling-done")
    clients["s3"].create_bucket(Bucket="telling-failures")
    client.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={
            "OnSuccess": {"Destination": done},
            "OnFailure": {"Destination": "arn:aws:s3:::telling-failures"},
        },
    )
    good = submit(clients, name, {"n": 1})
    record = json.loads(receive(clients, url)["Body"])
    assert record["version"] == "1.0" and record["timestamp"].endswith("Z")
    assert record["requestContext"] == {
        "requestId": good,
        "functionArn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}:$LATEST",
        "condition": "Success",
        "approximateInvokeCount": 1,
    }
    assert record["requestPayload"] == {"n": 1}
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert record["responsePayload"] == {"did": {"n": 1}}

    bad = submit(clients, name, {"fail": True})
    assert ended(server, bad)["state"] == "dead"

    def look():
        return clients["s3"].list_objects_v2(Bucket="telling-failures").get("Contents")

    [found] = wait_for("the object", look)
    assert found["Key"].startswith(f"aws/lambda/async/{name}/20")
    stored = clients["s3"].get_object(Bucket="telling-failures", Key=found["Key"])
    record = json.loads(stored["Body"].read())
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["requestId"] == bad
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"]["errorMessage"] == "as asked"


def test_a_bus_and_a_function_are_told(server, clients):
    client, name = clients["lambda"], worker(server, "chained")
    listener = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:listener"
    bus = f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/default"
    kind = "Lambda Function Invocation Result - Failure"
    pattern = {"source": ["lambda"], "detail-type": [kind]}
    clients["events"].put_rule(Name="failures", EventPattern=json.dumps(pattern))
    clients["events"].put_targets(Rule="failures", Targets=[{"Id": "1", "Arn": listener}])
    client.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={
            "OnSuccess": {"Destination": listener},
            "OnFailure": {"Destination": bus},
        },
    )
    good = submit(clients, name, "good")
    kind_of_success = kind.replace("Failure", "Success")
    [event] = told(server, "function:listener", kind_of_success)
    assert event["cause"] == good and event["depth"] == 1
    assert event["payload"]["responsePayload"] == {"did": "good"}
    bad = submit(clients, name, {"fail": True})
    ended(server, bad)
    [event] = told(server, "function:listener", kind)
    payload = event["payload"]
    assert payload["resources"] == [f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}:$LATEST", bus]
    assert payload["detail"]["requestPayload"] == {"fail": True}
    clients["events"].remove_targets(Rule="failures", Ids=["1"])
    clients["events"].delete_rule(Name="failures")


def test_dead_letters_go_to_the_functions_queue(server, clients):
    client = clients["lambda"]
    url, letters = queue(clients, "letters")
    made = server.create(
        "lettered", "python3.11", {"app.py": WORKER}, DeadLetterConfig={"TargetArn": letters}
    )
    assert made["DeadLetterConfig"] == {"TargetArn": letters}
    client.put_function_event_invoke_config(FunctionName="lettered", MaximumRetryAttempts=0)
    event = submit(clients, "lettered", {"fail": 1})
    message = receive(clients, url)
    assert json.loads(message["Body"]) == {"fail": 1}
    attributes = message["MessageAttributes"]
    assert attributes["RequestID"]["StringValue"] == event
    assert attributes["ErrorCode"] == {"StringValue": "200", "DataType": "Number"}
    assert "as asked" in attributes["ErrorMessage"]["StringValue"]
    change = client.update_function_configuration
    gone = f"{letters}-gone"
    refused(
        "InvalidParameterValueException",
        change,
        FunctionName="lettered",
        DeadLetterConfig={"TargetArn": gone},
    )
    changed = change(FunctionName="lettered", DeadLetterConfig={"TargetArn": ""})
    assert "DeadLetterConfig" not in changed


def test_dead_letters_fit_into_their_queue(server, clients):
    url, letters = queue(clients, "narrow", MaximumMessageSize="1024")
    config = {"TargetArn": letters}
    server.create("wide", "python3.11", {"app.py": WORKER}, DeadLetterConfig=config)
    client = clients["lambda"]
    client.put_function_event_invoke_config(FunctionName="wide", MaximumRetryAttempts=0)
    client.invoke(
        FunctionName="wide",
        InvocationType="Event",
        Payload='{"fail": "\uffff and \ufffe"}'.encode(),
    )
    assert receive(clients, url)["Body"] == '{"fail": "\ufffd and \ufffd"}'
    event = submit(clients, "wide", {"fail": "x" * 5000})
    message = receive(clients, url)
    assert "bytes, with which" in json.loads(message["Body"])["rouse"]["leftOut"]
    assert message["MessageAttributes"]["RequestID"]["StringValue"] == event


def test_the_same_key_is_one_event(server, clients):
    name, key = worker(server, "once"), str(uuid.uuid4())
    first = submit(clients, name, {"n": 1}, key)
    assert submit(clients, name, {"n": 1}, key) == first
    assert submit(clients, name, {"n": 1}, f'"{key}"') == first
    with pytest.raises(ClientError) as error:
        submit(clients, name, {"n": 2}, key)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    assert "idempotency key" in str(error.value)
    assert submit(clients, name, {"n": 1}, str(uuid.uuid4())) != first
    path = f"/_rouse/v1/functions/{name}/invocations?type=wait"
    status, _, body = server.http("POST", path, b"1", {"Idempotency-Key": "k"})
    assert status == 400 and b"asynchronous" in body
    by_hand = [
        server.rouse("invoke", name, "-p", '{"n": 3}', "--async", "--idempotency-key", "mine")
        for _ in range(2)
    ]
    assert by_hand[0].stdout == by_hand[1].stdout
    other = server.rouse(
        "invoke", name, "-p", "4", "--event", "--idempotency-key", "mine", check=False
    )
    assert other.returncode != 0 and "another payload" in other.stderr


def test_a_key_outlives_a_kill(own_server):
    own_server.create("once", "python3.11", {"app.py": WORKER})
    first = submit({"lambda": own_server.client("lambda")}, "once", {"n": 1}, "k")
    own_server.kill()
    own_server.start()
    assert submit({"lambda": own_server.client("lambda")}, "once", {"n": 1}, "k") == first


def test_rules_retry_order_and_bury_as_they_say(server, clients):
    events = clients["events"]
    url, letters = queue(clients, "rule-letters")
    fifo_url, fifo = queue(clients, "rule.fifo", FifoQueue="true")
    worker(server, "failing")
    failing = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:failing"
    targets = [
        {
            "Id": "fails",
            "Arn": failing,
            "Input": '{"fail": true}',
            "RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60},
            "DeadLetterConfig": {"Arn": letters},
        },
        {"Id": "ordered", "Arn": fifo, "SqsParameters": {"MessageGroupId": "g"}},
    ]
    events.put_rule(Name="strict", EventPattern='{"source": ["strict"]}')
    events.put_targets(Rule="strict", Targets=targets)
    listed = events.list_targets_by_rule(Rule="strict")["Targets"]
    assert sorted(listed, key=lambda target: target["Id"]) == targets
    put = events.put_targets
    for wrong in (
        {"Arn": fifo},
        {"Arn": failing, "SqsParameters": {"MessageGroupId": "g"}},
        {"Arn": failing, "RetryPolicy": {"MaximumRetryAttempts": 186}},
        {"Arn": failing, "DeadLetterConfig": {"Arn": fifo}},
        {"Arn": failing, "EcsParameters": {"TaskDefinitionArn": "arn:aws:ecs:x"}},
    ):
        refused("ValidationException", put, Rule="strict", Targets=[{"Id": "x", **wrong}])
    entry = {"Source": "strict", "DetailType": "x", "Detail": '{"n": 7}'}
    events.put_events(Entries=[entry])
    message = receive(clients, fifo_url)
    assert json.loads(message["Body"])["detail"] == {"n": 7}
    assert message["Attributes"]["MessageGroupId"] == "g"
    letter = receive(clients, url)
    said = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert json.loads(letter["Body"]) == {"fail": True}
    assert said["RULE_ARN"].endswith(":rule/strict") and said["TARGET_ARN"] == failing
    assert said["ERROR_CODE"] == "ERROR_FROM_TARGET" and "as asked" in said["ERROR_MESSAGE"]
    assert said["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"
    assert said["RETRY_ATTEMPTS"] == "0"


def test_schedules_have_groups_and_dead_letters(server, clients):
    scheduler = clients["scheduler"]
    url, letters = queue(clients, "schedule-letters")
    fifo_url, fifo = queue(clients, "schedule.fifo", FifoQueue="true")
    role = f"arn:aws:iam::{ACCOUNT}:role/any"
    common = {
        "ScheduleExpression": "rate(1 hour)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
    }
    ordered = {"Arn": fifo, "RoleArn": role, "SqsParameters": {"MessageGroupId": "g"}, "Input": "1"}
    scheduler.create_schedule(Name="ordered", Target=ordered, **common)
    assert scheduler.get_schedule(Name="ordered")["Target"]["SqsParameters"] == {
        "MessageGroupId": "g"
    }
    message = receive(clients, fifo_url)
    assert (message["Body"], message["Attributes"]["MessageGroupId"]) == ("1", "g")
    nobody = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:nobody"
    target = {"Arn": nobody, "RoleArn": role, "Input": "2", "DeadLetterConfig": {"Arn": letters}}
    scheduler.create_schedule(Name="lost", Target=target, **common)
    letter = receive(clients, url)
    said = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert letter["Body"] == "2" and said["ERROR_CODE"] == "NO_RESOURCE"
    assert said["SCHEDULE_ARN"].endswith(":schedule/default/lost")
    assert said["TARGET_ARN"] == nobody and said["EXECUTION_ID"]
    no_group = {"Arn": fifo, "RoleArn": role}
    refused("ValidationException", scheduler.create_schedule, Name="x", Target=no_group, **common)


def test_a_bucket_tells_the_default_bus_of_every_change(server, clients):
    s3, events = clients["s3"], clients["events"]
    url, seen = queue(clients, "bus-changes")
    records_url, records = queue(clients, "bucket-changes")
    s3.create_bucket(Bucket="watched")
    s3.put_bucket_notification_configuration(
        Bucket="watched",
        NotificationConfiguration={
            "EventBridgeConfiguration": {},
            "QueueConfigurations": [
                {
                    "Id": "all",
                    "QueueArn": records,
                    "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
                }
            ],
        },
    )
    read = s3.get_bucket_notification_configuration(Bucket="watched")
    assert read["EventBridgeConfiguration"] == {} and len(read["QueueConfigurations"]) == 1
    pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": ["watched"]}}}
    events.put_rule(Name="changes", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="changes", Targets=[{"Id": "1", "Arn": seen}])

    def next_change():
        change = json.loads(receive(clients, url)["Body"])
        [record] = json.loads(receive(clients, records_url)["Body"])["Records"]
        assert record["awsRegion"] == change["region"] == "us-east-1"
        assert record["userIdentity"] == {"principalId": "root"}
        assert record["s3"]["object"]["sequencer"] == change["detail"]["object"]["sequencer"]
        assert record["s3"]["object"]["key"] == "a+%C3%A9"
        return record["eventName"], change["detail-type"], change["detail"]

    put = s3.put_object(Bucket="watched", Key="a é", Body=b"12345")
    name, kind, detail = next_change()
    assert (name, kind, detail["reason"]) == ("ObjectCreated:Put", "Object Created", "PutObject")
    etag = put["ETag"].strip('"')
    assert detail["object"]["key"] == "a é" and detail["object"]["size"] == 5
    assert detail["object"]["etag"] == etag and detail["bucket"] == {"name": "watched"}
    last = detail["object"]["sequencer"]
    source = {"Bucket": "watched", "Key": "a é"}
    s3.copy_object(Bucket="watched", Key="a é", CopySource=source, MetadataDirective="REPLACE")
    name, kind, detail = next_change()
    assert (name, detail["reason"]) == ("ObjectCreated:Copy", "CopyObject")
    assert detail["object"]["sequencer"] > last
    upload = s3.create_multipart_upload(Bucket="watched", Key="a é")["UploadId"]
    part = s3.upload_part(
        Bucket="watched", Key="a é", UploadId=upload, PartNumber=1, Body=b"1234567"
    )
    s3.complete_multipart_upload(
        Bucket="watched",
        Key="a é",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    name, kind, detail = next_change()
    assert name == "ObjectCreated:CompleteMultipartUpload"
    assert detail["reason"] == "CompleteMultipartUpload"
    s3.delete_object(Bucket="watched", Key="a é")
    name, kind, detail = next_change()
    assert (name, kind) == ("ObjectRemoved:Delete", "Object Deleted")
    assert (detail["reason"], detail["deletion-type"]) == ("DeleteObject", "Permanently Deleted")


def test_a_manifest_declares_destinations(server, clients, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app/app.py").write_text(WORKER)
    server.deploy(
        tmp_path,
        """
services:
  declared:
    build: ./app
    x-rouse:
      runtime: python3.11
      handler: app.handler
      retry: {attempts: 1}
      on_success: {queue: declared-done}
      on_failure: {bucket: declared-failures}
      dead_letter: declared-letters
x-rouse:
  buckets:
    declared-failures: {}
  queues:
    declared-done: {}
    declared-letters: {}
""",
    )
    url = clients["sqs"].get_queue_url(QueueName="declared-done")["QueueUrl"]
    event = submit(clients, "declared", 5)
    record = json.loads(receive(clients, url)["Body"])
    assert record["requestContext"]["requestId"] == event
    config = clients["lambda"].get_function_event_invoke_config(FunctionName="declared")
    assert config["MaximumRetryAttempts"] == 0
    assert config["DestinationConfig"]["OnFailure"] == {
        "Destination": "arn:aws:s3:::declared-failures"
    }
    (tmp_path / "compose.yaml").write_text(
        (tmp_path / "compose.yaml").read_text().replace("queue: declared-done", "queue: nowhere")
    )
    refusal = server.run(ROUSE, "deploy", cwd=tmp_path, check=False)
    assert refusal.returncode != 0 and "nowhere" in refusal.stderr


TRIGGERED = """
services:
  triggered:
    build: ./app
    x-rouse:
      runtime: python3.11
      handler: app.handler
      triggers:
        - bus: default
          pattern: {source: [triggers]}
          retry: {attempts: 1}
          dead_letter: triggered-letters
        - schedule: at(2099-01-01T00:00:00)
          input: '{"fail": 2}'
          retry: {attempts: 1, max_age: 1m}
          dead_letter: triggered-letters
x-rouse:
  queues:
    triggered-letters: {}
"""


def test_triggers_of_a_manifest_have_retries_and_dead_letters(server, clients, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app/app.py").write_text(WORKER.replace('event.get("fail")', "True"))
    server.deploy(tmp_path, TRIGGERED)
    url = clients["sqs"].get_queue_url(QueueName="triggered-letters")["QueueUrl"]
    entry = {"Source": "triggers", "DetailType": "made", "Detail": '{"fail": 1}'}
    clients["events"].put_events(Entries=[entry])
    attributes = receive(clients, url)["MessageAttributes"]
    assert attributes["RETRY_ATTEMPTS"]["StringValue"] == "0"
    assert "RULE_ARN" in attributes
    server.rouse("schedule", "run", "triggered-1")
    message = receive(clients, url)
    assert message["Body"] == '{"fail": 2}'
    assert message["MessageAttributes"]["RETRY_ATTEMPTS"]["StringValue"] == "0"
    shown = clients["scheduler"].get_schedule(Name="triggered-1")["Target"]
    assert shown["RetryPolicy"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    missing = TRIGGERED.replace("    triggered-letters: {}", "    others: {}")
    missing = missing.replace("dead_letter: triggered-letters", "dead_letter: nowhere")
    (tmp_path / "compose.yaml").write_text(missing)
    refusal = server.run(ROUSE, "deploy", cwd=tmp_path, check=False)
    assert refusal.returncode != 0 and "nowhere" in refusal.stderr


def test_ls_shows_what_waits(server, clients):
    name = worker(server, "idle")
    clients["lambda"].put_function_concurrency(
        FunctionName=name, ReservedConcurrentExecutions=0
    )
    for n in range(3):
        submit(clients, name, n)
    url, _ = queue(clients, "idle-queue")
    clients["sqs"].send_message(QueueUrl=url, MessageBody="x")
    listed = server.rouse_json("ls")
    [target] = [one for one in listed["targets"] if one["target"] == f"function:{name}"]
    assert target["waiting"] + target["leased"] == 3
    [shown] = [one for one in listed["queues"] if one["name"] == "idle-queue"]
    assert shown["visible"] == 1 and shown["oldest"]
    text = server.rouse("ls").stdout
    assert "EVENTS FOR" in text and f"function:{name}" in text
    clients["lambda"].delete_function_concurrency(FunctionName=name)


def test_every_arn_is_of_the_servers_region(tmp_path):
    server = Server(tmp_path / "data", ["--region", "eu-west-1"]).start()
    try:
        folder = tmp_path / "project"
        (folder / "app").mkdir(parents=True)
        source = "def handler(event, context):\n    return [event, context.invoked_function_arn]\n"
        (folder / "app/app.py").write_text(source)
        server.deploy(
            folder,
            """
services:
  where:
    build: ./app
    x-rouse:
      runtime: python3.11
      handler: app.handler
      on_success: {queue: told}
      triggers:
        - bucket: things
        - queue: asked
x-rouse:
  buckets: {things: {}}
  queues: {told: {}, asked: {}}
""",
        )
        env = {"AWS_DEFAULT_REGION": "eu-west-1"}
        (tmp_path / "thing").write_text("x")
        server.aws("s3", "cp", tmp_path / "thing", "s3://things/a", env=env)
        url = f"{server.url}/{ACCOUNT}/told"

        def look():
            answer = server.aws(
                "sqs", "receive-message", "--endpoint-url", server.url, "--queue-url", url, env=env
            ).stdout
            return answer.strip() and json.loads(answer)["Messages"]

        [message] = wait_for("a record", look)
        record = json.loads(message["Body"])
        assert record["requestContext"]["functionArn"].split(":")[3] == "eu-west-1"
        change, arn = record["responsePayload"]
        assert change["Records"][0]["awsRegion"] == "eu-west-1"
        assert arn == f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:where"
    finally:
        server.stop()
