"""Runs a Python handler: fetches calls from the Runtime API, hands them to the handler, posts what
it answers. Talks to nobody else."""

import os
import sys

# Where the function's code is; a zygote, which has none, is not told.
TASK_ROOT = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
# `PYTHONPATH` has it too; what is imported here is the interpreter's own, whatever a function brings.
sys.path[:] = [path for path in sys.path if path != TASK_ROOT]

import importlib
import importlib.machinery
import json
import logging
import signal
import socket
import time
from io import BufferedReader, FileIO

API = "/2018-06-01/runtime/"
# Bytes that are read at once.
READ = 8192
# What the platform brings for functions to import.
MODULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "modules")

# Of a module of this name `multiprocessing` knows that a new process must not run it again.
sys.modules["__main__"].__spec__ = importlib.machinery.ModuleSpec("__main__", None)


class BootstrapError(Exception):
    """An error that the bootstrap found; its type is one of Lambda's words."""

    def __init__(self, error_type, message):
        super().__init__(message)
        self.error_type = error_type


class RuntimeApi:
    """The Runtime API over one kept connection. Not `http.client`, which takes longer to import than
    all the rest: the other end always answers with a Content-Length."""

    def __init__(self, address, connect=socket.SocketType.connect):
        host, port = address.rsplit(":", 1)
        self.host = address
        # Not `create_connection`, which asks for names and so reads the modules for that. And not the class
        # that is written in Python, nor its `makefile`: a fork copies what they touch.
        self.use(socket.SocketType(socket.AF_INET, socket.SOCK_STREAM))
        connect(self.socket, (host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def use(self, connection):
        # A function that is initialised before may have set a default.
        connection.settimeout(None)
        self.socket = connection
        self.reader = BufferedReader(FileIO(connection.fileno(), "rb", closefd=False), READ)

    def ask(self, method, route, body=b"", headers=()):
        """Gives status, headers with lower case names, and body."""
        lines = [
            f"{method} {API}{route} HTTP/1.1",
            f"Host: {self.host}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *headers,
            "",
            "",
        ]
        self.socket.sendall("\r\n".join(lines).encode("latin-1") + body)
        return self.read()

    def read(self):
        status_line = self.reader.readline().split(None, 2)
        if len(status_line) < 2:
            raise ConnectionError("the Runtime API closed the connection")
        told = {}
        while line := self.reader.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            told[name.lower()] = value.strip()
        return int(status_line[1]), told, self.reader.read(int(told.get("content-length", 0)))

    def rehearse(self):
        """Asks something that answers at once, over a pair of sockets."""
        here, there = socket.socketpair()
        kept = self.socket, self.reader
        self.use(socket.SocketType(fileno=here.detach()))
        with there:
            answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
            there.sendall(answer * 2)
            self.ask("GET", "invocation/next")
            self.ask("POST", "invocation/0/response", b"{}")
        self.close()
        self.socket, self.reader = kept

    def close(self):
        self.reader.close()
        self.socket.close()

    def post_error(self, route, error_type, report):
        printable = "".join(c if " " <= c <= "~" else "?" for c in error_type)
        headers = [f"Lambda-Runtime-Function-Error-Type: {printable}"]
        self.ask("POST", route, json.dumps(report).encode(), headers)


class ClientContext:
    """What an AWS mobile client says of itself."""

    def __init__(self, told):
        self.custom = told.get("custom")
        self.env = told.get("env")
        self.client = _Client(told.get("client") or {})


class _Client:
    def __init__(self, told):
        self.installation_id = told.get("installation_id")
        self.app_title = told.get("app_title")
        self.app_version_name = told.get("app_version_name")
        self.app_version_code = told.get("app_version_code")
        self.app_package_name = told.get("app_package_name")


class Identity:
    """Who an Amazon Cognito caller is."""

    def __init__(self, told):
        self.cognito_identity_id = told.get("cognitoIdentityId")
        self.cognito_identity_pool_id = told.get("cognitoIdentityPoolId")


class Context:
    """What a handler is told about its call."""

    def __init__(self, headers):
        env = os.environ
        client_context = headers.get("lambda-runtime-client-context")
        identity = headers.get("lambda-runtime-cognito-identity")
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self.function_name = env.get("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = env.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = env.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = env.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = env.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.client_context = ClientContext(json.loads(client_context)) if client_context else None
        self.identity = Identity(json.loads(identity) if identity else {})
        self._deadline = int(headers.get("lambda-runtime-deadline-ms", "0"))

    def get_remaining_time_in_millis(self):
        return max(0, self._deadline - int(time.time() * 1000))

    def log(self, message):
        sys.stdout.write(str(message))


# The classes of what a handler is given.
HANDED = (Context, ClientContext, _Client, Identity)


class LogHandler(logging.StreamHandler):
    """Writes log records as Lambda does: level, time and request id, then the message."""

    def __init__(self):
        super().__init__(sys.stdout)
        form = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"
        formatter = logging.Formatter(form, "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)
        self.aws_request_id = ""

    def emit(self, record):
        record.aws_request_id = self.aws_request_id
        super().emit(record)


def load_handler(handler):
    """`src/app.resize` is the function `resize` of the module `src.app`."""
    module_name, _, function_name = handler.rpartition(".")
    if not module_name or not function_name:
        raise BootstrapError(
            "Runtime.MalformedHandlerName", f"Bad handler '{handler}': give module.function"
        )
    module_name = module_name.replace("/", ".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise BootstrapError(
            "Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}"
        ) from error
    except SyntaxError as error:
        raise BootstrapError(
            "Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}"
        ) from error
    found = getattr(module, function_name, None)
    if not callable(found):
        raise BootstrapError(
            "Runtime.HandlerNotFound",
            f"Handler '{function_name}' is missing on module '{module_name}'",
        )
    return found


def describe(error, request_id=""):
    """An exception as the Runtime API wants it: its type, and the whole of it."""
    import traceback  # seldom needed, and slow to import

    ours = isinstance(error, BootstrapError)
    error_type = error.error_type if ours else type(error).__name__
    # What the bootstrap itself did on the way is of no use to anyone.
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__
    ]
    report = {
        "errorMessage": str(error),
        "errorType": error_type,
        "requestId": request_id,
        "stackTrace": traceback.format_list(frames),
    }
    return error_type, report


def log_error(what, report):
    lines = [f"[ERROR] {what} {report['errorType']}: {report['errorMessage']}"]
    if report["stackTrace"]:
        lines.append("Traceback (most recent call last):")
        lines.extend(frame.rstrip("\n") for frame in report["stackTrace"])
    print("\n".join(lines), flush=True)


def encode_decimal(value):
    decimal = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, decimal.Decimal):
        return float(value)
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def to_json(result):
    text = json.dumps(
        result, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=encode_decimal
    )
    return text.encode()


def run(handler, payload, context):
    try:
        event = json.loads(payload) if payload else {}
    except ValueError as error:
        raise BootstrapError(
            "Runtime.UnmarshalError", f"The payload is not JSON: {error}"
        ) from error
    result = handler(event, context)
    try:
        return to_json(result)
    except (TypeError, ValueError, RecursionError) as error:
        raise BootstrapError(
            "Runtime.MarshalError", f"The answer is not JSON: {error}"
        ) from error


def answer_one(api, handler, logs):
    status, headers, payload = api.ask("GET", "invocation/next")
    if status != 200:
        raise BootstrapError("Runtime.Protocol", f"next was answered {status}: {payload!r}")
    request_id = headers["lambda-runtime-aws-request-id"]
    logs.aws_request_id = request_id
    os.environ["_X_AMZN_TRACE_ID"] = headers.get("lambda-runtime-trace-id", "")
    try:
        answer = run(handler, payload, Context(headers))
    except Exception as error:
        error_type, report = describe(error, request_id)
        log_error("", report)
        api.post_error(f"invocation/{request_id}/error", error_type, report)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    api.ask("POST", f"invocation/{request_id}/response", answer)


def main():
    serve(RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"]), open_logs())


def open_logs():
    # Lines show at once, though standard output is a pipe.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    logs = LogHandler()
    logging.root.addHandler(logs)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return logs


def set_path():
    """The function's own modules come first, those that the platform brings for it last."""
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
    sys.path.append(MODULES)


def serve(api, logs):
    set_path()
    try:
        handler = load_handler(os.environ["_HANDLER"])
    except Exception as error:
        error_type, report = describe(error)
        log_error("Init", report)
        api.post_error("init/error", error_type, report)
        sys.exit(1)
    answer_all(api, handler, logs)


def answer_all(api, handler, logs):
    while True:
        answer_one(api, handler, logs)


if __name__ == "__main__":
    main()
