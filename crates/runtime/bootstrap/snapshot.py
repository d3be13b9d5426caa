"""Initialises a function once, and is forked for each of its instances (`snapshot: init`).

Unlike the zygote that functions share, this one runs user code. So it is contained as an instance is, and
nobody believes what it says. The launcher speaks to it on descriptor 3: first the system call filter of
its forks, then for each fork one packet with the descriptors of an armed sandbox. What it says itself is
one packet in JSON: that it can be forked, or why the initialisation failed."""

import bootstrap  # first: it takes the function's code off the path
import zygote  # next: it notes what every instance has imported

import gc
import json
import os
import socket
import stat
import sys
import time

import stem

CONTROL = zygote.CONTROL
HOOKS = "snapshot_restore_py"
# Longest message of an error, so that the packet fits.
MESSAGE_MAX = 8 * 1024


def hooks(which):
    """What the function has registered, by the platform's module or one of its own."""
    found = getattr(sys.modules.get(HOOKS), which, None)
    return list(found()) if callable(found) else []


def run_hooks(registered, error_type):
    for function, args, kwargs in registered:
        try:
            function(*args, **kwargs)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            raise bootstrap.BootstrapError(error_type, message) from error


def give_way():
    """A function may have modules of the names of what only this program has imported."""
    zygote.hide()
    brought = {name.partition(".")[0] for name in os.listdir(os.environ["LAMBDA_TASK_ROOT"])}
    for name in list(sys.modules):
        top = name.partition(".")[0]
        if top in brought and top not in zygote.ORDINARY:
            del sys.modules[name]


def initialise():
    """All that instances shall not do again. Gives the handler."""
    give_way()
    bootstrap.set_path()
    os.chdir(os.environ["LAMBDA_TASK_ROOT"])
    handler = bootstrap.load_handler(os.environ["_HANDLER"])
    run_hooks(reversed(hooks("get_before_snapshot")), "Runtime.BeforeSnapshotError")
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise bootstrap.BootstrapError(
            "Runtime.SnapshotError",
            f"the initialisation has started {threads - 1} threads, which no instance would have: "
            "start them in a hook that runs after the restore, or leave out snapshot: init",
        )
    return handler


def sever():
    """A connection that the initialisation left open would be shared by all instances: in each it is at
    its end, which whoever uses it notices, and connects again."""
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        for fd in map(int, os.listdir("/proc/self/fd")):
            try:
                is_socket = fd > CONTROL and stat.S_ISSOCK(os.fstat(fd).st_mode)
            except OSError:
                # The folder's own descriptor.
                continue
            if is_socket and family(fd) != socket.AF_UNIX:
                os.dup2(ours.fileno(), fd, inheritable=False)


def family(fd):
    with socket.socket(fileno=os.dup(fd)) as found:
        return found.family


class Snapshot:
    def __init__(self, control, filter, handler, logs):
        self.control = control
        self.seal = zygote.Seal(filter)
        self.handler = handler
        self.logs = logs
        self.fork = zygote.Fork()

    def serve(self):
        while True:
            message, fds, _, _ = socket.recv_fds(self.control, 64, 32)
            if not message:
                return
            self.answer(fds)
            for fd in fds:
                os.close(fd)

    def answer(self, fds):
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            zygote.check(zygote.libc.setns(fds[1], zygote.NEWPID), "entering the pid namespace")
            pid = self.fork()
        except OSError as error:
            # The sandbox's socket is closed without a word, which tells the launcher.
            print(f"snapshot: {error}", file=sys.stderr)
            return
        if pid == 0:
            self.become(fds)

    def become(self, fds):
        """In the fork. Never returns."""
        code = 1
        try:
            self.enter(fds)
            self.wait()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException as error:  # noqa: BLE001
            print(f"snapshot: {error!r}", file=sys.stderr, flush=True)
        finally:
            zygote.leave(code)

    def enter(self, fds):
        control, sandbox, stdout, stderr, *groups = fds
        for group in groups:
            os.write(group, b"0")
        others = zygote.NEWNS | zygote.NEWCGROUP | zygote.NEWUTS | zygote.NEWIPC | zygote.NEWNET
        zygote.check(zygote.libc.setns(sandbox, others), "entering the sandbox")
        os.chdir(os.environ["LAMBDA_TASK_ROOT"])
        os.setsid()
        for fd, number in ((stdout, 1), (stderr, 2), (control, CONTROL)):
            os.dup2(fd, number)
        # The old socket's number is the new one's now.
        self.control.detach()
        for fd in fds:
            os.close(fd)
        sever()
        self.seal()

    def wait(self):
        """Waits for a call that needs an instance, then runs as ever."""
        stem.reseed()
        api = bootstrap.RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
        stem.rehearse()
        api.rehearse()
        with socket.socket(fileno=CONTROL) as told:
            told.send(b"1")
            message = told.recv(256 * 1024)
        if not message:
            sys.exit(0)
        os.environ.update(json.loads(message)["environment"])
        time.tzset()
        try:
            run_hooks(hooks("get_after_restore"), "Runtime.AfterRestoreError")
        except bootstrap.BootstrapError as error:
            error_type, report = bootstrap.describe(error)
            bootstrap.log_error("Restore", report)
            api.post_error("init/error", error_type, report)
            sys.exit(1)
        bootstrap.answer_all(api, self.handler, self.logs)


def main():
    control = socket.socket(fileno=CONTROL)
    filter = control.recv(zygote.MESSAGE_MAX)
    logs = bootstrap.open_logs()
    try:
        handler = initialise()
    except Exception as error:
        error_type, report = bootstrap.describe(error)
        bootstrap.log_error("Init", report)
        told = {"type": error_type[:200], "message": report["errorMessage"][:MESSAGE_MAX]}
        control.send(json.dumps({"init_error": told}).encode())
        sys.exit(1)
    stem.rehearse()
    # What lives now lives for ever: the collector must not touch it, or each fork would copy it.
    gc.collect()
    gc.freeze()
    control.send(b'{"ready": true}')
    Snapshot(control, filter, handler, logs).serve()


if __name__ == "__main__":
    main()
