"""The S3 door, driven by boto3 as it comes: default checksums, default retries."""

import base64
import datetime
import hashlib
import io
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

URL = os.environ["AWS_ENDPOINT_URL"]
KEYS = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
MIB = 1024 * 1024


def client(**settings):
    settings = {"retries": {"max_attempts": 1}, **settings}
    return boto3.client("s3", config=Config(**settings))


@pytest.fixture
def s3():
    return client()


@pytest.fixture
def bucket(s3):
    name = f"b-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name)
    return name


def refused(code, status, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    assert answer["Error"]["Code"] == code, answer
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
    return answer


def get(s3, bucket, key, **more):
    return s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


# Buckets


def test_buckets_are_made_listed_and_removed(s3, bucket):
    assert bucket in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]
    s3.create_bucket(Bucket=bucket)  # again, as in us-east-1
    s3.head_bucket(Bucket=bucket)
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    refused("BucketNotEmpty", 409, s3.delete_bucket, Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="a")
    s3.delete_bucket(Bucket=bucket)
    refused("404", 404, s3.head_bucket, Bucket=bucket)
    refused("NoSuchBucket", 404, s3.delete_bucket, Bucket=bucket)


def test_a_location_is_accepted(s3):
    name = f"b-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.delete_bucket(Bucket=name)


def test_a_bucket_is_asked_about_as_usual(s3, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    acl = s3.get_bucket_acl(Bucket=bucket)
    assert acl["Grants"][0]["Permission"] == "FULL_CONTROL"
    refused("NoSuchBucketPolicy", 404, s3.get_bucket_policy, Bucket=bucket)
    refused("NoSuchTagSet", 404, s3.get_bucket_tagging, Bucket=bucket)
    refused("NoSuchCORSConfiguration", 404, s3.get_bucket_cors, Bucket=bucket)
    refused("NoSuchLifecycleConfiguration", 404, s3.get_bucket_lifecycle_configuration, Bucket=bucket)


def test_what_is_not_served_says_so(s3, bucket):
    refused("NotImplemented", 501, s3.put_object, Bucket=bucket, Key="k", ACL="public-read")
    refused("NotImplemented", 501, s3.put_object, Bucket=bucket, Key="k", ServerSideEncryption="AES256")
    refused("NotImplemented", 501, s3.put_object, Bucket=bucket, Key="k", Tagging="a=b")
    refused(
        "AccessDenied", 403, s3.put_object,
        Bucket=bucket, Key="k", ExpectedBucketOwner="123456789012",
    )


# Objects


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 3 * MIB + 7])
def test_an_object_comes_back_as_it_was(s3, bucket, size):
    body = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="a/b c+d%é.bin", Body=body)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    answer = s3.get_object(Bucket=bucket, Key="a/b c+d%é.bin")
    assert answer["Body"].read() == body
    assert answer["ContentLength"] == size
    assert answer["ETag"] == put["ETag"]
    assert answer["ContentType"] == "binary/octet-stream"


@pytest.mark.parametrize(
    "key",
    ["a//b", "/a", "../../etc/passwd", "a/../b", "./a", ".", "..", "a/", " a ", "a?b#c", "%2e%2e/x", "+", "~!*'()"],
)
def test_a_key_is_only_a_name(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    s3.put_object(Bucket=bucket, Key="other", Body=b"x")
    assert get(s3, bucket, key) == key.encode()
    assert key in [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
    assert ask(url)[:2] == (200, key.encode())
    s3.delete_object(Bucket=bucket, Key=key)
    refused("404", 404, s3.head_object, Bucket=bucket, Key=key)
    assert get(s3, bucket, "copy") == key.encode()


def test_headers_and_metadata_are_kept(s3, bucket):
    expires = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    s3.put_object(
        Bucket=bucket, Key="k", Body=b"x", ContentType="image/jpeg", CacheControl="max-age=60",
        ContentDisposition='attachment; filename="a.jpg"', ContentEncoding="gzip",
        ContentLanguage="de", Expires=expires, Metadata={"Colour": "red", "size": "12"},
    )
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["ContentType"] == "image/jpeg"
    assert head["CacheControl"] == "max-age=60"
    assert head["ContentDisposition"] == 'attachment; filename="a.jpg"'
    assert head["ContentEncoding"] == "gzip"
    assert head["ContentLanguage"] == "de"
    assert head["ExpiresString"] == "Wed, 02 Jan 2030 03:04:05 GMT"
    assert head["Metadata"] == {"colour": "red", "size": "12"}
    assert head["ContentLength"] == 1
    changed = s3.get_object(
        Bucket=bucket, Key="k", ResponseContentType="text/plain", ResponseCacheControl="no-store",
    )
    assert changed["ContentType"] == "text/plain"
    assert changed["CacheControl"] == "no-store"
    refused("MetadataTooLarge", 400, s3.put_object, Bucket=bucket, Key="k", Metadata={"a": "x" * 2048})


def test_a_stream_without_aws_chunked_surprises(bucket):
    """What a body stream that cannot be read twice makes boto3 send: chunks with a trailer."""
    body = os.urandom(MIB)
    s3 = client()
    s3.upload_fileobj(io.BytesIO(body), bucket, "k")
    assert "ContentEncoding" not in s3.head_object(Bucket=bucket, Key="k")
    assert get(s3, bucket, "k") == body


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_are_checked(s3, bucket, algorithm):
    answer = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
    assert answer[f"Checksum{algorithm}"]
    wrong = base64.b64encode(b"\0" * {"CRC32": 4, "SHA1": 20, "SHA256": 32}[algorithm]).decode()
    arguments = {"Bucket": bucket, "Key": "bad", "Body": b"hello", f"Checksum{algorithm}": wrong}
    refused("BadDigest", 400, s3.put_object, **arguments)
    refused("404", 404, s3.head_object, Bucket=bucket, Key="bad")


def test_content_md5_is_checked(s3, bucket):
    right = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ContentMD5=right)
    refused("BadDigest", 400, s3.put_object, Bucket=bucket, Key="bad", Body=b"hallo", ContentMD5=right)
    refused("InvalidDigest", 400, s3.put_object, Bucket=bucket, Key="bad", Body=b"x", ContentMD5="x")
    refused("404", 404, s3.head_object, Bucket=bucket, Key="bad")


def test_ranges(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    answer = s3.get_object(Bucket=bucket, Key="k", Range="bytes=2-4")
    assert answer["Body"].read() == b"234"
    assert answer["ContentRange"] == "bytes 2-4/10"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert get(s3, bucket, "k", Range="bytes=7-") == b"789"
    assert get(s3, bucket, "k", Range="bytes=-3") == b"789"
    assert get(s3, bucket, "k", Range="bytes=8-99") == b"89"
    refused("InvalidRange", 416, s3.get_object, Bucket=bucket, Key="k", Range="bytes=10-")
    head = s3.head_object(Bucket=bucket, Key="k", Range="bytes=0-0")
    assert head["ContentLength"] == 1


def test_conditional_reads(s3, bucket):
    tag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    changed = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    hour = datetime.timedelta(hours=1)
    assert get(s3, bucket, "k", IfMatch=tag) == b"x"
    refused("PreconditionFailed", 412, s3.get_object, Bucket=bucket, Key="k", IfMatch='"0"')
    refused("304", 304, s3.get_object, Bucket=bucket, Key="k", IfNoneMatch=tag)
    refused("304", 304, s3.get_object, Bucket=bucket, Key="k", IfModifiedSince=changed)
    refused("304", 304, s3.head_object, Bucket=bucket, Key="k", IfNoneMatch=tag)
    assert get(s3, bucket, "k", IfModifiedSince=changed - hour) == b"x"
    refused(
        "PreconditionFailed", 412, s3.get_object,
        Bucket=bucket, Key="k", IfUnmodifiedSince=changed - hour,
    )


def test_conditional_writes(s3, bucket):
    tag = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    refused("PreconditionFailed", 412, s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=tag)
    refused("PreconditionFailed", 412, s3.put_object, Bucket=bucket, Key="k", Body=b"4", IfMatch=tag)
    assert get(s3, bucket, "k") == b"3"


def test_what_is_missing_is_told_apart(s3, bucket):
    refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key="none")
    refused("404", 404, s3.head_object, Bucket=bucket, Key="none")
    refused("NoSuchBucket", 404, s3.get_object, Bucket="no-such-bucket", Key="none")
    refused("NoSuchBucket", 404, s3.put_object, Bucket="no-such-bucket", Key="none", Body=b"x")
    refused("NoSuchBucket", 404, s3.put_object, Bucket="no-such-bucket", Key="k", Body=bytes(20 * MIB))
    refused("NoSuchBucket", 404, s3.list_objects_v2, Bucket="no-such-bucket")
    refused("KeyTooLongError", 400, s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"x")
    s3.put_object(Bucket=bucket, Key="k" * 1024, Body=b"x")
    s3.delete_object(Bucket=bucket, Key="none")


def test_copies(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a b/ü", Body=b"x", ContentType="text/plain", Metadata={"m": "1"})
    source = {"Bucket": bucket, "Key": "a b/ü"}
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    head = s3.head_object(Bucket=bucket, Key="copy")
    assert head["ETag"] == copied["CopyObjectResult"]["ETag"]
    assert (head["ContentType"], head["Metadata"]) == ("text/plain", {"m": "1"})
    s3.copy_object(
        Bucket=bucket, Key="copy", CopySource=source, MetadataDirective="REPLACE",
        ContentType="text/html", Metadata={"n": "2"},
    )
    head = s3.head_object(Bucket=bucket, Key="copy")
    assert (head["ContentType"], head["Metadata"]) == ("text/html", {"n": "2"})
    assert get(s3, bucket, "copy") == b"x"
    refused("InvalidRequest", 400, s3.copy_object, Bucket=bucket, Key="a b/ü", CopySource=source)
    refused("NoSuchKey", 404, s3.copy_object, Bucket=bucket, Key="c", CopySource=f"{bucket}/none")
    refused(
        "PreconditionFailed", 412, s3.copy_object,
        Bucket=bucket, Key="c", CopySource=source, CopySourceIfMatch='"0"',
    )
    s3.delete_object(Bucket=bucket, Key="a b/ü")
    assert get(s3, bucket, "copy") == b"x"


def test_many_are_removed_at_once(s3, bucket):
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"k{number}", Body=b"x")
    names = [{"Key": f"k{number}"} for number in range(4)] + [{"Key": "never there"}]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": names})
    assert sorted(entry["Key"] for entry in answer["Deleted"]) == sorted(n["Key"] for n in names)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k4"]
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k4"}], "Quiet": True})
    assert "Deleted" not in quiet


# Listings

KEYS_LISTED = ["a", "b/1", "b/2", "b/c/3", "d e", "ü&<>", "z"]


@pytest.fixture
def filled(s3, bucket):
    for key in KEYS_LISTED:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return bucket


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_listings_page_through_everything_once(s3, filled, operation, page):
    pages = s3.get_paginator(operation).paginate(Bucket=filled, PaginationConfig={"PageSize": page})
    assert [entry["Key"] for part in pages for entry in part.get("Contents", [])] == sorted(KEYS_LISTED, key=str.encode)


@pytest.mark.parametrize("page", [1, 2, 1000])
@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_a_delimiter_groups(s3, filled, operation, page):
    pages = list(
        s3.get_paginator(operation).paginate(
            Bucket=filled, Delimiter="/", PaginationConfig={"PageSize": page}
        )
    )
    keys = [entry["Key"] for part in pages for entry in part.get("Contents", [])]
    groups = [entry["Prefix"] for part in pages for entry in part.get("CommonPrefixes", [])]
    assert keys == ["a", "d e", "z", "ü&<>"]
    assert groups == ["b/"]
    below = s3.list_objects_v2(Bucket=filled, Delimiter="/", Prefix="b/")
    assert [entry["Key"] for entry in below["Contents"]] == ["b/1", "b/2"]
    assert [entry["Prefix"] for entry in below["CommonPrefixes"]] == ["b/c/"]


def test_listings_begin_where_they_are_told(s3, filled):
    after = s3.list_objects_v2(Bucket=filled, StartAfter="b/2")
    assert after["Contents"][0]["Key"] == "b/c/3"
    after = s3.list_objects(Bucket=filled, Marker="b/2")
    assert after["Contents"][0]["Key"] == "b/c/3"
    assert s3.list_objects_v2(Bucket=filled, MaxKeys=0)["KeyCount"] == 0
    assert "Contents" not in s3.list_objects_v2(Bucket=filled, Prefix="none")
    refused("InvalidArgument", 400, s3.list_objects_v2, Bucket=filled, ContinuationToken="?!")
    entry = s3.list_objects_v2(Bucket=filled, Prefix="z", FetchOwner=True)["Contents"][0]
    assert entry["Owner"]["ID"] == "000000000000"
    assert (entry["Size"], entry["StorageClass"]) == (1, "STANDARD")


# Multipart


def test_a_multipart_upload(s3, bucket):
    parts = [os.urandom(5 * MIB), os.urandom(5 * MIB), b"end"]
    upload = s3.create_multipart_upload(
        Bucket=bucket, Key="big", ContentType="image/png", Metadata={"m": "1"}
    )["UploadId"]
    tags = []
    for number, part in enumerate(parts, 1):
        answer = s3.upload_part(
            Bucket=bucket, Key="big", UploadId=upload, PartNumber=number, Body=part
        )
        assert answer["ETag"] == f'"{hashlib.md5(part).hexdigest()}"'
        tags.append({"PartNumber": number, "ETag": answer["ETag"]})
    listed = s3.list_parts(Bucket=bucket, Key="big", UploadId=upload, MaxParts=2)
    assert [part["Size"] for part in listed["Parts"]] == [5 * MIB, 5 * MIB]
    assert listed["IsTruncated"]
    marker = listed["NextPartNumberMarker"]
    rest = s3.list_parts(Bucket=bucket, Key="big", UploadId=upload, PartNumberMarker=marker)
    assert [part["PartNumber"] for part in rest["Parts"]] == [3]
    uploads = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [entry["UploadId"] for entry in uploads] == [upload]
    refused("404", 404, s3.head_object, Bucket=bucket, Key="big")
    done = s3.complete_multipart_upload(
        Bucket=bucket, Key="big", UploadId=upload, MultipartUpload={"Parts": tags}
    )
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    answer = s3.get_object(Bucket=bucket, Key="big")
    assert answer["Body"].read() == b"".join(parts)
    assert (answer["ContentType"], answer["Metadata"]) == ("image/png", {"m": "1"})
    assert get(s3, bucket, "big", Range=f"bytes={5 * MIB - 1}-{5 * MIB}") == parts[0][-1:] + parts[1][:1]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_a_multipart_upload_is_refused_where_it_must_be(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    name = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    tag = s3.upload_part(**name, PartNumber=1, Body=b"small")["ETag"]
    other = s3.upload_part(**name, PartNumber=2, Body=b"small")["ETag"]
    complete = s3.complete_multipart_upload

    def parts(*pairs):
        return {"Parts": [{"PartNumber": number, "ETag": tag} for number, tag in pairs]}

    refused("InvalidPart", 400, complete, **name, MultipartUpload=parts((1, '"0"')))
    refused("InvalidPart", 400, complete, **name, MultipartUpload=parts((7, tag)))
    refused("InvalidPartOrder", 400, complete, **name, MultipartUpload=parts((2, other), (1, tag)))
    refused("EntityTooSmall", 400, complete, **name, MultipartUpload=parts((1, tag), (2, other)))
    refused("InvalidArgument", 400, s3.upload_part, **name, PartNumber=10_001, Body=b"x")
    s3.abort_multipart_upload(**name)
    refused("NoSuchUpload", 404, s3.abort_multipart_upload, **name)
    refused("NoSuchUpload", 404, s3.upload_part, **name, PartNumber=1, Body=b"x")
    refused("NoSuchUpload", 404, complete, **name, MultipartUpload=parts((1, tag)))


def test_parts_are_copied(s3, bucket):
    source = os.urandom(6 * MIB)
    s3.put_object(Bucket=bucket, Key="source", Body=source)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    name = {"Bucket": bucket, "Key": "k", "UploadId": upload, "CopySource": f"{bucket}/source"}
    one = s3.upload_part_copy(**name, PartNumber=1)["CopyPartResult"]["ETag"]
    two = s3.upload_part_copy(**name, PartNumber=2, CopySourceRange="bytes=10-19")["CopyPartResult"]["ETag"]
    outside = f"bytes=0-{6 * MIB}"
    refused("InvalidArgument", 400, s3.upload_part_copy, **name, PartNumber=3, CopySourceRange=outside)
    parts = [{"PartNumber": 1, "ETag": one}, {"PartNumber": 2, "ETag": two}]
    s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    assert get(s3, bucket, "k") == source + source[10:20]


def test_managed_transfers_in_parallel(s3, bucket, tmp_path):
    body = os.urandom(20 * MIB + 1)
    config = TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=6 * MIB, max_concurrency=4)
    s3.upload_fileobj(io.BytesIO(body), bucket, "big", Config=config)
    s3.download_file(bucket, "big", str(tmp_path / "big"), Config=config)
    assert (tmp_path / "big").read_bytes() == body
    s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "again", Config=config)
    assert get(s3, bucket, "again") == body


def test_one_key_by_many_writers_is_always_whole(bucket):
    bodies = [bytes([number]) * 300_000 for number in range(8)]

    def write(body):
        client().put_object(Bucket=bucket, Key="k", Body=body)

    writers = [threading.Thread(target=write, args=(body,)) for body in bodies]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert get(client(), bucket, "k") in bodies


# Signatures


def ask(url, method="GET", body=None, **headers):
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def test_presigned_urls(bucket):
    s3 = client(signature_version="s3v4")
    name = {"Bucket": bucket, "Key": "a b+ü"}
    put = s3.generate_presigned_url("put_object", Params=name)
    assert ask(put, "PUT", b"hello")[0] == 200
    url = s3.generate_presigned_url("get_object", Params=name, ExpiresIn=60)
    assert ask(url)[:2] == (200, b"hello")
    assert ask(url, "PUT", b"other")[0] == 403
    assert ask(url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"))[0] == 403
    week = 7 * 24 * 3600
    assert ask(s3.generate_presigned_url("get_object", Params=name, ExpiresIn=week))[0] == 200
    status, body, _ = ask(s3.generate_presigned_url("get_object", Params=name, ExpiresIn=week + 1))
    assert (status, b"AuthorizationQueryParametersError" in body) == (400, True)
    shown = s3.generate_presigned_url(
        "get_object", Params={**name, "ResponseContentDisposition": "attachment"}
    )
    assert ask(shown)[2]["Content-Disposition"] == "attachment"


def test_a_presigned_put_cannot_be_turned_into_a_copy(bucket):
    s3 = client(signature_version="s3v4")
    s3.put_object(Bucket=bucket, Key="secret", Body=b"secret")
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "mine"})
    status, body, _ = ask(put, "PUT", b"", **{"x-amz-copy-source": f"{bucket}/secret"})
    assert (status, b"AccessDenied" in body) == (403, True)
    refused("404", 404, s3.head_object, Bucket=bucket, Key="mine")


def test_signature_version_2_is_only_taken_in_presigned_urls(s3, bucket):
    """boto3 makes presigned URLs of version 2 unless it is told otherwise."""
    old = client(signature_version="s3")
    refused("AccessDenied", 403, old.list_objects, Bucket=bucket)
    name = {"Bucket": bucket, "Key": "a b+ü"}
    put = s3.generate_presigned_url("put_object", Params={**name, "ContentType": "text/plain"})
    assert "AWSAccessKeyId" in put
    assert ask(put, "PUT", b"hello", **{"Content-Type": "text/html"})[0] == 403
    assert ask(put, "PUT", b"hello", **{"Content-Type": "text/plain"})[0] == 200
    url = s3.generate_presigned_url(
        "get_object", Params={**name, "ResponseContentDisposition": "attachment"}
    )
    status, body, headers = ask(url)
    assert (status, body, headers["Content-Disposition"]) == (200, b"hello", "attachment")
    assert ask(url, "PUT", b"other")[0] == 403
    assert ask(url.replace("Signature=", "Signature=A"))[0] == 403
    assert ask(url + "&tagging")[0] == 403
    week = 7 * 24 * 3600
    late = s3.generate_presigned_url("get_object", Params=name, ExpiresIn=week + 3600)
    assert ask(late)[0] == 403
    listing = s3.generate_presigned_url("list_objects_v2", Params={"Bucket": bucket})
    assert ask(listing)[0] == 403


def test_wrong_keys_are_refused(bucket):
    def with_keys(key, secret):
        return boto3.client("s3", aws_access_key_id=key, aws_secret_access_key=secret)

    wrong = with_keys(KEYS.access_key, "x" * 40)
    refused("SignatureDoesNotMatch", 403, wrong.list_objects_v2, Bucket=bucket)
    unknown = with_keys("NOBODYNOBODYNOBODY22", "x" * 40)
    refused("InvalidAccessKeyId", 403, unknown.list_objects_v2, Bucket=bucket)
    default = with_keys("test", "test")
    refused("InvalidAccessKeyId", 403, default.list_buckets)


def signed(method, url, body=b"", **headers):
    request = AWSRequest(method, url, data=body, headers=headers)
    S3SigV4Auth(KEYS, "s3", "us-east-1").add_auth(request)
    return dict(request.headers)


def test_a_body_that_was_not_signed_is_refused(s3, bucket):
    url = f"{URL}/{bucket}/k"
    headers = signed("PUT", url, b"what was signed", **{"Content-Type": "text/plain"})
    status, body, _ = ask(url, "PUT", b"what was signeD", **headers)
    assert status in (400, 403), body
    refused("404", 404, s3.head_object, Bucket=bucket, Key="k")


def test_virtual_hosted_style(bucket):
    s3 = client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    port = urllib.parse.urlsplit(URL).port
    for host in (f"{bucket}.localhost:{port}", f"{bucket}.s3.localhost:{port}"):
        headers = signed("GET", f"http://{host}/k")
        assert ask(f"{URL}/k", Host=host, **headers)[:2] == (200, b"x")
    styled = client(s3={"addressing_style": "path"})
    assert get(styled, bucket, "k") == b"x"


def test_every_answer_names_its_request(s3, bucket):
    answer = s3.head_bucket(Bucket=bucket)["ResponseMetadata"]
    assert answer["RequestId"]
    assert answer["HTTPHeaders"]["server"] == "rouse"
