"""What a fork of a zygote does until it is an instance: it has random numbers of its own, rehearses while nobody
waits, and takes its function. And what a zygote does ahead, so that its forks copy little: the first touch of
each page costs a fork more than what it does there."""

import json
import logging
import os
import select
import socket
import sys
import time

import bootstrap

# One of the modules that the platform brings.
REHEARSED = "snapshot_restore_py"
# Of a zygote; the interpreter adapts its code to what it has seen eight times or more.
REHEARSALS = 20
# Seconds until a fork takes it that no call waits for it.
PATIENCE = 0.03
# Of a function's variables, in JSON.
MESSAGE_MAX = 256 * 1024


class Generators:
    """Of a zygote that rehearses: what makes it cheap for its forks to have random numbers of their own."""

    # Of the MT19937: words of four bytes.
    WORDS = 624

    def __init__(self):
        self.pid = os.getpid()
        self.numpy = self.find_numpy()

    def find_numpy(self):
        """Where numpy keeps its generator's words, and how many of them are used up. `None` unless they are found
        where they are known to be."""
        random = sys.modules.get("numpy.random")
        if random is None:
            return None
        try:
            from ctypes import c_char, c_int

            at = random.mtrand._rand._bit_generator.ctypes.state_address
            words = (c_char * (4 * self.WORDS)).from_address(at)
            used = c_int.from_address(at + 4 * self.WORDS)
            kind, key, position, has_gauss, _ = random.get_state()
        except (AttributeError, ImportError, ValueError):
            return None
        is_known = (kind, key.tobytes(), position, has_gauss) == ("MT19937", words.raw, used.value, 0)
        return (words, used) if is_known else None


def reseed(generators=None):
    """After a fork: what generates random numbers must not go on where its siblings do. Python's own
    generator is seeded by the fork, and whatever asks the kernel needs nothing."""
    ssl = sys.modules.get("ssl")
    # OpenSSL finds out by itself that it was forked, by the process's number. In another namespace that may be the
    # same.
    if ssl is not None and (generators is None or generators.pid == os.getpid()):
        ssl.RAND_add(os.urandom(32), 32.0)
    if generators is not None and generators.numpy is not None:
        words, used = generators.numpy
        words.raw = os.urandom(4 * Generators.WORDS)
        used.value = Generators.WORDS
        return
    numpy = sys.modules.get("numpy")
    if numpy is not None and "numpy.random" in sys.modules:
        # Its whole state at once: to seed it touches more than twice as many pages.
        key = numpy.frombuffer(os.urandom(4 * Generators.WORDS), "u4")
        numpy.random.set_state(("MT19937", key, Generators.WORDS, 0, 0.0))


def rehearse():
    """Does once what a start and every call do, so that its memory and caches are this process's own:
    after a fork the first touch of each page costs a copy."""
    headers = {"lambda-runtime-aws-request-id": "", "lambda-runtime-deadline-ms": "1"}
    context = bootstrap.Context(headers)
    context.get_remaining_time_in_millis()
    bootstrap.run(lambda event, _: event, b'{"a": [1, 2.5, "b", null, true]}', context)
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
    sys.path.insert(0, bootstrap.MODULES)
    try:
        bootstrap.load_handler(f"{REHEARSED}.register_before_snapshot")
    except bootstrap.BootstrapError as error:
        # A start is slower then, and as good.
        print(f"rehearsal: {error}", file=sys.stderr)
    finally:
        sys.path.remove(bootstrap.MODULES)
        sys.path_importer_cache.pop(bootstrap.MODULES, None)
        sys.modules.pop(REHEARSED, None)
        sys.dont_write_bytecode = before


def is_readable(connection, patience):
    return bool(select.select([connection], [], [], patience)[0])


def rehearse_ahead():
    """In the zygote: what its forks do first, so that they find the modules for it imported, and the
    interpreter's code adapted to it: what a fork adapts by itself, it copies first. Gives what they reseed by."""
    reseed()
    generators = Generators()
    random = sys.modules.get("random")
    for _ in range(REHEARSALS):
        if random is not None:
            random.seed()
        reseed(generators)
        rehearse()
        rehearse_import()
        api = bootstrap.RuntimeApi("127.0.0.1:9001", lambda *_: None)
        api.rehearse()
        api.close()
    find_ahead(bootstrap.TASK_ROOT)
    return generators


def find_ahead(folder):
    """Makes what finds modules in the folder, which looks at it when it is first asked. What is known already is
    forgotten: here it is empty."""
    sys.path_importer_cache.pop(folder, None)
    for hook in sys.path_hooks:
        try:
            sys.path_importer_cache[folder] = hook(folder)
        except ImportError:
            continue
        return


def wait(control, logs, generators):
    """In a fork of the zygote: waits on the socket `control` for the function's variables, then runs
    as ever. The connection is made ahead: the platform takes it when there is a function."""
    reseed(generators)
    api = bootstrap.RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    os.write(control, b"1")
    # Whoever is waited for already does not rehearse.
    patience = PATIENCE
    for part in (rehearse, rehearse_import, api.rehearse):
        if is_readable(control, patience):
            break
        part()
        patience = 0
    message = os.read(control, MESSAGE_MAX)
    os.close(control)
    if not message:
        sys.exit(0)
    environment = json.loads(message)["environment"]
    replace_environment(environment)
    os.chdir(environment["LAMBDA_TASK_ROOT"])
    bootstrap.serve(api, logs)


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
