"""Makes a thumbnail of each photo that the event names, with Pillow."""

import io
import os
from datetime import datetime
from urllib.parse import quote, unquote_plus

import boto3
from PIL import Image, ImageOps

s3 = boto3.client("s3")
EDGE = 256
EXIF_IFD, DATE_TIME_ORIGINAL = 0x8769, 0x9003


def exif_date(photo):
    """The EXIF date as ISO 8601, or "" where there is none; EXIF does not tell the time zone."""
    text = photo.getexif().get_ifd(EXIF_IFD).get(DATE_TIME_ORIGINAL, "")
    try:
        return datetime.strptime(str(text)[:19], "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        return ""


def thumbnail(record):
    bucket = record["s3"]["bucket"]["name"]
    key = unquote_plus(record["s3"]["object"]["key"])
    stored = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with Image.open(io.BytesIO(stored)) as photo:
        width, height = photo.size
        taken = exif_date(photo)
        photo.draft("RGB", (EDGE * 2, EDGE * 2))
        small = ImageOps.exif_transpose(photo).convert("RGB")
    small.thumbnail((EDGE, EDGE))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=82)
    target = {"Bucket": os.environ["THUMBS"], "Key": f"python/{key}"}
    # Headers are ASCII: the key is escaped.
    metadata = {
        "photo": quote(key, safe=""),
        "width": str(width),
        "height": str(height),
        "taken": taken,
        "bytes": str(len(stored)),
        "maker": "python",
    }
    s3.put_object(**target, Body=out.getvalue(), ContentType="image/jpeg", Metadata=metadata)
    size = len(out.getvalue())
    print(f"{key}: {width}x{height}, {len(stored)} bytes -> {target['Key']}, {size} bytes")
    return {**target, "bytes": size}


def handler(event, context):
    return {"thumbnails": [thumbnail(record) for record in event["Records"]]}
