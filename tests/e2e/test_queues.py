"""Queues by the clients that people use: boto3, the AWS CLI, the query protocol, and Celery."""

import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from conftest import REPO, Server, wait_for

ARN = "arn:aws:sqs:us-east-1:000000000000:"
NAMESPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"


@pytest.fixture
def sqs(server):
    return server.client("sqs")


def code_of(call, **arguments):
    """The code of the error that a call must end with."""
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"]


def make(sqs, name, **attributes):
    return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


def receive(sqs, url, count=10, wait=0, **options):
    answer = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=count, WaitTimeSeconds=wait, **options
    )
    return answer.get("Messages", [])


def bodies(sqs, url, **options):
    return [message["Body"] for message in receive(sqs, url, **options)]


def counts(sqs, url):
    names = ["", "NotVisible", "Delayed"]
    names = [f"ApproximateNumberOfMessages{name}" for name in names]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return [int(found[name]) for name in names]


def test_a_queue_has_the_attributes_that_it_was_made_with(sqs, server):
    url = make(sqs, "attributes", VisibilityTimeout="7", DelaySeconds="0")
    assert url == f"{server.url}/000000000000/attributes"
    assert make(sqs, "attributes", VisibilityTimeout="7") == url
    assert make(sqs, "attributes") == url
    assert code_of(make, sqs=sqs, name="attributes", VisibilityTimeout="8") == "QueueAlreadyExists"
    with pytest.raises(sqs.exceptions.QueueNameExists):
        make(sqs, "attributes", VisibilityTimeout="8")
    assert sqs.get_queue_url(QueueName="attributes")["QueueUrl"] == url
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert found["VisibilityTimeout"] == "7"
    assert found["QueueArn"] == ARN + "attributes"
    assert found["MaximumMessageSize"] == "1048576"
    assert found["MessageRetentionPeriod"] == "345600"
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "3", "Policy": "{}"})
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["DelaySeconds", "Policy"])
    assert found["Attributes"] == {"DelaySeconds": "3", "Policy": "{}"}
    refused = lambda **attributes: code_of(
        sqs.set_queue_attributes, QueueUrl=url, Attributes=attributes
    )
    assert refused(DelaySeconds="901") == "InvalidAttributeValue"
    assert refused(Colour="red") == "InvalidAttributeName"
    assert refused(FifoQueue="true") == "InvalidAttributeName"
    assert code_of(sqs.create_queue, QueueName="a.b") == "InvalidParameterValue"
    assert code_of(sqs.create_queue, QueueName="a.fifo") == "InvalidParameterValue"
    missing = url + "x"
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_attributes(QueueUrl=missing, AttributeNames=["All"])
    assert (
        code_of(sqs.send_message, QueueUrl=missing, MessageBody="x")
        == "AWS.SimpleQueueService.NonExistentQueue"
    )
    assert (
        code_of(
            sqs.add_permission, QueueUrl=url, Label="l", AWSAccountIds=["1"], Actions=["SendMessage"]
        )
        == "AWS.SimpleQueueService.UnsupportedOperation"
    )


def test_queues_are_listed_in_pages_tagged_and_deleted(sqs):
    for number in range(5):
        make(sqs, f"page-{number}")
    pages = sqs.get_paginator("list_queues").paginate(
        QueueNamePrefix="page-", PaginationConfig={"PageSize": 2}
    )
    pages = [page["QueueUrls"] for page in pages if "QueueUrls" in page]
    assert [len(page) for page in pages] == [2, 2, 1]
    url = pages[0][0]
    sqs.tag_queue(QueueUrl=url, Tags={"team": "photos", "cost": "1"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["cost"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "photos"}
    sqs.delete_queue(QueueUrl=url)
    assert len(sqs.list_queues(QueueNamePrefix="page-")["QueueUrls"]) == 4
    assert code_of(sqs.purge_queue, QueueUrl=url).endswith("NonExistentQueue")


def test_a_message_comes_back_until_it_is_deleted(sqs):
    url = make(sqs, "life")
    attributes = {
        "kind": {"DataType": "String", "StringValue": "jpeg ü"},
        "size.small": {"DataType": "Number.int", "StringValue": "12"},
        "size.raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
    # boto3 itself compares the digests of body and attributes.
    sent = sqs.send_message(
        QueueUrl=url,
        MessageBody="Grüße <&>\r\n",
        MessageAttributes=attributes,
        MessageSystemAttributes=trace,
    )
    assert sent["MD5OfMessageSystemAttributes"]
    [first] = receive(
        sqs, url, MessageSystemAttributeNames=["All"], MessageAttributeNames=["size.*"], VisibilityTimeout=1
    )
    assert first["Body"] == "Grüße <&>\r\n"
    assert first["MessageId"] == sent["MessageId"]
    assert first["Attributes"]["ApproximateReceiveCount"] == "1"
    assert first["Attributes"]["SenderId"] == "root"
    assert first["Attributes"]["AWSTraceHeader"].startswith("Root=")
    assert set(first["MessageAttributes"]) == {"size.small", "size.raw"}
    assert first["MessageAttributes"]["size.raw"]["BinaryValue"] == b"\x00\xff"
    assert counts(sqs, url) == [0, 1, 0]
    assert receive(sqs, url) == []
    [second] = receive(sqs, url, wait=10, AttributeNames=["All"], MessageAttributeNames=["All"])
    assert second["ReceiptHandle"] != first["ReceiptHandle"]
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"
    assert second["MessageAttributes"] == attributes
    # An older handle deletes nothing, the last one does.
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    assert counts(sqs, url) == [0, 1, 0]
    sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=second["ReceiptHandle"], VisibilityTimeout=0
    )
    [third] = receive(sqs, url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=third["ReceiptHandle"])
    sqs.delete_message(QueueUrl=url, ReceiptHandle=third["ReceiptHandle"])
    assert counts(sqs, url) == [0, 0, 0]
    refused = lambda handle: code_of(
        sqs.change_message_visibility, QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=9
    )
    assert refused(third["ReceiptHandle"]) == "InvalidParameterValue"
    assert refused("nonsense") == "ReceiptHandleIsInvalid"


def test_messages_are_bounded(sqs):
    url = make(sqs, "bounds", MaximumMessageSize="2048")
    send = lambda **arguments: code_of(sqs.send_message, QueueUrl=url, **arguments)
    assert send(MessageBody="x" * 2049) == "InvalidParameterValue"
    assert send(MessageBody="a\u0001b") == "InvalidMessageContents"
    assert send(MessageBody="") == "InvalidParameterValue"
    assert send(MessageBody="x", DelaySeconds=901) == "InvalidParameterValue"
    many = {f"a{n}": {"DataType": "String", "StringValue": "x"} for n in range(11)}
    assert send(MessageBody="x", MessageAttributes=many) == "InvalidParameterValue"
    sqs.send_message(QueueUrl=url, MessageBody="x" * 2048)
    large = make(sqs, "large")
    sqs.send_message(QueueUrl=large, MessageBody="\\" * 1024 * 1024)
    assert [len(body) for body in bodies(sqs, large)] == [1024 * 1024]
    entry = lambda n, size: {"Id": f"i{n}", "MessageBody": "x" * size}
    batch = lambda entries: code_of(sqs.send_message_batch, QueueUrl=large, Entries=entries)
    prefix = "AWS.SimpleQueueService."
    assert batch([entry(n, 110_000) for n in range(10)]) == prefix + "BatchRequestTooLong"
    assert batch([entry(n, 1) for n in range(11)]) == prefix + "TooManyEntriesInBatchRequest"
    assert batch([entry(1, 1), entry(1, 1)]) == prefix + "BatchEntryIdsNotDistinct"
    assert batch([]) == prefix + "EmptyBatchRequest"
    assert code_of(sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=11) == "InvalidParameterValue"


def test_batches_do_what_they_can(sqs):
    url = make(sqs, "batches")
    answer = sqs.send_message_batch(
        QueueUrl=url,
        Entries=[
            {"Id": "good", "MessageBody": "a"},
            {"Id": "bad", "MessageBody": "\u0002"},
            {"Id": "late", "MessageBody": "b", "DelaySeconds": 600},
        ],
    )
    assert {entry["Id"] for entry in answer["Successful"]} == {"good", "late"}
    [failed] = answer["Failed"]
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("bad", "InvalidMessageContents", True)
    assert counts(sqs, url) == [1, 0, 1]
    [message] = receive(sqs, url)
    handles = [message["ReceiptHandle"], "nonsense"]
    answer = sqs.change_message_visibility_batch(
        QueueUrl=url,
        Entries=[
            {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": 60}
            for n, handle in enumerate(handles)
        ],
    )
    assert [entry["Id"] for entry in answer["Successful"]] == ["0"]
    assert answer["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
    entries = [{"Id": str(n), "ReceiptHandle": handle} for n, handle in enumerate(handles)]
    answer = sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    assert [entry["Id"] for entry in answer["Successful"]] == ["0"]
    sqs.purge_queue(QueueUrl=url)
    assert counts(sqs, url) == [0, 0, 0]


def test_a_long_poll_is_woken_by_a_message(sqs, server):
    url = make(sqs, "poll")
    got = []
    pollers = [
        threading.Thread(target=lambda: got.extend(bodies(server.client("sqs"), url, count=1, wait=20)))
        for _ in range(5)
    ]
    for poller in pollers:
        poller.start()
    for number in range(5):
        time.sleep(0.05)
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    for poller in pollers:
        poller.join(60)
    assert sorted(got) == ["0", "1", "2", "3", "4"]
    # A delay that ends wakes too.
    sqs.send_message(QueueUrl=url, MessageBody="late", DelaySeconds=1)
    assert bodies(sqs, url) == []
    assert bodies(sqs, url, wait=20) == ["late"]


def test_a_fifo_queue_keeps_each_groups_order_and_takes_nothing_twice(sqs):
    url = make(sqs, "line.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    send = lambda body, group, **more: sqs.send_message(
        QueueUrl=url, MessageBody=body, MessageGroupId=group, **more
    )
    assert code_of(sqs.send_message, QueueUrl=url, MessageBody="x") == "MissingParameter"
    first = send("a1", "a")
    again = send("a1", "a")
    assert (first["MessageId"], first["SequenceNumber"]) == (again["MessageId"], again["SequenceNumber"])
    send("a2", "a", MessageDeduplicationId="other")
    send("b1", "b")
    assert int(first["SequenceNumber"]) > 0
    got = receive(sqs, url, count=1, AttributeNames=["All"])
    assert [message["Body"] for message in got] == ["a1"]
    assert got[0]["Attributes"]["MessageGroupId"] == "a"
    # Of the group only what comes after the one in flight waits.
    assert bodies(sqs, url, VisibilityTimeout=60) == ["b1"]
    assert bodies(sqs, url) == []
    sqs.delete_message(QueueUrl=url, ReceiptHandle=got[0]["ReceiptHandle"])
    assert bodies(sqs, url) == ["a2"]
    plain = make(sqs, "plain.fifo", FifoQueue="true")
    assert (
        code_of(sqs.send_message, QueueUrl=plain, MessageBody="x", MessageGroupId="g")
        == "InvalidParameterValue"
    )


def test_what_fails_too_often_is_a_dead_letter_and_goes_back_on_demand(sqs):
    dead = make(sqs, "dead")
    policy = lambda target: json.dumps({"deadLetterTargetArn": ARN + target, "maxReceiveCount": "2"})
    assert code_of(make, sqs=sqs, name="work", RedrivePolicy=policy("nowhere")) == "InvalidParameterValue"
    url = make(sqs, "work", RedrivePolicy=policy("dead"))
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    for _ in range(2):
        assert bodies(sqs, url, VisibilityTimeout=0) == ["poison"]
    assert bodies(sqs, url) == []
    [letter] = receive(sqs, dead, VisibilityTimeout=0, AttributeNames=["All"])
    assert letter["Attributes"]["DeadLetterQueueSourceArn"] == ARN + "work"
    task = sqs.start_message_move_task(SourceArn=ARN + "dead")["TaskHandle"]
    assert task
    latest = lambda: sqs.list_message_move_tasks(SourceArn=ARN + "dead")["Results"][0]
    done = wait_for("the move", lambda: (t := latest())["Status"] == "COMPLETED" and t)
    assert done["ApproximateNumberOfMessagesMoved"] == 1
    assert bodies(sqs, url) == ["poison"]
    assert code_of(sqs.start_message_move_task, SourceArn=ARN + "work") == "InvalidParameterValue"
    assert code_of(sqs.cancel_message_move_task, TaskHandle=task) == "ResourceNotFoundException"


def test_messages_outlive_kill_9(own_server):
    sqs = own_server.client("sqs")
    url = make(sqs, "durable")
    for number in range(20):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    [taken] = receive(sqs, url, count=1, VisibilityTimeout=600)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=taken["ReceiptHandle"])
    own_server.kill()
    own_server.start()
    assert counts(sqs, url) == [19, 0, 0]
    left = bodies(sqs, url) + bodies(sqs, url)
    assert sorted(left + [taken["Body"]], key=int) == [str(number) for number in range(20)]


class Sender(threading.Thread):
    """Sends and deletes without a pause, and writes down what was answered."""

    def __init__(self, server, url, numbers, sent, asked, deleted):
        super().__init__(daemon=True)
        self.client = server.client("sqs", timeout=5)
        self.url, self.numbers, self.sent = url, numbers, sent
        # A deletion that was not answered may have been done.
        self.asked, self.deleted = asked, deleted
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                body = str(next(self.numbers))
                self.client.send_message(QueueUrl=self.url, MessageBody=body)
                self.sent.append(body)
                if int(body) % 3 == 0:
                    [message] = receive(self.client, self.url, count=1, VisibilityTimeout=1)
                    self.asked.append(message["Body"])
                    self.client.delete_message(
                        QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"]
                    )
                    self.deleted.append(message["Body"])
            except Exception:  # the server is dead or dying: not answered, not in the ledger
                time.sleep(0.02)


def test_what_was_answered_is_kept_and_what_was_deleted_stays_away_after_kills(own_server):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    sqs = own_server.client("sqs")
    url = make(sqs, "ledger")
    numbers, sent, asked, deleted = itertools.count(), [], [], []
    for _ in range(10):
        senders = [Sender(own_server, url, numbers, sent, asked, deleted) for _ in range(3)]
        for sender in senders:
            sender.start()
        time.sleep(moments.uniform(0.1, 0.8))
        own_server.kill()
        for sender in senders:
            sender.over.set()
            sender.join()
        own_server.start()
    assert len(sent) > 30 and deleted, "too little was sent for the kills to mean anything"
    time.sleep(1.1)
    left = []
    while batch := receive(sqs, url, VisibilityTimeout=600):
        left += [message["Body"] for message in batch]
    assert len(left) == len(set(left)), "none is there twice"
    assert set(sent) - set(asked) <= set(left), "none is lost"
    assert not set(deleted) & set(left), "none comes back"
    assert counts(sqs, url) == [0, len(left), 0]


def signed_query(server, path="/", method="POST", secret=None, **parameters):
    """A call of the query protocol, signed by botocore; gives status and parsed XML."""
    root = server.root
    form = urllib.parse.urlencode({"Version": "2012-11-05", **parameters})
    url = f"{server.url}{path}" + (f"?{form}" if method == "GET" else "")
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if method == "POST" else {}
    request = AWSRequest(method, url, headers=headers, data=form if method == "POST" else None)
    keys = Credentials(root["access_key_id"], secret or root["secret_access_key"])
    SigV4Auth(keys, "sqs", "us-east-1").add_auth(request)
    body = form.encode() if method == "POST" else None
    plain = urllib.request.Request(url, data=body, method=method, headers=dict(request.headers))
    try:
        with urllib.request.urlopen(plain, timeout=60) as answer:
            return answer.status, ElementTree.fromstring(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, ElementTree.fromstring(error.read())


def test_the_query_protocol_says_the_same_in_xml(server, sqs):
    text = lambda tree, name: tree.findtext(f".//{NAMESPACE}{name}")
    status, made = signed_query(
        server,
        Action="CreateQueue",
        QueueName="query",
        **{"Attribute.1.Name": "VisibilityTimeout", "Attribute.1.Value": "5"},
    )
    assert status == 200
    assert made.tag == NAMESPACE + "CreateQueueResponse"
    url = text(made, "QueueUrl")
    assert text(made, "RequestId")
    path = urllib.parse.urlparse(url).path
    status, sent = signed_query(
        server,
        path,
        Action="SendMessage",
        MessageBody="a <&> ü + b",
        **{
            "MessageAttribute.1.Name": "n",
            "MessageAttribute.1.Value.DataType": "String",
            "MessageAttribute.1.Value.StringValue": "v",
        },
    )
    assert status == 200 and text(sent, "MD5OfMessageAttributes")
    status, got = signed_query(
        server,
        path,
        "GET",
        Action="ReceiveMessage",
        **{"AttributeName.1": "All", "MessageAttributeName.1": "All"},
    )
    assert status == 200 and text(got, "Body") == "a <&> ü + b"
    assert text(got, "MD5OfBody") == text(sent, "MD5OfMessageBody")
    assert text(got, "StringValue") == "v"
    status, done = signed_query(
        server,
        Action="DeleteMessageBatch",
        QueueUrl=url,
        **{
            "DeleteMessageBatchRequestEntry.1.Id": "one",
            "DeleteMessageBatchRequestEntry.1.ReceiptHandle": text(got, "ReceiptHandle"),
        },
    )
    entry = done.find(f".//{NAMESPACE}DeleteMessageBatchResultEntry")
    assert status == 200 and entry.findtext(f"{NAMESPACE}Id") == "one"
    assert counts(sqs, url) == [0, 0, 0]
    status, found = signed_query(server, Action="GetQueueAttributes", QueueUrl=url, **{"AttributeName.1": "All"})
    pairs = {
        pair.findtext(f"{NAMESPACE}Name"): pair.findtext(f"{NAMESPACE}Value")
        for pair in found.iter(f"{NAMESPACE}Attribute")
    }
    assert status == 200 and pairs["VisibilityTimeout"] == "5"
    status, error = signed_query(server, Action="SendMessage", QueueUrl=url + "x", MessageBody="x")
    assert (status, text(error, "Code")) == (400, "AWS.SimpleQueueService.NonExistentQueue")
    assert text(error, "Type") == "Sender"
    status, error = signed_query(server, Action="Dance")
    assert (status, text(error, "Code")) == (400, "InvalidAction")
    status, error = signed_query(server, secret="x" * 40, Action="ListQueues")
    assert (status, text(error, "Code")) == (403, "SignatureDoesNotMatch")


def test_the_aws_cli_sends_and_receives(server):
    # Version 1 of the CLI has a table of its own for SQS, which only this option is stronger than.
    options = ["--endpoint-url", server.url, "--output", "json"]
    aws = lambda *words, **more: server.aws("sqs", *words, *options, **more)
    url = json.loads(aws("create-queue", "--queue-name", "cli").stdout)["QueueUrl"]
    aws("send-message", "--queue-url", url, "--message-body", "from the shell")
    got = aws("receive-message", "--queue-url", url, "--wait-time-seconds", "5").stdout
    [message] = json.loads(got)["Messages"]
    assert message["Body"] == "from the shell"
    aws("delete-message", "--queue-url", url, "--receipt-handle", message["ReceiptHandle"])
    aws("delete-queue", "--queue-url", url)
    failed = aws("get-queue-url", "--queue-name", "cli", check=False)
    assert "NonExistentQueue" in failed.stderr


def test_an_object_that_is_stored_puts_a_message_into_a_queue(server, sqs):
    url = make(sqs, "photos")
    s3 = server.client("s3")
    s3.create_bucket(Bucket="queued")
    rule = lambda name: {
        "QueueConfigurations": [
            {
                "Id": "arrivals",
                "QueueArn": ARN + name,
                "Events": ["s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": [{"Name": "suffix", "Value": ".jpg"}]}},
            }
        ]
    }
    put = lambda name: s3.put_bucket_notification_configuration(
        Bucket="queued", NotificationConfiguration=rule(name)
    )
    assert code_of(lambda: put("nowhere")) == "InvalidArgument"
    put("photos")
    found = s3.get_bucket_notification_configuration(Bucket="queued")
    assert found["QueueConfigurations"] == rule("photos")["QueueConfigurations"]
    s3.put_object(Bucket="queued", Key="a b.jpg", Body=b"x")
    s3.put_object(Bucket="queued", Key="a.txt", Body=b"x")
    [message] = receive(sqs, url, wait=20)
    [record] = json.loads(message["Body"])["Records"]
    assert record["s3"]["object"]["key"] == "a+b.jpg"
    assert record["eventName"] == "ObjectCreated:Put"
    events = lambda: server.control("events?target=queue:photos")["events"]
    ended = wait_for("the event's end", lambda: (e := events()) and e[0]["state"] == "succeeded" and e)
    assert len(ended) == 1 and ended[0]["id"] == message["MessageId"]
    assert receive(sqs, url) == []


REFUSER = """
import json

def handler(event, context):
    for record in event["Records"]:
        assert record["eventSource"] == "aws:sqs", record
        print(record["body"], record["attributes"]["ApproximateReceiveCount"])
    bad = [record for record in event["Records"] if record["body"].startswith("bad")]
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in bad]}
"""


def dead_letters(name, most):
    return json.dumps({"deadLetterTargetArn": ARN + name, "maxReceiveCount": most})


def test_a_mapping_gives_messages_to_a_function_and_keeps_those_that_fail(server, sqs):
    dead = make(sqs, "refused")
    url = make(sqs, "mapped", VisibilityTimeout="0", RedrivePolicy=dead_letters("refused", 2))
    server.create("refuser", "python3.11", {"app.py": REFUSER})
    client = server.client("lambda")
    create = lambda **more: client.create_event_source_mapping(
        EventSourceArn=ARN + "mapped", FunctionName="refuser", **more
    )
    assert code_of(create, BatchSize=11) == "InvalidParameterValueException"
    criteria = lambda pattern: {"Filters": [{"Pattern": json.dumps(pattern)}]}
    assert code_of(create, FilterCriteria=criteria({})) == "InvalidParameterValueException"
    made = create(
        BatchSize=5,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        ScalingConfig={"MaximumConcurrency": 2},
        FilterCriteria=criteria({"body": [{"anything-but": {"prefix": "bad-0"}}]}),
    )
    assert (made["State"], made["BatchSize"]) == ("Enabled", 5)
    assert "bad-0" in made["FilterCriteria"]["Filters"][0]["Pattern"]
    assert code_of(create) == "ResourceConflictException"
    names = [f"{kind}-{number}" for number in range(10) for kind in ("good", "bad")]
    for name in names:
        sqs.send_message(QueueUrl=url, MessageBody=name)
    wait_for("the refused ones", lambda: counts(sqs, dead) == [9, 0, 0])
    wait_for("the others", lambda: counts(sqs, url) == [0, 0, 0])
    refused = bodies(sqs, dead)
    assert all(body.startswith("bad") for body in refused) and "bad-0" not in refused
    listed = client.list_event_source_mappings(FunctionName="refuser")["EventSourceMappings"]
    assert [(one["UUID"], one["LastProcessingResult"]) for one in listed] == [(made["UUID"], "OK")]
    changed = client.update_event_source_mapping(UUID=made["UUID"], Enabled=False, BatchSize=1)
    assert (changed["State"], changed["BatchSize"]) == ("Disabled", 1)
    assert client.get_event_source_mapping(UUID=made["UUID"])["BatchSize"] == 1
    assert client.delete_event_source_mapping(UUID=made["UUID"])["State"] == "Deleting"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_event_source_mapping(UUID=made["UUID"])


ECHOER = """
import boto3
def handler(event, context):
    sqs = boto3.client("sqs")
    for record in event["Records"]:
        url = sqs.get_queue_url(QueueName="round")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=record["body"] + "+")
"""


def test_a_function_that_wakes_itself_over_a_queue_is_cut(tmp_path):
    packages = REPO / "examples/shop/thumbnail-py/packages"
    if not packages.exists():
        pytest.exit(f"{packages} is missing: run ./test, which installs it", 2)
    server = Server(tmp_path / "data", ["--max-depth", "3"]).start()
    try:
        files = {"app.py": ECHOER, "six.py": (packages / "six.py").read_bytes()}
        for package in ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3"):
            for file in (packages / package).rglob("*"):
                # Of the services' descriptions only what is used: the zip stays small.
                used = "/data/" not in str(file) or "/data/sqs/" in str(file) or file.parent.name == "data"
                if file.is_file() and file.suffix != ".pyc" and used:
                    files[str(file.relative_to(packages))] = file.read_bytes()
        server.create("echoer", "python3.11", files, Timeout=30)
        sqs = server.client("sqs")
        dead = make(sqs, "cut")
        url = make(sqs, "round", RedrivePolicy=dead_letters("cut", 9))
        server.client("lambda").create_event_source_mapping(EventSourceArn=ARN + "round", FunctionName="echoer")
        sqs.send_message(QueueUrl=url, MessageBody="a")
        wait_for("the end of the loop", lambda: counts(sqs, dead) == [1, 0, 0], timeout=120)
        # The first is worked on and what it causes down to the depth of 3, which is four calls.
        assert bodies(sqs, dead) == ["a++++"]
        wait_for("the last batch", lambda: counts(sqs, url) == [0, 0, 0])
        listed = lambda: server.control("runs?target=function:echoer&limit=10")
        wait_for("its record", lambda: len(listed()) == 5)
        runs = sorted(listed(), key=lambda run: run["ending"])
        assert [run["ending"] for run in runs] == ["cut"] + ["succeeded"] * 4
        assert "is 5 of a chain" in runs[0]["error"]
    finally:
        server.stop()


MANIFEST = """
x-rouse:
  queues:
    orders: {visibility: 1s, dead_letter: {queue: unwanted, max_receives: 1}}
    unwanted: {}
  buckets:
    arrivals: {notify: [{queue: unwanted}]}
services:
  clerk:
    build: ./clerk
    x-rouse:
      runtime: python3.11
      handler: app.handler
      triggers: [{queue: orders, batch: 10, report_failures: true}]
"""


def test_a_manifest_declares_queues_and_who_reads_them(server, sqs, tmp_path):
    (tmp_path / "clerk").mkdir()
    (tmp_path / "clerk/app.py").write_text(REFUSER)
    server.deploy(tmp_path, MANIFEST)
    url = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
    unwanted = sqs.get_queue_url(QueueName="unwanted")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="bad order")
    sqs.send_message(QueueUrl=url, MessageBody="good order")
    assert bodies(sqs, unwanted, wait=20) == ["bad order"]
    listed = {queue["name"]: queue for queue in server.rouse_json("ls")["queues"]}
    assert listed["orders"]["attributes"]["redrive"]["dead_letter"] == "unwanted"
    assert listed["unwanted"]["in_flight"] == 1
    assert "unwanted" in server.rouse("ls").stdout
    wait_for("the good one", lambda: counts(sqs, url) == [0, 0, 0])
    server.client("s3").put_object(Bucket="arrivals", Key="a", Body=b"x")
    [message] = receive(sqs, unwanted, wait=20)
    assert json.loads(message["Body"])["Records"][0]["s3"]["object"]["key"] == "a"
    again = server.deploy(tmp_path, MANIFEST)
    assert "unchanged" in again.stdout + again.stderr
    mappings = lambda: server.client("lambda").list_event_source_mappings(FunctionName="clerk")
    assert len(mappings()["EventSourceMappings"]) == 1
    trigger = "triggers: [{queue: orders, batch: 10, report_failures: true}]"
    server.deploy(tmp_path, MANIFEST.replace(trigger, "description: rests"))
    assert mappings()["EventSourceMappings"] == []


def test_a_mapping_loses_nothing_when_the_server_is_killed(own_server):
    server = own_server
    sqs = server.client("sqs")
    dead = make(sqs, "refused")
    url = make(sqs, "mapped", VisibilityTimeout="0", RedrivePolicy=dead_letters("refused", 3))
    server.create("refuser", "python3.11", {"app.py": REFUSER}, Timeout=1)
    server.client("lambda").create_event_source_mapping(
        EventSourceArn=ARN + "mapped",
        FunctionName="refuser",
        BatchSize=3,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    ledger = []
    for number in range(60):
        sqs.send_message(QueueUrl=url, MessageBody=f"bad-{number}")
        ledger.append(f"bad-{number}")
        if number % 20 == 19:
            server.kill()
            server.start()
    wait_for("all of them", lambda: counts(sqs, dead) == [60, 0, 0], timeout=120, interval=0.5)
    assert counts(sqs, url) == [0, 0, 0]
    found = []
    while batch := bodies(sqs, dead):
        found += batch
    assert sorted(found) == sorted(ledger)


CELERY = """
import os
from celery import Celery
from kombu.utils.url import safequote

keys = [safequote(os.environ[name]) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
address = os.environ["AWS_ENDPOINT_URL"].split("://")[1]
app = Celery("photos", broker="sqs://%s:%s@%s/" % (*keys, address))
app.conf.broker_transport_options = {
    "region": "us-east-1",
    "is_secure": False,
    "wait_time_seconds": 5,
    "queue_name_prefix": "celery-",
}
app.conf.broker_connection_retry_on_startup = True


@app.task
def resize(name, size):
    with open(os.environ["OUTPUT"], "a") as out:
        out.write(f"{name} {size}\\n")
"""


def test_a_celery_worker_runs_a_task(server, sqs, tmp_path):
    (tmp_path / "photos.py").write_text(CELERY)
    output = tmp_path / "output"
    environment = {**server.environment(), "OUTPUT": str(output), "PYTHONPATH": str(tmp_path)}
    log = open(tmp_path / "worker.log", "wb")
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "photos", "worker", "--pool", "solo", "-l", "INFO"],
        cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
    )
    try:
        send = "import photos; photos.resize.delay('grüße.jpg', 256)"
        server.run(sys.executable, "-c", send, env=environment, cwd=tmp_path)
        said = lambda: output.exists() and output.read_text()
        try:
            found = wait_for("the task", said)
        except pytest.fail.Exception:
            pytest.fail((tmp_path / "worker.log").read_text())
        assert found == "grüße.jpg 256\n"
        url = sqs.get_queue_url(QueueName="celery-celery")["QueueUrl"]
        wait_for("the task's message to be deleted", lambda: counts(sqs, url) == [0, 0, 0])
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        log.close()
