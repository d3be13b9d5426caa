"""Versions of objects and what their changes wake, by boto3 and a real function."""

import json

import pytest
from botocore.exceptions import ClientError
from conftest import wait_for

MARKED = "s3:ObjectRemoved:DeleteMarkerCreated"
# It succeeds only if it is told of a delete marker as AWS tells it.
UNDERTAKER = """
def handler(event, context):
    [record] = event["Records"]
    gone = record["s3"]["object"]
    assert record["eventName"] == "ObjectRemoved:DeleteMarkerCreated", record
    assert gone["versionId"] and gone["sequencer"] and "size" not in gone, gone
    print("BURIED", gone["key"], gone["versionId"])
"""


def versions(s3, bucket):
    page = s3.list_object_versions(Bucket=bucket)
    entry = lambda one: (one["VersionId"], one["IsLatest"])
    return [[entry(one) for one in page.get(kind, [])] for kind in ("Versions", "DeleteMarkers")]


def test_a_delete_marker_wakes_its_function_and_outlives_a_kill(own_server):
    server = own_server
    server.create("undertaker", "python3.11", {"app.py": UNDERTAKER})
    s3, sqs = server.client("s3"), server.client("sqs")
    url = sqs.create_queue(QueueName="changes")["QueueUrl"]
    function = "arn:aws:lambda:us-east-1:000000000000:function:undertaker"
    queue = "arn:aws:sqs:us-east-1:000000000000:changes"
    everything = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    s3.create_bucket(Bucket="kept")
    status = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration=status)
    s3.put_bucket_notification_configuration(
        Bucket="kept",
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [
                {"Id": "marked", "LambdaFunctionArn": function, "Events": [MARKED]}
            ],
            "QueueConfigurations": [{"Id": "all", "QueueArn": queue, "Events": everything}],
        },
    )
    one = s3.put_object(Bucket="kept", Key="k", Body=b"one")["VersionId"]
    two = s3.put_object(Bucket="kept", Key="k", Body=b"two")["VersionId"]
    marker = s3.delete_object(Bucket="kept", Key="k")["VersionId"]
    s3.delete_object(Bucket="kept", Key="k", VersionId=one)

    def woken():
        found = server.control("events?limit=1000")["events"]
        found = [event for event in found if event["target"] == "function:undertaker"]
        return found if found and found[0]["state"] not in ("waiting", "leased") else None

    [event] = wait_for("the function's event", woken)
    assert (event["kind"], event["state"]) == (MARKED, "succeeded")

    server.kill()
    server.start()
    s3, sqs = server.client("s3"), server.client("sqs")
    assert versions(s3, "kept") == [[(two, False)], [(marker, True)]]
    with pytest.raises(ClientError) as gone:
        s3.get_object(Bucket="kept", Key="k")
    headers = gone.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker)
    assert s3.get_object(Bucket="kept", Key="k", VersionId=two)["Body"].read() == b"two"

    records = {}

    def all_told():
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        for message in found.get("Messages", []):
            [record] = json.loads(message["Body"])["Records"]
            changed = record["s3"]["object"]
            records[changed["sequencer"]] = (record["eventName"], changed["versionId"])
        return len(records) >= 4

    wait_for("all records", all_told)
    assert [records[at] for at in sorted(records)] == [
        ("ObjectCreated:Put", one),
        ("ObjectCreated:Put", two),
        ("ObjectRemoved:DeleteMarkerCreated", marker),
        ("ObjectRemoved:Delete", one),
    ]
    # The marker taken away, the object is there again.
    s3.delete_object(Bucket="kept", Key="k", VersionId=marker)
    assert s3.get_object(Bucket="kept", Key="k")["Body"].read() == b"two"
