"""A server with functions, queues, rules and a bucket; how it is asked from each source; and its audit."""

import json
import time
from collections import Counter

from e2e import Server, wait_for
from ledger import Ledger
from witness import TOKEN

SOURCES = ("put", "sqs", "schedule", "bus", "invoke")
ARN = "arn:aws:{service}:us-east-1:000000000000:{name}"
ENDED = ("succeeded", "dead", "expired", "cancelled")
# Interpreters are started when they are needed, so that a start of the server costs little.
OPTIONS = ["--armed", "1", "--stems", "0", "--preload", "json", "--pin", "0"]


def function(name):
    return ARN.format(service="lambda", name=f"function:{name}")


def queue(name):
    return ARN.format(service="sqs", name=name)


def manifest(witness):
    """Functions that tell the witness what they were given, and half of which then fail."""

    def made(folder, timeout, attempts, triggers, **more):
        settings = {
            "runtime": "python3.11", "handler": "app.handler", "timeout": timeout, "memory": "64M",
            "egress": [f"{witness.address}:{witness.port}"], "triggers": triggers,
            "retry": {"attempts": attempts, "base_delay": "100ms", "max_delay": "1s", "max_age": "1h"},
            **more,
        }
        return {"build": f"./{folder}", "x-rouse": settings}

    stored = lambda prefix, *events: {"bucket": "box", "prefix": prefix, "events": list(events)}
    created, removed = "s3:ObjectCreated:*", "s3:ObjectRemoved:*"
    return {
        "name": "crash",
        "x-rouse": {
            "queues": {
                "work": {"visibility": "1s"},
                "delivered": {"visibility": "1s"},
                "failing": {"visibility": "1s", "dead_letter": {"queue": "refused", "max_receives": 2}},
                "refused": {"retention": "14d"},
            },
            "buckets": {"box": {"notify": [{"queue": "delivered", "events": [created], "prefix": "queue/"}]}},
        },
        "services": {
            "good": made("good", "10s", 50, [stored("ok/", created, removed)]),
            "bad": made("bad", "10s", 2, [stored("bad/", created)], on_failure={"queue": "delivered"}),
            "worker": made("good", "500ms", 1, [{"queue": "work"}, {"queue": "delivered"}]),
            "failer": made("bad", "500ms", 1, [{"queue": "failing"}]),
        },
    }


class World:
    def __init__(self, folder, witness, ledger=None, variables=None):
        self.folder, self.witness, self.ledger = folder, witness, ledger or Ledger()
        self.crash_file = folder / "crash"
        variables = {"ROUSE_CRASH_FILE": str(self.crash_file), **(variables or {})}
        self.server = Server(folder / "data", OPTIONS, variables)
        # The end of each event that was seen to end: it never changes.
        self.ends = {}
        # Tokens that were audited and may be replayed, by source.
        self.replayable = {}
        self.clients = {}

    def client(self, service):
        """A client that asks once and is not patient. Its server may be killed and started again."""
        if service not in self.clients:
            self.clients[service] = self.server.client(service, timeout=20)
        return self.clients[service]

    def set_up(self):
        """Deploys what is asked, and asks each source once, so that nothing is new to the server."""
        for name, fails in (("good", False), ("bad", True)):
            (self.folder / name).mkdir(exist_ok=True)
            (self.folder / name / "app.py").write_text(self.witness.handler(fails))
        self.server.deploy(self.folder, json.dumps(manifest(self.witness)))
        self.put_rules()
        return self

    def put_rules(self):
        """On the bus, which the manifest has none of."""
        events = self.client("events")
        for name, target in (("ok", function("good")), ("bad", function("bad")), ("queue", queue("delivered"))):
            pattern = json.dumps({"source": [f"crash.{name}"]})
            events.put_rule(Name=name, EventPattern=pattern)
            # The planted bugs answer before a rule is there; they are to be found by the audit.
            known = lambda: events.describe_rule(Name=name)
            wait_for(f"the rule {name}", lambda: happens(known, events.exceptions.ResourceNotFoundException))
            answer = events.put_targets(Rule=name, Targets=[{"Id": "only", "Arn": target}])
            assert answer["FailedEntryCount"] == 0, answer

    # What each source can be asked for. Each gives its token.

    def put(self, fate="ok", way="event", body=b"", metadata=None):
        token = self.ledger.token("put", fate, way)
        key = f"{'queue' if way == 'queue' else fate}/{token}"
        call = lambda: self.client("s3").put_object(
            Bucket="box", Key=key, Body=token.encode() + body, Metadata=metadata or {}
        )
        self.ledger.ask(token, "created", call)
        return token

    def overwrite(self):
        token = self.put()
        body = token.encode()
        call = lambda: self.client("s3").put_object(Bucket="box", Key=f"ok/{token}", Body=body)
        self.ledger.ask(token, "created", call, most=2)

    def delete(self):
        token = self.put()
        call = lambda: self.client("s3").delete_object(Bucket="box", Key=f"ok/{token}")
        self.ledger.ask(token, "removed", call)

    def upload(self, sizes):
        """A multipart upload of parts of these sizes."""
        token = self.ledger.token("put", "ok", "event")
        s3, place = self.client("s3"), {"Bucket": "box", "Key": f"ok/{token}"}
        place["UploadId"] = s3.create_multipart_upload(**place)["UploadId"]
        body = token.encode().ljust(sum(sizes), b".")
        parts = []
        for number, size in enumerate(sizes, 1):
            part, body = body[:size], body[size:]
            answer = s3.upload_part(PartNumber=number, Body=part, **place)
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        call = lambda: s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **place)
        self.ledger.ask(token, "created", call)

    def sqs(self, fate="ok", pad=0, count=1):
        tokens = [self.ledger.token("sqs", fate, "message") for _ in range(count)]
        name = "work" if fate == "ok" else "failing"
        url = f"{self.server.url}/000000000000/{name}"
        if count == 1:
            call = lambda: self.client("sqs").send_message(QueueUrl=url, MessageBody=tokens[0] + "." * pad)
            self.ledger.ask(tokens[0], "message", call)
            return
        entries = [{"Id": token, "MessageBody": token} for token in tokens]
        call = lambda: self.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
        answered = self.ledger.ask(tokens[0], "message", call)
        with self.ledger.lock:
            for token in tokens[1:]:
                self.ledger.asked[token, "message"] = 1
            for entry in answered["Successful"]:
                self.ledger.answered[entry["Id"], "message"] = 1

    def redrive(self):
        """Moves dead letters back to where they failed; they fail again."""
        self.client("sqs").start_message_move_task(SourceArn=queue("refused"), DestinationArn=queue("failing"))

    def schedule(self, fate="ok", way="event", pad=0):
        token = self.ledger.token("schedule", fate, way)
        arn = queue("delivered") if way == "queue" else function("good" if fate == "ok" else "bad")
        target = {
            "Arn": arn, "RoleArn": "arn:aws:iam::000000000000:role/any",
            "Input": json.dumps({"token": token, "pad": "." * pad}),
        }
        # Its first tick is at once.
        call = lambda: self.client("scheduler").create_schedule(
            Name=token, ScheduleExpression="rate(1 day)", FlexibleTimeWindow={"Mode": "OFF"}, Target=target
        )
        self.ledger.ask(token, "tick", call)

    def bus(self, fate="ok", way="event", pad=0):
        token = self.ledger.token("bus", fate, way)
        entry = {
            "Source": f"crash.{'queue' if way == 'queue' else fate}", "DetailType": "crash",
            "Detail": json.dumps({"token": token, "pad": "." * pad}),
        }

        def call():
            answer = self.client("events").put_events(Entries=[entry])
            assert answer["FailedEntryCount"] == 0, answer

        self.ledger.ask(token, "bus", call)

    def named(self):
        """A CloudEvent whose sender names it, sent again as after a lost answer."""
        token = self.ledger.token("bus", "ok", "event")
        headers = {
            "ce-specversion": "1.0", "ce-id": token, "ce-source": "crash.ok", "ce-type": "crash",
            "content-type": "application/json",
        }

        def call():
            status, _, body = self.server.http(
                "POST", "/_rouse/v1/events", json.dumps({"token": token}).encode(), headers
            )
            assert 200 <= status < 300, (status, body)

        for _ in range(2):
            self.ledger.ask(token, "bus", call)

    def invoke(self, fate="ok", pad=0):
        token = self.ledger.token("invoke", fate, "event")
        payload = json.dumps({"token": token, "pad": "." * pad})
        name = "good" if fate == "ok" else "bad"

        def call():
            answer = self.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload=payload)
            assert answer["StatusCode"] == 202, answer

        self.ledger.ask(token, "invoke", call)

    def replay(self, source):
        token, event, meant = self.replayable[source]
        self.ledger.meant.setdefault(token, meant)

        def call():
            status, _, body = self.server.http("POST", f"/_rouse/v1/events/{event}/replay", b"")
            assert status == 202, (status, body)

        self.ledger.ask(token, "replay", call, most=1000)

    # The audit.

    def events(self, since):
        """All events that were accepted since then, each with its payload and runs."""
        found, before = [], ""
        while True:
            page = self.server.control(f"events?since={since}&limit=1000{before}")["events"]
            found += [self.server.control(f"events/{event['id']}") for event in page]
            if len(page) < 1000:
                return found
            before = f"&before={page[-1]['id']}"

    def waiting(self, since):
        """What has not ended: events, and messages of queues that are worked on."""
        # All in one look: between two, one could go from a state to the other and be seen in neither.
        events = self.server.control(f"events?since={since}&limit=1000")["events"]
        left = [event for event in events if event["state"] not in ENDED]
        for state in ("waiting", "leased"):
            left += self.server.control(f"events?state={state}&limit=10")["events"]
        names = [f"ApproximateNumberOfMessages{name}" for name in ("", "NotVisible", "Delayed")]
        for name in ("work", "delivered", "failing"):
            url = f"{self.server.url}/000000000000/{name}"
            counts = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)
            if any(count != "0" for count in counts["Attributes"].values()):
                left.append((name, counts["Attributes"]))
        return left

    def drain(self, since, timeout=120):
        deadline = time.monotonic() + timeout
        while left := self.waiting(since):
            assert time.monotonic() < deadline, f"not ended within {timeout} s: {left}"
            time.sleep(0.05)

    def refused(self):
        """The tokens in the dead-letter queue; empties it."""
        sqs, url = self.client("sqs"), f"{self.server.url}/000000000000/refused"
        found = Counter()
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.update(set(TOKEN.findall(message["Body"])))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def audit(self, since, ledger=None):
        """Holds everything that was accepted since then against the ledger. Gives how many of the
        ledger's answers were looked at. Must be called when nothing is under way."""
        ledger = ledger or self.ledger
        self.drain(since)
        found, effects, wrong = Counter(), {}, []
        events = self.events(since)
        for event in events:
            token = named(event)
            meant = ledger.meant.get(token)
            if meant is None:
                wrong.append(("nobody asked for this event", event))
                continue
            # A bus and a queue take what they are given; what becomes of it is the next one's.
            last = event["target"].startswith("function:")
            expected = "dead" if last and meant.fate == "bad" else "succeeded"
            if event["state"] != expected or not event["ended"]:
                wrong.append((f"should be {expected}", event))
            known = self.ends.setdefault(event["id"], (event["state"], event["ended"]))
            if known != (event["state"], event["ended"]):
                wrong.append((f"had ended as {known}", event))
            if event["cause"]:
                effects.setdefault(event["cause"], []).append(event)
            else:
                found[token, what(event)] += 1
                if last and event["state"] == "succeeded" and not event["replay_of"]:
                    self.replayable[meant.source] = (token, event["id"], meant)
            if event["target"].startswith("bus:") and not event["replay_of"]:
                self.replayable[meant.source] = (token, event["id"], meant)
        refused = self.refused()
        # What fits one rule has one effect, and so has a dead letter whose function has a destination.
        leaves = lambda event: event["target"].startswith("bus:") or event["target"] == "function:bad"
        wrong += [(f"should have {int(leaves(e))} effects", e, effects.get(e["id"])) for e in events
                  if len(effects.get(e["id"], [])) != leaves(e)]
        wrong += self.held(ledger, found, refused)
        assert not wrong, json.dumps(wrong, indent=1, default=str)[:6000]
        return sum(ledger.answered.values())

    def held(self, ledger, found, refused):
        """What of the ledger is not as found."""
        wrong = []
        for (token, asked_for), asked in ledger.asked.items():
            answered, meant = ledger.answered[token, asked_for], ledger.meant[token]
            if asked_for == "message":
                count = refused[token] if meant.fate == "bad" else answered
            else:
                count = found[token, asked_for]
            if not answered <= count <= asked:
                # `./test planted` looks for the word: a bug that loses is not caught by one that doubles.
                kind = "lost" if count < answered else "too many"
                counts = f"{asked} asked, {answered} answered, {count} found"
                wrong.append((f"{asked_for}: {kind}: {counts}", token, meant))
            # A receive counts when it is made, as on AWS: a message that servers were killed with often
            # enough is a dead letter though no function saw it.
            if answered and not self.witness.seen[token] and not refused[token]:
                wrong.append(("was never executed", token, meant))
        wrong += [("not asked for", key) for key in found if key not in ledger.asked]
        wrong += [("dead letter without cause", token) for token in refused
                  if token not in ledger.meant or ledger.meant[token].fate != "bad"]
        return wrong

    def objects(self, ledger=None):
        """Reads every object that was answered and not deleted, byte for byte."""
        ledger, wrong = ledger or self.ledger, []
        for (token, asked_for), count in list(ledger.answered.items()):
            if asked_for != "created" or not count or ledger.asked[token, "removed"]:
                continue
            meant = ledger.meant[token]
            key = f"{'queue' if meant.way == 'queue' else meant.fate}/{token}"
            body = self.client("s3").get_object(Bucket="box", Key=key)["Body"].read()
            if not body.startswith(token.encode()):
                wrong.append((key, body[:80]))
        assert not wrong, wrong


def happens(call, refused):
    """Whether a call is answered and not refused in this way."""
    try:
        call()
    except refused:
        return False
    return True


def named(event):
    """The token that an event carries."""
    found = TOKEN.search(event["subject"]) or TOKEN.search(json.dumps(event["payload"]))
    return found and found[0]


def what(event):
    """Under which name the ledger has an event."""
    if event["replay_of"]:
        return "replay"
    if event["source"].startswith("s3:"):
        return "removed" if "ObjectRemoved" in event["kind"] else "created"
    if event["source"].startswith("schedule:"):
        return "tick"
    return "invoke" if event["source"] == "invoke" else "bus"
