"""The Lambda door by boto3. The functions are fake: they do what their event says in "do", and
answer with the event otherwise."""

import base64
import hashlib
import io
import json
import uuid
import zipfile

import boto3
import botocore.config
import pytest
from botocore.exceptions import ClientError

CONFIG = botocore.config.Config(retries={"total_max_attempts": 1})
client = boto3.client("lambda", config=CONFIG)


def archive(text="def handler(event, context): return event\n"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("index.py", text)
    return buffer.getvalue()


def create(name=None, **further):
    name = name or "f-" + uuid.uuid4().hex
    parameters = dict(
        FunctionName=name,
        Runtime="python3.11",
        Role="arn:aws:iam::000000000000:role/test",
        Handler="index.handler",
        Code={"ZipFile": archive()},
    )
    parameters.update(further)
    return name, client.create_function(**parameters)


def refused(code, status, call, **parameters):
    with pytest.raises(ClientError) as info:
        call(**parameters)
    response = info.value.response
    assert response["Error"]["Code"] == code, response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status, response
    assert response["Error"]["Message"], response
    return response["Error"]["Message"]


def invoke(name, payload=None, **further):
    parameters = dict(FunctionName=name, **further)
    if payload is not None:
        parameters["Payload"] = json.dumps(payload)
    answer = client.invoke(**parameters)
    body = answer["Payload"].read()
    return answer, json.loads(body) if body else None


def test_owner_creates_and_reads():
    code = archive()
    name, made = create(
        Code={"ZipFile": code},
        Description="a test",
        Timeout=7,
        MemorySize=256,
        EphemeralStorage={"Size": 600},
        Environment={"Variables": {"COLOUR": "blue"}},
        Tags={"team": "a"},
        Architectures=["x86_64"],
        TracingConfig={"Mode": "PassThrough"},
    )
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    expected = {
        "FunctionName": name,
        "FunctionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}",
        "Runtime": "python3.11",
        "Handler": "index.handler",
        "Role": "arn:aws:iam::000000000000:role/test",
        "CodeSize": len(code),
        "CodeSha256": base64.b64encode(hashlib.sha256(code).digest()).decode(),
        "Description": "a test",
        "Timeout": 7,
        "MemorySize": 256,
        "EphemeralStorage": {"Size": 600},
        "Environment": {"Variables": {"COLOUR": "blue"}},
        "Version": "$LATEST",
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
    }
    for key, value in expected.items():
        assert made[key] == value, key
    assert made["LastModified"].endswith("+0000")
    got = client.get_function(FunctionName=made["FunctionArn"])
    made.pop("ResponseMetadata")
    assert got["Configuration"] == made
    assert got["Code"]["RepositoryType"] == "S3"
    assert got["Tags"] == {}
    configuration = client.get_function_configuration(FunctionName=name, Qualifier="$LATEST")
    configuration.pop("ResponseMetadata")
    assert configuration == {**made, "FunctionArn": made["FunctionArn"] + ":$LATEST"}
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    client.get_waiter("function_updated").wait(FunctionName=name)


def test_owner_is_told_what_is_wrong():
    name, _ = create()
    message = refused("ResourceConflictException", 409, create, name=name)
    assert name in message
    wrong = "InvalidParameterValueException"
    assert "VpcConfig" in refused(
        wrong, 400, create, VpcConfig={"SubnetIds": ["s"], "SecurityGroupIds": ["g"]}
    )
    assert "Layers" in refused(wrong, 400, create, Layers=["arn:aws:lambda:us-east-1:1:layer:a:1"])
    assert "arm64" not in refused(wrong, 400, create, Architectures=["arm64"])
    assert "Timeout" in refused(wrong, 400, create, Timeout=901)
    assert "MemorySize" in refused(wrong, 400, create, MemorySize=999999)
    assert "cobol" in refused(wrong, 400, create, Runtime="cobol")
    refused(wrong, 400, create, Code={"ZipFile": b"this is no archive"})
    refused(wrong, 400, create, Code={"S3Bucket": "no-such-bucket", "S3Key": "x"})
    image = {"ImageUri": "shop/none:1"}
    assert "shop/none:1" in refused(wrong, 400, create, Code=image, PackageType="Image")
    refused(wrong, 400, create, Code={})
    refused(wrong, 400, create, name="a b")
    missing = "ResourceNotFoundException"
    for call in (client.get_function, client.delete_function, client.get_function_configuration):
        assert "not-there" in refused(missing, 404, call, FunctionName="not-there")
    refused(missing, 404, client.get_function, FunctionName=name, Qualifier="7")
    refused(missing, 404, client.invoke, FunctionName="not-there")
    refused(missing, 404, client.invoke, FunctionName="not-there", InvocationType="Event")
    refused(missing, 404, client.update_function_configuration, FunctionName="not-there")


def test_owner_takes_code_from_a_bucket():
    s3 = boto3.client("s3", config=CONFIG)
    s3.create_bucket(Bucket="code")
    code = archive("# from a bucket\n")
    s3.put_object(Bucket="code", Key="a/b.zip", Body=code)
    _, made = create(Code={"S3Bucket": "code", "S3Key": "a/b.zip"})
    assert made["CodeSize"] == len(code)
    message = refused(
        "InvalidParameterValueException", 400, create, Code={"S3Bucket": "code", "S3Key": "none"}
    )
    assert "NoSuchKey" in message


def test_owner_updates_code():
    name, made = create()
    code = archive("# new\n")
    sha = base64.b64encode(hashlib.sha256(code).digest()).decode()
    dry = client.update_function_code(FunctionName=name, ZipFile=code, DryRun=True)
    assert dry["CodeSha256"] == sha
    now = client.get_function_configuration(FunctionName=name)
    assert now["CodeSha256"] == made["CodeSha256"] and now["RevisionId"] == made["RevisionId"]
    updated = client.update_function_code(
        FunctionName=name, ZipFile=code, RevisionId=made["RevisionId"]
    )
    assert updated["CodeSha256"] == sha
    assert updated["RevisionId"] != made["RevisionId"]
    refused(
        "PreconditionFailedException",
        412,
        client.update_function_code,
        FunctionName=name,
        ZipFile=code,
        RevisionId=made["RevisionId"],
    )
    refused(
        "InvalidParameterValueException",
        400,
        client.update_function_code,
        FunctionName=name,
        ImageUri="shop/a:1",
    )
    broken = dict(FunctionName=name, ZipFile=b"PK broken", DryRun=True)
    refused("InvalidParameterValueException", 400, client.update_function_code, **broken)


def test_owner_updates_configuration():
    name, made = create(Description="kept", Environment={"Variables": {"A": "1"}})
    updated = client.update_function_configuration(
        FunctionName=name, Timeout=9, MemorySize=300, Environment={"Variables": {"B": "2"}}
    )
    assert (updated["Timeout"], updated["MemorySize"]) == (9, 300)
    assert updated["Environment"] == {"Variables": {"B": "2"}}
    assert updated["Description"] == "kept"
    assert updated["CodeSha256"] == made["CodeSha256"]
    stale = dict(FunctionName=name, Timeout=5, RevisionId=made["RevisionId"])
    refused("PreconditionFailedException", 412, client.update_function_configuration, **stale)
    wrong = dict(FunctionName=name, KMSKeyArn="arn:aws:kms:us-east-1:000000000000:key/x")
    message = refused(
        "InvalidParameterValueException", 400, client.update_function_configuration, **wrong
    )
    assert "KMSKeyArn" in message


def test_owner_reserves_concurrency():
    name, made = create()
    nothing = client.get_function_concurrency(FunctionName=name)
    assert "ReservedConcurrentExecutions" not in nothing
    assert "Concurrency" not in client.get_function(FunctionName=name)
    reserve = dict(FunctionName=made["FunctionArn"], ReservedConcurrentExecutions=3)
    assert client.put_function_concurrency(**reserve)["ReservedConcurrentExecutions"] == 3
    kept = client.get_function_concurrency(FunctionName=name)
    assert kept["ReservedConcurrentExecutions"] == 3
    shown = client.get_function(FunctionName=name)["Concurrency"]
    assert shown == {"ReservedConcurrentExecutions": 3}
    assert invoke(name, 1)[1] == 1
    wrong = "InvalidParameterValueException"
    too = dict(FunctionName=name, ReservedConcurrentExecutions=1001)
    refused(wrong, 400, client.put_function_concurrency, **too)
    # A tenth of the machine's thousand stays for the others.
    most = dict(FunctionName=name, ReservedConcurrentExecutions=901)
    assert "1000" in refused(wrong, 400, client.put_function_concurrency, **most)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    message = refused("TooManyRequestsException", 429, client.invoke, FunctionName=name)
    assert "reserved" in message
    deleted = client.delete_function_concurrency(FunctionName=name)
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    client.delete_function_concurrency(FunctionName=name)
    assert invoke(name, 2)[1] == 2
    missing = "ResourceNotFoundException"
    refused(missing, 404, client.get_function_concurrency, FunctionName="not-there")
    refused(missing, 404, client.delete_function_concurrency, FunctionName="not-there")


def test_owner_lists_in_pages():
    names = {create()[0] for _ in range(5)}
    pages = client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    listed = [function["FunctionName"] for page in pages for function in page["Functions"]]
    assert names <= set(listed)
    assert len(listed) == len(set(listed)) and listed == sorted(listed)
    refused("InvalidParameterValueException", 400, client.list_functions, Marker="../x")


def test_owner_deletes():
    name, _ = create()
    answer = client.delete_function(FunctionName=name)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused("ResourceNotFoundException", 404, client.get_function, FunctionName=name)
    create(name=name)
    with_version = dict(FunctionName=name, Qualifier="$LATEST")
    refused("InvalidParameterValueException", 400, client.delete_function, **with_version)


def test_owner_invokes_and_waits():
    name, made = create()
    answer, body = invoke(name, {"a": [1, "ä"]}, LogType="Tail")
    assert body == {"a": [1, "ä"]}
    assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    assert len(base64.b64decode(answer["LogResult"])) <= 4096
    assert invoke(name)[1] == {}
    for form in (made["FunctionArn"], f"000000000000:function:{name}", f"{name}:$LATEST"):
        assert invoke(form, 7)[1] == 7
    context = base64.b64encode(b'{"custom":{"k":"v"}}').decode()
    answer, body = invoke(name, {"do": "context"}, ClientContext=context)
    assert json.loads(body["client"]) == {"custom": {"k": "v"}}
    assert body["arn"] == made["FunctionArn"]
    assert body["id"] == answer["ResponseMetadata"]["RequestId"]


def test_owner_sees_how_a_function_failed():
    name, _ = create(Timeout=1)
    answer, body = invoke(name, {"do": "fail"})
    assert answer["StatusCode"] == 200 and answer["FunctionError"] == "Unhandled"
    assert body == {"errorType": "ValueError", "errorMessage": "no good", "stackTrace": ["line 1"]}
    answer, body = invoke(name, {"do": "crash"})
    request = answer["ResponseMetadata"]["RequestId"]
    assert answer["FunctionError"] == "Unhandled"
    assert body == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {request} Error: Runtime exited with error: exit status 1",
    }
    answer, body = invoke(name, {"do": "hang"})
    request = answer["ResponseMetadata"]["RequestId"]
    assert body == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {request} Error: Task timed out after 1.00 seconds",
    }


def test_owner_submits_events():
    name, _ = create()
    answer, body = invoke(name, {"a": 1}, InvocationType="Event")
    assert answer["StatusCode"] == 202 and body is None
    uuid.UUID(answer["ResponseMetadata"]["RequestId"])
    answer, body = invoke(name, {"a": 1}, InvocationType="DryRun")
    assert answer["StatusCode"] == 204 and body is None


def test_owner_meets_the_bounds_of_invoke():
    name, _ = create()
    largest = '"' + "x" * (6 * 1024 * 1024 - 2) + '"'
    answer = client.invoke(FunctionName=name, Payload=largest)
    assert answer["Payload"].read().decode() == largest
    code = "RequestTooLargeException"
    refused(code, 413, client.invoke, FunctionName=name, Payload=largest + " ")
    event = '"' + "x" * (1024 * 1024 - 2) + '"'
    accepted = client.invoke(FunctionName=name, Payload=event, InvocationType="Event")
    assert accepted["StatusCode"] == 202
    past = dict(FunctionName=name, Payload=event + " ", InvocationType="Event")
    refused(code, 413, client.invoke, **past)
    refused(
        "InvalidRequestContentException", 400, client.invoke, FunctionName=name, Payload="{no"
    )
    code = "InvalidParameterValueException"
    refused(code, 400, client.invoke, FunctionName=name, InvocationType="Sometimes")


def test_owner_asks_for_what_is_not_served():
    message = refused("NotImplementedException", 501, client.list_layers)
    assert "not served" in message


def test_instance_invokes_and_may_not_change_anything():
    answer, body = invoke("caller", {"from": "inside"})
    assert body == {"from": "inside"}
    answer, _ = invoke("caller", {}, InvocationType="Event")
    assert answer["StatusCode"] == 202
    denied = "AccessDeniedException"
    assert "function:caller" in refused(denied, 403, client.list_functions)
    for call in (
        client.get_function,
        client.get_function_configuration,
        client.delete_function,
        client.get_function_concurrency,
        client.delete_function_concurrency,
    ):
        refused(denied, 403, call, FunctionName="caller")
    reserve = dict(FunctionName="caller", ReservedConcurrentExecutions=1)
    refused(denied, 403, client.put_function_concurrency, **reserve)
    refused(denied, 403, client.update_function_configuration, FunctionName="caller", Timeout=9)
    code = dict(FunctionName="caller", ZipFile=archive())
    refused(denied, 403, client.update_function_code, **code)
    refused(denied, 403, create)


def test_inside_of_a_call_an_event_is_submitted():
    answer, _ = invoke("caller", {"from": "inside"}, InvocationType="Event")
    assert answer["StatusCode"] == 202
