"""A stand-in for a MongoDB server: the wire protocol in front of PyPI's mongomock, in memory, on loopback.

Prints the port that it listens on, and ends with its standard input. It knows the commands that a driver sends to
connect, and those that the catalog's store uses; any other is an error, as with a server that lacks it.
https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
"""

import itertools
import socketserver
import struct
import sys
import threading

import bson
import mongomock

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
HEADER = struct.Struct("<iiii")
CHECKSUM_PRESENT, MORE_TO_COME = 1, 2
# Documents of a first answer (getMore brings the others).
BATCH = 101
LARGEST_MESSAGE = 48_000_000

database = mongomock.MongoClient()
lock = threading.Lock()
cursors = {}
numbers = itertools.count(1)


class CommandError(Exception):
    def __init__(self, code, name, text):
        super().__init__(text)
        self.answer = {"ok": 0.0, "code": code, "codeName": name, "errmsg": text}


def hello(_):
    return {"isWritablePrimary": True, "ismaster": True, "helloOk": True, "minWireVersion": 0, "maxWireVersion": 21,
            "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": LARGEST_MESSAGE, "maxWriteBatchSize": 100_000,
            "logicalSessionTimeoutMinutes": 30, "readOnly": False}


def collection(command, name):
    return database[command["$db"]][command[name]]


def find(command):
    documents = collection(command, "find").find(command.get("filter", {}), command.get("projection"))
    if command.get("sort"):
        documents = documents.sort(list(command["sort"].items()))
    documents = documents.skip(command.get("skip", 0)).limit(abs(command.get("limit", 0)))
    return opened(f"{command['$db']}.{command['find']}", list(documents), command.get("batchSize", BATCH))


def opened(namespace, documents, size):
    first, rest, number = documents[:size], documents[size:], 0
    if rest:
        number = next(numbers)
        cursors[number] = (namespace, rest)
    return {"cursor": {"id": bson.Int64(number), "ns": namespace, "firstBatch": first}}


def get_more(command):
    number = command["getMore"]
    if number not in cursors:
        raise CommandError(43, "CursorNotFound", f"cursor id {number} not found")
    namespace, rest = cursors.pop(number)
    size = command.get("batchSize", len(rest))
    if rest[size:]:
        cursors[number] = (namespace, rest[size:])
    return {"cursor": {"id": bson.Int64(number if rest[size:] else 0), "ns": namespace, "nextBatch": rest[:size]}}


def kill_cursors(command):
    for number in command["cursors"]:
        cursors.pop(number, None)
    return {"cursorsKilled": command["cursors"]}


def update(command):
    """Of the forms of an update, the replacement of one document."""
    if command.get("writeConcern", {}).get("w") != "majority" or not command["writeConcern"].get("j"):
        raise CommandError(79, "UnknownReplWriteConcern", "the catalog asks for a majority and its journals")
    matched, upserted = 0, []
    for index, one in enumerate(command["updates"]):
        if one.get("multi") or any(name.startswith("$") for name in one["u"]):
            raise CommandError(9, "FailedToParse", "only whole documents are replaced here")
        done = collection(command, "update").replace_one(one["q"], one["u"], upsert=one.get("upsert", False))
        matched += done.matched_count
        if done.upserted_id is not None and not done.matched_count:
            upserted.append({"index": index, "_id": done.upserted_id})
    answer = {"n": matched + len(upserted), "nModified": matched}
    return {**answer, "upserted": upserted} if upserted else answer


COMMANDS = {"hello": hello, "isMaster": hello, "ismaster": hello, "ping": lambda _: {}, "endSessions": lambda _: {},
            "find": find, "getMore": get_more, "killCursors": kill_cursors, "update": update}


def answer(command):
    name = next(iter(command))
    try:
        if name not in COMMANDS:
            raise CommandError(59, "CommandNotFound", f"no such command: '{name}'")
        with lock:
            return {**COMMANDS[name](command), "ok": 1.0}
    except CommandError as error:
        return error.answer
    except (mongomock.PyMongoError, KeyError, TypeError, ValueError) as error:
        return CommandError(2, "BadValue", f"{type(error).__name__}: {error}").answer


def read_message(body):
    """The command of an OP_MSG, its document sequences put into it, and whether an answer is wanted."""
    (flags,), at = struct.unpack_from("<I", body), 4
    end = len(body) - (4 if flags & CHECKSUM_PRESENT else 0)
    command, sequences = {}, {}
    while at < end:
        kind, (size,) = body[at], struct.unpack_from("<i", body, at + 1)
        section = body[at + 1 : at + 1 + size]
        if kind == 0:
            command = bson.decode(section)
        else:
            name, _, documents = section[4:].partition(b"\0")
            sequences[name.decode()] = bson.decode_all(documents)
        at += 1 + size
    return {**command, **sequences}, not flags & MORE_TO_COME


class Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def send(self, request, operation, body):
        self.wfile.write(HEADER.pack(HEADER.size + len(body), 0, request, operation) + body)

    def handle(self):
        try:
            self.serve()
        except ConnectionError:
            pass  # Drivers leave without a word.

    def serve(self):
        while len(head := self.rfile.read(HEADER.size)) == HEADER.size:
            length, request, _, operation = HEADER.unpack(head)
            if not HEADER.size <= length <= LARGEST_MESSAGE:
                return
            body = self.rfile.read(length - HEADER.size)
            if operation == OP_MSG:
                command, wanted = read_message(body)
                told = answer(command)
                if wanted:
                    self.send(request, OP_MSG, b"\0\0\0\0\0" + bson.encode(told))
            elif operation == OP_QUERY:
                # Drivers only greet with it: flags, a name that ends with a zero byte, two numbers, the command.
                told = answer(bson.decode(body[body.index(b"\0", 4) + 9 :]))
                self.send(request, OP_REPLY, struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(told))
            else:
                return


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Connection) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()
        server.shutdown()
