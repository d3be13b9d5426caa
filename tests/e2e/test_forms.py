"""Uploads by an HTML form: policies of boto3, sent as a browser sends them."""

import base64
import datetime
import hashlib
import hmac
import json
import uuid
import xml.etree.ElementTree as xml

import boto3
import pytest
from botocore.config import Config
from conftest import wait_for
from urllib3 import PoolManager, encode_multipart_formdata

ACCOUNT = "000000000000"
POOL = PoolManager(retries=False)


@pytest.fixture(scope="module", params=["s3", "s3v4"])
def s3(server, request):
    root = server.root
    return boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=root["access_key_id"],
        aws_secret_access_key=root["secret_access_key"],
        config=Config(signature_version=request.param),
    )


@pytest.fixture
def bucket(server):
    name = f"forms-{uuid.uuid4().hex[:12]}"
    server.client("s3").create_bucket(Bucket=name)
    return name


def send(form, content, name="photo.jpg", **changed):
    fields = list({**form["fields"], **changed}.items())
    body, kind = encode_multipart_formdata(fields + [("file", (name, content, "image/jpeg"))])
    return POOL.request(
        "POST", form["url"], body=body, headers={"Content-Type": kind}, redirect=False
    )


def refused(answer):
    return answer.status, xml.fromstring(answer.data).findtext("Code")


def keys(server, bucket):
    found = server.client("s3").list_objects_v2(Bucket=bucket)
    return [entry["Key"] for entry in found.get("Contents", [])]


def test_a_form_stores_its_file_and_wakes_who_waits_for_posts(server, s3, bucket):
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName=bucket)["QueueUrl"]
    queue = {
        "QueueArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{bucket}",
        "Events": ["s3:ObjectCreated:Post"],
    }
    server.client("s3").put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [queue]}
    )
    server.client("s3").put_object(Bucket=bucket, Key="by-put", Body=b"x")
    form = s3.generate_presigned_post(
        bucket,
        "in/${filename}",
        Fields={"Content-Type": "image/jpeg", "x-amz-meta-who": "Ünal"},
        Conditions=[
            ["starts-with", "$Content-Type", "image/"],
            ["starts-with", "$x-amz-meta-who", ""],
            ["content-length-range", 1, 10_000_000],
        ],
    )
    content = b"\r\n--photo--\r\n" * 200_000
    answer = send(form, content, name="C:\\photos\\a b.jpg")
    assert answer.status == 204, answer.data
    tag = hashlib.md5(content).hexdigest()
    assert answer.headers["ETag"] == f'"{tag}"'
    assert answer.headers["Location"] == f"{server.url}/{bucket}/in/a%20b.jpg"

    stored = server.client("s3").get_object(Bucket=bucket, Key="in/a b.jpg")
    assert stored["Body"].read() == content
    assert stored["ContentType"] == "image/jpeg"

    def look():
        found = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)
        return [json.loads(message["Body"]) for message in found.get("Messages", [])]

    told = wait_for("the event of the form", look)
    [record] = told[0]["Records"]
    assert record["eventName"] == "ObjectCreated:Post"
    assert record["s3"]["object"]["key"] == "in/a+b.jpg"
    assert record["s3"]["object"]["size"] == len(content)


def test_a_form_is_answered_as_it_wishes(server, s3, bucket):
    for status, expected in [("200", 200), ("201", 201), ("204", 204), ("500", 204)]:
        wish = {"success_action_status": status}
        form = s3.generate_presigned_post(bucket, "k<&", Fields=wish, Conditions=[wish])
        answer = send(form, b"x")
        assert answer.status == expected
        if expected == 201:
            said = {part.tag: part.text for part in xml.fromstring(answer.data)}
            assert said["Bucket"] == bucket and said["Key"] == "k<&"
            assert said["ETag"] == answer.headers["ETag"]
            assert said["Location"] == answer.headers["Location"]
    for address, expected in [
        ("https://shop.example/done?a=b", 303),
        ("javascript:alert(1)", 204),
    ]:
        wish = {"success_action_redirect": address}
        form = s3.generate_presigned_post(bucket, "a b", Fields=wish, Conditions=[wish])
        answer = send(form, b"x")
        assert answer.status == expected
        if expected == 303:
            tag = hashlib.md5(b"x").hexdigest()
            end = f"&bucket={bucket}&key=a%20b&etag=%22{tag}%22"
            assert answer.headers["Location"] == address + end


def test_what_the_policy_does_not_allow_is_refused(server, s3, bucket):
    other = f"{bucket}-other"
    server.client("s3").create_bucket(Bucket=other)
    form = s3.generate_presigned_post(
        bucket, "in/${filename}", Conditions=[["content-length-range", 2, 1000]]
    )
    assert refused(send(form, b"xx", key="out/a")) == (403, "AccessDenied")
    assert refused(send(form, b"xx", acl="private")) == (403, "AccessDenied")
    assert refused(send(form, b"xx", bucket=other)) == (403, "AccessDenied")
    elsewhere = {**form, "url": f"{server.url}/{other}"}
    assert refused(send(elsewhere, b"xx")) == (403, "AccessDenied")
    assert refused(send(form, b"x" * 1001)) == (400, "EntityTooLarge")
    assert refused(send(form, b"x" * 100_000)) == (400, "EntityTooLarge")
    assert refused(send(form, b"x")) == (400, "EntityTooSmall")
    none = {**form, "url": f"{server.url}/{bucket}-none"}
    assert refused(send(none, b"xx")) == (403, "AccessDenied")
    assert keys(server, bucket) == keys(server, other) == []
    assert send(form, b"xx").status == 204


def test_a_form_whose_policy_was_not_signed_so_is_refused(server, s3, bucket):
    form = s3.generate_presigned_post(bucket, "k")
    fields = form["fields"]
    signature = "x-amz-signature" if "x-amz-signature" in fields else "signature"
    forged = json.loads(base64.b64decode(fields["policy"]))
    forged["conditions"] = [["starts-with", "$key", ""]]
    forged = base64.b64encode(json.dumps(forged).encode()).decode()
    assert refused(send(form, b"x", policy=forged)) == (403, "SignatureDoesNotMatch")
    wrong = "00" * 32 if signature == "x-amz-signature" else base64.b64encode(b"0" * 20).decode()
    assert refused(send(form, b"x", **{signature: wrong})) == (403, "SignatureDoesNotMatch")
    unsigned = {k: v for k, v in fields.items() if k == "key"}
    assert refused(send({**form, "fields": unsigned}, b"x")) == (403, "AccessDenied")
    stranger = {k: v.replace(server.root["access_key_id"], "AKIASTRANGER") for k, v in fields.items()}
    assert refused(send({**form, "fields": stranger}, b"x")) == (403, "InvalidAccessKeyId")
    assert keys(server, bucket) == []


def signed_here(server, bucket, life):
    """A form of Version 2 with an expiration that boto3 would not make."""
    end = datetime.datetime.now(datetime.timezone.utc) + life
    policy = {
        "expiration": end.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "conditions": [{"bucket": bucket}, {"key": "k"}],
    }
    policy = base64.b64encode(json.dumps(policy).encode())
    secret = server.root["secret_access_key"].encode()
    signature = base64.b64encode(hmac.digest(secret, policy, "sha1")).decode()
    fields = {
        "key": "k",
        "AWSAccessKeyId": server.root["access_key_id"],
        "policy": policy.decode(),
        "signature": signature,
    }
    return {"url": f"{server.url}/{bucket}", "fields": fields}


def test_a_form_lives_as_long_as_its_policy(server, bucket):
    for life in [{"seconds": -1}, {"days": -400}, {"days": 8}]:
        form = signed_here(server, bucket, datetime.timedelta(**life))
        assert refused(send(form, b"x")) == (403, "AccessDenied"), life
    assert keys(server, bucket) == []
    for life in [{"hours": 1}, {"days": 7}]:
        form = signed_here(server, bucket, datetime.timedelta(**life))
        assert send(form, b"x").status == 204, life


def test_a_form_that_is_none_is_refused(server, s3, bucket):
    form = s3.generate_presigned_post(bucket, "k")

    def posted(body, kind="multipart/form-data; boundary=b"):
        answer = POOL.request("POST", form["url"], body=body, headers={"Content-Type": kind})
        return refused(answer)

    assert posted(b"no form") == (400, "MalformedPOSTRequest")
    assert posted(b"--b--", kind="multipart/form-data") == (400, "MalformedPOSTRequest")
    assert posted(b"--b--\r\n") == (400, "IncorrectNumberOfFilesInPostRequest")
    huge = {**form, "fields": {**form["fields"], "x-ignore-a": "x" * 30_000}}
    assert refused(send(huge, b"x")) == (400, "MaxPostPreDataLengthExceededError")
    fields = list(form["fields"].items()) + [("file", ("a", b"x" * 5000, "image/jpeg"))]
    body, kind = encode_multipart_formdata(fields)
    assert posted(body[:-2000], kind)[0] == 400
    assert keys(server, bucket) == []
