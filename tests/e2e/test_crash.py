"""kill -9 at random moments: what was answered 200 is not lost."""

import json
import os
import random
import threading
import time

from conftest import Server, wait_for

KILLS = int(os.environ.get("ROUSE_TEST_KILLS", "50"))


class Shopper(threading.Thread):
    """Stores photos without a pause and keeps a ledger of those that were answered 200."""

    def __init__(self, server, photo, ledger, numbers):
        super().__init__(daemon=True)
        self.server, self.photo, self.ledger, self.numbers = server, photo, ledger, numbers
        self.over = threading.Event()
        self.client = server.client("s3", timeout=5)

    def run(self):
        while not self.over.is_set():
            key = f"photo {next(self.numbers):05d}.jpg"
            try:
                self.client.put_object(Bucket="photos", Key=key, Body=self.photo)
            except Exception:  # the server is dead or dying: not answered, not in the ledger
                time.sleep(0.02)
                continue
            self.ledger.append(key)
            self.over.wait(0.15)


def records(server):
    status, _, body = server.http("GET", "/svc/catalog/photos")
    if status != 200:
        return {}
    return {record["name"]: record for record in json.loads(body)["photos"]}


def test_every_photo_that_was_answered_has_its_record_after_50_kills(tmp_path, shop, photos):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    photo = photos[0].read_bytes()
    ledger, numbers = [], iter(range(10**9))
    server = Server(tmp_path / "data").start()
    try:
        server.rouse("deploy", "-f", shop / "compose.yaml")
        for _ in range(KILLS):
            shoppers = [Shopper(server, photo, ledger, numbers) for _ in range(2)]
            for shopper in shoppers:
                shopper.start()
            time.sleep(moments.uniform(0.0, 1.2))
            server.kill()
            for shopper in shoppers:
                shopper.over.set()
                shopper.join()
            server.start()
        assert len(ledger) > KILLS, "the shoppers stored too little for the kills to mean anything"
        found = wait_for(
            "every photo's record",
            lambda: (r := records(server)) and all(key in r for key in ledger) and r,
            timeout=600,
            interval=1,
        )
        complete = lambda r: {"node", "python"} <= r["thumbnails"].keys()
        wait_for(
            "both thumbnails of each",
            lambda: (r := records(server)) and all(complete(r[key]) for key in ledger),
            timeout=300,
            interval=1,
        )
        assert all(found[key]["size"] == len(photo) for key in ledger)
        # Every event has exactly one end state, and none is a dead letter.
        waiting = lambda: [
            event
            for state in ("waiting", "leased")
            for event in server.control(f"events?state={state}&limit=1000")["events"]
        ]
        wait_for("the queue to be empty", lambda: not waiting(), timeout=120, interval=0.5)
        assert server.control("events?state=dead&limit=10")["events"] == []
        stored = server.client("s3").get_paginator("list_objects_v2").paginate(Bucket="photos")
        keys = {item["Key"] for page in stored for item in page.get("Contents", [])}
        assert keys >= set(ledger)
        print(f"{KILLS} kills, {len(ledger)} photos answered 200, {len(found)} records, 0 lost")
    finally:
        server.stop()
