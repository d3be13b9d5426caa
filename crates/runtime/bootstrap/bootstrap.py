"""Runs a Python handler: fetches calls from the Runtime API, hands them to the handler, posts what
it answers. Talks to nobody else."""

import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
import time

API = "/2018-06-01/runtime/"
# What the platform brings for functions to import, and one of it.
MODULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "modules")
REHEARSED = "snapshot_restore_py"
# Of a zygote; the interpreter adapts its code to what it has seen eight times or more.
REHEARSALS = 20
# Seconds until a fork takes it that no call waits for it.
PATIENCE = 0.03


class BootstrapError(Exception):
    """An error that the bootstrap found; its type is one of Lambda's words."""

    def __init__(self, error_type, message):
        super().__init__(message)
        self.error_type = error_type


class RuntimeApi:
    """The Runtime API over one kept connection. Not `http.client`, which takes longer to import than
    all the rest: the other end always answers with a Content-Length."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.host = address
        # Not `create_connection`, which asks for names and so reads the modules for that.
        self.socket = socket.socket()
        self.socket.connect((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

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
        self.socket, self.reader = here, here.makefile("rb")
        with here, there, self.reader:
            answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
            there.sendall(answer * 2)
            self.ask("GET", "invocation/next")
            self.ask("POST", "invocation/0/response", b"{}")
        self.socket, self.reader = kept

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


def reseed():
    """After a fork: what generates random numbers must not go on where its siblings do. Python's own
    generator is seeded by the fork, and whatever asks the kernel needs nothing."""
    ssl = sys.modules.get("ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(32), 32.0)
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy.random" in sys.modules:
        # Its whole state at once: to seed it touches more than twice as many pages.
        key = numpy.frombuffer(os.urandom(624 * 4), "u4")
        numpy.random.set_state(("MT19937", key, 624, 0, 0.0))


def rehearse():
    """Does once what a start and every call do, so that its memory and caches are this process's own:
    after a fork the first touch of each page costs a copy."""
    headers = {"lambda-runtime-aws-request-id": "", "lambda-runtime-deadline-ms": "1"}
    context = Context(headers)
    context.get_remaining_time_in_millis()
    run(lambda event, _: event, b'{"a": [1, 2.5, "b", null, true]}', context)
    logging.root.isEnabledFor(logging.INFO)
    own = dict(os.environ)
    replace_environment({**own, "ROUSE_REHEARSAL": "1"})
    replace_environment(own)
    time.tzset()
    # Imports the codec that every connection by name asks for.
    "localhost".encode("idna")


def rehearse_import():
    """Imports a small module as if it were a handler's; it is not there before and not there afterwards."""
    if REHEARSED in sys.modules:
        # What was preloaded has brought its own.
        return
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, MODULES)
    try:
        load_handler(f"{REHEARSED}.register_before_snapshot")
    except BootstrapError as error:
        # A start is slower then, and as good.
        print(f"rehearsal: {error}", file=sys.stderr)
    finally:
        sys.path.remove(MODULES)
        sys.path_importer_cache.pop(MODULES, None)
        sys.modules.pop(REHEARSED, None)
        sys.dont_write_bytecode = before


def is_readable(connection, patience):
    return bool(select.select([connection], [], [], patience)[0])


def rehearse_ahead():
    """In the zygote: what its forks do first, so that they find the modules for it imported, and the
    interpreter's code adapted to it: what a fork adapts by itself, it copies first."""
    api = RuntimeApi.__new__(RuntimeApi)
    api.host, api.socket, api.reader = "", None, None
    for _ in range(REHEARSALS):
        reseed()
        rehearse()
        rehearse_import()
        api.rehearse()


def wait(control, logs):
    """In a fork of the zygote: waits on the socket `control` for the function's variables, then runs
    as ever. The connection is made ahead: the platform takes it when there is a function."""
    reseed()
    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    with socket.socket(fileno=control) as told:
        told.send(b"1")
        # Whoever is waited for already does not rehearse.
        patience = PATIENCE
        for part in (rehearse, rehearse_import, api.rehearse):
            if is_readable(told, patience):
                break
            part()
            patience = 0
        message = told.recv(256 * 1024)
    if not message:
        sys.exit(0)
    environment = json.loads(message)["environment"]
    replace_environment(environment)
    task_root = environment["LAMBDA_TASK_ROOT"]
    os.chdir(task_root)
    # What was known of the empty folder does not hold any more.
    for path in [path for path in sys.path_importer_cache if path.startswith(task_root)]:
        del sys.path_importer_cache[path]
    serve(api, logs)


def replace_environment(environment):
    """Sets and removes what differs only: most of what a fork has, its function has too."""
    zone = os.environ.get("TZ")
    for name in [name for name in os.environ if name not in environment]:
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    if environment.get("TZ") != zone:
        time.tzset()


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
