"""What the keys of a function may do on the S3 door. There is a bucket `photos`."""

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

s3 = boto3.client("s3", config=Config(retries={"max_attempts": 1}))


def test_objects_are_its_own_business():
    s3.put_object(Bucket="photos", Key="thumb", Body=b"small")
    assert s3.get_object(Bucket="photos", Key="thumb")["Body"].read() == b"small"
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="photos")["Contents"]] == ["thumb"]
    s3.head_bucket(Bucket="photos")


@pytest.mark.parametrize(
    "operation, arguments",
    [
        ("create_bucket", {}),
        ("delete_bucket", {}),
        ("put_bucket_notification_configuration", {"NotificationConfiguration": {}}),
    ],
)
def test_buckets_are_not(operation, arguments):
    with pytest.raises(ClientError) as caught:
        getattr(s3, operation)(Bucket="photos", **arguments)
    answer = caught.value.response
    assert answer["Error"]["Code"] == "AccessDenied"
    assert "function:thumbnail" in answer["Error"]["Message"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 403
