"""Bucket notifications by boto3. There are a function `thumbnail` and a service `catalog`."""

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:thumbnail"
SERVICE = "arn:rouse:service:us-east-1:000000000000:catalog/events"
s3 = boto3.client("s3", config=Config(retries={"max_attempts": 1}))


def put(**configuration):
    s3.put_bucket_notification_configuration(
        Bucket="photos", NotificationConfiguration=configuration
    )


def get():
    answer = s3.get_bucket_notification_configuration(Bucket="photos")
    del answer["ResponseMetadata"]
    return answer


def function(arn=FUNCTION, **more):
    return {"Id": "one", "LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"], **more}


def refused(code, **configuration):
    with pytest.raises(ClientError) as caught:
        put(**configuration)
    assert caught.value.response["Error"]["Code"] == code
    return caught.value.response["Error"]["Message"]


def test_it_comes_back_as_it_was_set():
    s3.create_bucket(Bucket="photos")
    assert get() == {}
    rules = [{"Name": "prefix", "Value": "in/"}, {"Name": "suffix", "Value": ".jpg"}]
    functions = [function(Filter={"Key": {"FilterRules": rules}})]
    services = [{"Id": "two", "TopicArn": SERVICE, "Events": ["s3:ObjectRemoved:Delete"]}]
    put(LambdaFunctionConfigurations=functions, TopicConfigurations=services)
    assert get() == {
        "LambdaFunctionConfigurations": functions,
        "TopicConfigurations": services,
    }


def test_what_cannot_be_meant_is_refused_and_changes_nothing():
    before = get()
    missing = function("arn:aws:lambda:us-east-1:000000000000:function:nobody")
    assert "nobody" in refused("InvalidArgument", LambdaFunctionConfigurations=[missing])
    refused("InvalidArgument", LambdaFunctionConfigurations=[function("thumbnail")])
    refused("InvalidArgument", LambdaFunctionConfigurations=[function(Events=["s3:Nonsense"])])
    refused("InvalidArgument", LambdaFunctionConfigurations=[function(), function()])
    queue = {"QueueArn": "arn:aws:sqs:us-east-1:000000000000:q", "Events": ["s3:ObjectCreated:*"]}
    assert "queue:q" in refused("InvalidArgument", QueueConfigurations=[queue])
    fifo = {**queue, "QueueArn": queue["QueueArn"] + ".fifo"}
    assert "FIFO" in refused("InvalidArgument", QueueConfigurations=[fifo])
    topic = {"TopicArn": "arn:aws:sns:us-east-1:000000000000:t", "Events": ["s3:ObjectCreated:*"]}
    refused("InvalidArgument", TopicConfigurations=[topic])
    assert get() == before


def test_objects_are_stored_that_wake_and_that_do_not():
    put(
        LambdaFunctionConfigurations=[
            function(Filter={"Key": {"FilterRules": [{"Name": "suffix", "Value": ".jpg"}]}})
        ]
    )
    s3.put_object(Bucket="photos", Key="a b/ü.jpg", Body=b"photo", Metadata={"m": "1"})
    s3.put_object(Bucket="photos", Key="note.txt", Body=b"note")
    s3.copy_object(Bucket="photos", Key="copy.jpg", CopySource="photos/note.txt")
    upload = s3.create_multipart_upload(Bucket="photos", Key="big.jpg")["UploadId"]
    tag = s3.upload_part(
        Bucket="photos", Key="big.jpg", UploadId=upload, PartNumber=1, Body=b"x"
    )["ETag"]
    s3.complete_multipart_upload(
        Bucket="photos", Key="big.jpg", UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]},
    )
    s3.delete_object(Bucket="photos", Key="copy.jpg")
