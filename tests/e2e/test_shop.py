"""The main job: a photo stored wakes a function, and its thumbnail's event reaches the catalog."""

import base64
import io
import json

import pytest
from conftest import wait_for


@pytest.fixture(scope="module")
def deployed(server, shop):
    server.rouse("deploy", "-f", shop / "compose.yaml")
    return server


def photo(server, name):
    status, _, body = server.http("GET", f"/svc/catalog/photos/{name}")
    return json.loads(body) if status == 200 else None


def recorded(server, name):
    def both():
        found = photo(server, name)
        return found and len(found["thumbnails"]) == 2 and found

    return wait_for(f"the record of {name}", both)


def test_a_photo_becomes_a_record(deployed, photos):
    source = next(p for p in photos if p.name == "Wood.jpg")
    s3 = deployed.client("s3")
    s3.upload_file(str(source), "photos", "Wood.jpg")
    record = recorded(deployed, "Wood.jpg")
    assert (record["width"], record["height"]) == (2560, 1920)
    assert record["size"] == source.stat().st_size
    assert record["taken"] == "2008-04-19T13:43:16"
    assert record["thumbnail"] == "node/Wood.jpg"
    for maker in ("node", "python"):
        thumb = s3.get_object(Bucket="thumbs", Key=f"{maker}/Wood.jpg")["Body"].read()
        assert thumb[:3] == b"\xff\xd8\xff"
        assert len(thumb) == record["thumbnails"][maker]["size"] < source.stat().st_size


def test_a_photo_by_the_aws_command_line(deployed, photos):
    deployed.aws("s3", "cp", photos[3], "s3://photos/by command line/ä & b.jpg")
    name = "by%20command%20line/%C3%A4%20%26%20b.jpg"
    assert recorded(deployed, name)["name"] == "by command line/ä & b.jpg"


def test_each_event_tells_its_cause_and_its_life(deployed, photos):
    deployed.client("s3").put_object(Bucket="photos", Key="told.jpg", Body=photos[1].read_bytes())
    recorded(deployed, "told.jpg")
    events = deployed.rouse_json("events", "--limit", "200")
    events = events["events"] if isinstance(events, dict) else events
    [woken] = [e for e in events if e["target"] == "function:thumbnail" and e["subject"] == "told.jpg"]
    effects = [e for e in events if e["cause"] == woken["id"]]
    assert [e["target"] for e in effects] == ["service:catalog/events"]
    told = deployed.rouse("events", "show", woken["id"]).stdout
    for part in (woken["id"], "told.jpg", "function:thumbnail", "succeeded", "s3:photos"):
        assert part in told, told
    logs = deployed.rouse("logs", "thumbnail", "--tail", "1000").stdout
    assert "told.jpg: " in logs and "REPORT RequestId" in logs


def test_what_is_not_a_photo_is_a_dead_letter_and_harms_nobody(deployed, photos):
    s3 = deployed.client("s3")
    s3.put_object(Bucket="photos", Key="no-photo.jpg", Body=b"this is not a photo")
    s3.put_object(Bucket="photos", Key="after.jpg", Body=photos[2].read_bytes())
    recorded(deployed, "after.jpg")
    [event] = [
        e
        for e in deployed.control("events?target=function:thumbnail-py&limit=500")["events"]
        if e["subject"] == "no-photo.jpg"
    ]
    dead = wait_for(
        "the dead letter",
        lambda: (e := deployed.control(f"events/{event['id']}"))["state"] == "dead" and e,
        timeout=120,
    )
    assert "UnidentifiedImageError" in dead["last_error"]
    assert dead["attempts"] == 5


def test_the_page_shows_the_photos_in_a_browser_without_a_header(deployed, photos):
    key = base64.b64encode(b"rouse:" + deployed.root["token"].encode()).decode()
    headers = {"Authorization": f"Basic {key}"}
    status, _, page = deployed.http("GET", "/svc/catalog/", headers=headers, token=False)
    assert status == 200 and b"Wood.jpg" in page
    status, _, image = deployed.http("GET", "/svc/catalog/thumbs/node/Wood.jpg", headers=headers, token=False)
    assert status == 200 and image[:3] == b"\xff\xd8\xff"


def test_a_second_deploy_changes_nothing(deployed, shop):
    before = deployed.control("functions")
    done = deployed.rouse("deploy", "-f", shop / "compose.yaml")
    assert "unchanged" in done.stdout
    assert deployed.control("functions") == before


def test_functions_scale_to_zero(deployed):
    names = lambda: {i["owner"]["name"] for i in deployed.control("instances")}
    wait_for("idle functions to be stopped", lambda: names() == {"catalog"}, timeout=90)


def test_an_upload_in_parts_wakes_too(deployed, photos):
    big = max(photos, key=lambda p: p.stat().st_size).read_bytes()
    s3 = deployed.client("s3")
    body = big + b"\0" * (6 * 1024 * 1024)
    upload = s3.create_multipart_upload(Bucket="photos", Key="parts.jpg")["UploadId"]
    parts = []
    for number, piece in enumerate((body[: 5 * 1024 * 1024], body[5 * 1024 * 1024 :]), 1):
        answer = s3.upload_part(
            Bucket="photos", Key="parts.jpg", UploadId=upload, PartNumber=number, Body=io.BytesIO(piece)
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    s3.complete_multipart_upload(
        Bucket="photos", Key="parts.jpg", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    assert recorded(deployed, "parts.jpg")["size"] == len(body)
    [event] = [
        e
        for e in deployed.control("events?target=function:thumbnail&limit=50")["events"]
        if e["subject"] == "parts.jpg"
    ]
    assert event["kind"] == "s3:ObjectCreated:CompleteMultipartUpload"
