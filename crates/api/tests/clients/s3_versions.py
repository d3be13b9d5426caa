"""Versions of objects, driven by boto3."""

import os
import urllib.request
import uuid

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

s3 = boto3.client("s3", config=Config(retries={"max_attempts": 1}))


def versioning(bucket, status, **more):
    configuration = {"Status": status, **more}
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=configuration)


@pytest.fixture
def bucket():
    name = f"v-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def versioned(bucket):
    versioning(bucket, "Enabled")
    return bucket


def put(bucket, key, body, **more):
    return s3.put_object(Bucket=bucket, Key=key, Body=body, **more).get("VersionId")


def get(bucket, key, **more):
    return s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


def refused(code, status, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    assert answer["Error"]["Code"] == code, answer
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
    return answer["ResponseMetadata"]["HTTPHeaders"]


def listed(bucket, **more):
    """Versions and delete markers in the order of the answer: key, version, latest."""
    page = s3.list_object_versions(Bucket=bucket, **more)
    entry = lambda one: (one["Key"], one["VersionId"], one["IsLatest"])
    return [
        [entry(one) for one in page.get(kind, [])] for kind in ("Versions", "DeleteMarkers")
    ]


def test_a_bucket_says_whether_it_keeps_versions(bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    for status in ("Enabled", "Suspended", "Enabled"):
        versioning(bucket, status, MFADelete="Disabled")
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == status
    refused(
        "NotImplemented", 501, s3.put_bucket_versioning, Bucket=bucket,
        VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"},
    )
    missing = {"Bucket": "nowhere-at-all", "VersioningConfiguration": {"Status": "Enabled"}}
    refused("NoSuchBucket", 404, s3.put_bucket_versioning, **missing)


def test_every_put_is_a_version_and_each_is_read(versioned):
    first = put(versioned, "k", b"one", Metadata={"n": "1"})
    second = put(versioned, "k", b"two!")
    assert first != second and "null" not in (first, second)
    answer = s3.get_object(Bucket=versioned, Key="k")
    assert (answer["Body"].read(), answer["VersionId"]) == (b"two!", second)
    answer = s3.get_object(Bucket=versioned, Key="k", VersionId=first, Range="bytes=1-")
    assert (answer["Body"].read(), answer["VersionId"]) == (b"ne", first)
    head = s3.head_object(Bucket=versioned, Key="k", VersionId=first)
    assert (head["ContentLength"], head["Metadata"], head["VersionId"]) == (3, {"n": "1"}, first)
    tags = s3.get_object_tagging(Bucket=versioned, Key="k", VersionId=first)
    assert (tags["TagSet"], tags["VersionId"]) == ([], first)
    s3.get_object_acl(Bucket=versioned, Key="k", VersionId=first)
    for call in (s3.get_object, s3.get_object_tagging, s3.get_object_acl):
        refused("NoSuchVersion", 404, call, Bucket=versioned, Key="k", VersionId="0" * 32)
    refused("404", 404, s3.head_object, Bucket=versioned, Key="k", VersionId="0" * 32)
    url = s3.generate_presigned_url(
        "get_object", Params={"Bucket": versioned, "Key": "k", "VersionId": first}
    )
    with urllib.request.urlopen(url) as answer:
        assert (answer.read(), answer.headers["x-amz-version-id"]) == (b"one", first)
    assert listed(versioned) == [[("k", second, True), ("k", first, False)], []]
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=versioned)["Contents"]]
    assert keys == ["k"]


def test_a_delete_leaves_a_marker_and_the_marker_can_go(versioned):
    version = put(versioned, "k", b"one")
    answer = s3.delete_object(Bucket=versioned, Key="k")
    marker = answer["VersionId"]
    assert answer["DeleteMarker"] is True and marker != version
    for call, code in ((s3.get_object, "NoSuchKey"), (s3.head_object, "404")):
        headers = refused(code, 404, call, Bucket=versioned, Key="k")
        assert headers["x-amz-delete-marker"] == "true"
        assert headers["x-amz-version-id"] == marker
    for call, code in ((s3.get_object, "MethodNotAllowed"), (s3.head_object, "405")):
        headers = refused(code, 405, call, Bucket=versioned, Key="k", VersionId=marker)
        assert (headers["x-amz-delete-marker"], headers["allow"]) == ("true", "DELETE")
        assert "last-modified" in headers
    assert get(versioned, "k", VersionId=version) == b"one"
    assert "Contents" not in s3.list_objects_v2(Bucket=versioned)
    assert listed(versioned) == [[("k", version, False)], [("k", marker, True)]]
    answer = s3.delete_object(Bucket=versioned, Key="k", VersionId=marker)
    assert (answer["DeleteMarker"], answer["VersionId"]) == (True, marker)
    assert get(versioned, "k") == b"one"
    # A key that was never there gets a marker too.
    assert s3.delete_object(Bucket=versioned, Key="never")["DeleteMarker"] is True
    assert "x-amz-delete-marker" not in refused(
        "NoSuchKey", 404, s3.get_object, Bucket=versioned, Key="other"
    )


def test_a_version_that_is_deleted_is_gone_and_the_one_below_is_the_object(versioned):
    versions = [put(versioned, "k", body) for body in (b"1", b"2", b"3")]
    answer = s3.delete_object(Bucket=versioned, Key="k", VersionId=versions[2])
    assert "DeleteMarker" not in answer and answer["VersionId"] == versions[2]
    assert get(versioned, "k") == b"2"
    s3.delete_object(Bucket=versioned, Key="k", VersionId=versions[0])
    assert get(versioned, "k") == b"2"
    s3.delete_object(Bucket=versioned, Key="k", VersionId=versions[0])  # again
    assert listed(versioned) == [[("k", versions[1], True)], []]
    refused("BucketNotEmpty", 409, s3.delete_bucket, Bucket=versioned)
    s3.delete_object(Bucket=versioned, Key="k")
    refused("BucketNotEmpty", 409, s3.delete_bucket, Bucket=versioned)
    boto3.resource("s3").Bucket(versioned).object_versions.delete()
    s3.delete_bucket(Bucket=versioned)


def test_many_are_deleted_with_and_without_a_version(versioned):
    first, second = put(versioned, "a", b"1"), put(versioned, "a", b"2")
    put(versioned, "b", b"3")
    objects = [{"Key": "a", "VersionId": first}, {"Key": "b"}]
    answer = s3.delete_objects(Bucket=versioned, Delete={"Objects": objects})
    one, two = answer["Deleted"]
    assert one == {"Key": "a", "VersionId": first}
    assert (two["Key"], two["DeleteMarker"]) == ("b", True) and "VersionId" not in two
    marker = two["DeleteMarkerVersionId"]
    objects = [{"Key": "b", "VersionId": marker}]
    [gone] = s3.delete_objects(Bucket=versioned, Delete={"Objects": objects})["Deleted"]
    assert gone == {
        "Key": "b", "VersionId": marker, "DeleteMarker": True, "DeleteMarkerVersionId": marker
    }
    assert (get(versioned, "a"), get(versioned, "b")) == (b"2", b"3")
    assert listed(versioned)[0][0] == ("a", second, True)


def test_what_was_there_before_is_the_version_null(bucket):
    assert put(bucket, "k", b"before") is None
    assert "VersionId" not in s3.get_object(Bucket=bucket, Key="k")
    assert listed(bucket) == [[("k", "null", True)], []]
    assert get(bucket, "k", VersionId="null") == b"before"
    refused("NoSuchVersion", 404, s3.get_object, Bucket=bucket, Key="k", VersionId="0" * 32)
    refused("NoSuchVersion", 404, s3.delete_object, Bucket=bucket, Key="k", VersionId="0" * 32)
    versioning(bucket, "Enabled")
    assert s3.get_object(Bucket=bucket, Key="k")["VersionId"] == "null"
    version = put(bucket, "k", b"after")
    assert get(bucket, "k", VersionId="null") == b"before"
    versioning(bucket, "Suspended")
    assert put(bucket, "k", b"suspended") == "null"
    assert listed(bucket) == [[("k", "null", True), ("k", version, False)], []]
    assert put(bucket, "k", b"again") == "null"
    assert get(bucket, "k") == get(bucket, "k", VersionId="null") == b"again"
    answer = s3.delete_object(Bucket=bucket, Key="k")
    assert (answer["DeleteMarker"], answer["VersionId"]) == (True, "null")
    assert listed(bucket) == [[("k", version, False)], [("k", "null", True)]]
    s3.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert get(bucket, "k") == b"after"


def test_a_bucket_without_versions_is_as_it_was(bucket):
    assert put(bucket, "k", b"1") is None
    answer = s3.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert "DeleteMarker" not in answer and "VersionId" not in answer
    headers = refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key="k")
    assert "x-amz-delete-marker" not in headers
    s3.delete_object(Bucket=bucket, Key="k")
    assert listed(bucket) == [[], []]
    s3.delete_bucket(Bucket=bucket)


def test_versions_are_copied_from_and_made_by_copies_and_uploads(versioned):
    old, new = put(versioned, "k", b"old"), put(versioned, "k", b"new")
    source = {"Bucket": versioned, "Key": "k", "VersionId": old}
    answer = s3.copy_object(Bucket=versioned, Key="copy", CopySource=source)
    assert answer["CopySourceVersionId"] == old
    assert get(versioned, "copy", VersionId=answer["VersionId"]) == b"old"
    # To bring an old version back, it is copied onto its own key.
    back = s3.copy_object(Bucket=versioned, Key="k", CopySource=source)["VersionId"]
    assert get(versioned, "k") == b"old"
    assert [entry[1] for entry in listed(versioned, Prefix="k")[0]] == [back, new, old]
    upload = s3.create_multipart_upload(Bucket=versioned, Key="k")["UploadId"]
    names = {"Bucket": versioned, "Key": "k", "UploadId": upload}
    part = s3.upload_part_copy(PartNumber=1, CopySource={**source, "VersionId": new}, **names)
    assert part["CopySourceVersionId"] == new
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]}
    done = s3.complete_multipart_upload(MultipartUpload=parts, **names)["VersionId"]
    answer = s3.get_object(Bucket=versioned, Key="k")
    assert (answer["Body"].read(), answer["VersionId"]) == (b"new", done)
    marker = s3.delete_object(Bucket=versioned, Key="k")["VersionId"]
    for version, code, status in ((marker, "InvalidRequest", 400), (None, "NoSuchKey", 404)):
        named = {"VersionId": version} if version else {}
        source = {"Bucket": versioned, "Key": "k", **named}
        refused(code, status, s3.copy_object, Bucket=versioned, Key="x", CopySource=source)


def test_a_form_says_its_version(versioned):
    form = s3.generate_presigned_post(versioned, "form")
    boundary = uuid.uuid4().hex
    fields = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form["fields"].items()
    ]
    file = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nhi\r\n'
    body = "".join(fields) + file + f"--{boundary}--\r\n"
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(form["url"], body.encode(), kind, method="POST")
    with urllib.request.urlopen(request) as answer:
        version = answer.headers["x-amz-version-id"]
    assert get(versioned, "form", VersionId=version) == b"hi"


def test_conditions_are_on_the_newest_and_reads_on_the_named(versioned):
    old = s3.put_object(Bucket=versioned, Key="k", Body=b"1")
    put(versioned, "k", b"2")
    failed = ("PreconditionFailed", 412)
    refused(*failed, s3.put_object, Bucket=versioned, Key="k", Body=b"3", IfNoneMatch="*")
    refused(*failed, s3.put_object, Bucket=versioned, Key="k", Body=b"3", IfMatch=old["ETag"])
    assert get(versioned, "k", VersionId=old["VersionId"], IfMatch=old["ETag"]) == b"1"
    s3.delete_object(Bucket=versioned, Key="k")
    put(versioned, "k", b"3", IfNoneMatch="*")


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_versions_are_listed_by_pages(versioned, size):
    expected = []
    for key in ("a", "a/b", "a/c", "z é"):
        versions = [put(versioned, key, os.urandom(2)) for _ in range(3)]
        marker = s3.delete_object(Bucket=versioned, Key=key)["VersionId"]
        expected += [(key, version) for version in (marker, *reversed(versions))]
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=versioned, PaginationConfig={"PageSize": size}
    )
    seen = []
    for page in pages:
        entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
        assert len(entries) <= size
        seen += [(one["Key"], one["VersionId"]) for one in entries]
    assert sorted(seen) == sorted(expected)
    page = s3.list_object_versions(Bucket=versioned, Delimiter="/")
    assert page["CommonPrefixes"] == [{"Prefix": "a/"}]
    assert {one["Key"] for one in page["Versions"]} == {"a", "z é"}
    assert len(listed(versioned, Prefix="a/")[0]) == 6
    begin = {"KeyMarker": "z é", "VersionIdMarker": expected[-3][1]}
    assert [one[1] for one in listed(versioned, **begin)[0]] == [expected[-2][1], expected[-1][1]]
    alone = {"Bucket": versioned, "VersionIdMarker": expected[0][1]}
    refused("InvalidArgument", 400, s3.list_object_versions, **alone)
    assert listed(versioned, MaxKeys=0) == [[], []]
