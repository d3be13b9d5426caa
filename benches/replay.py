"""A recorded workload replayed through the engine: what keeping instances saves, and what it costs."""

import multiprocessing
import queue
import time

import programs
import workload
from client import Client
from measure import Result, number, percentile, progress
from rouse import Rouse, function

TTLS = (1, 10, 60, 600)
# Functions with more calls a second than this are left out, unless asked for: nine of the sample's make nine
# tenths of its calls, so that the others would have to be replayed nearly as slowly as they were recorded.
MOST = 1.0
# Seconds between two looks at the instances.
LOOK = 0.2


def watch(port, token, stop, out, begin):
    """Looks at the instances until told to stop; gives for each look its moment and how many are idle, by
    function. A process of its own, so that it does not hold up the client."""
    from wire import Connection

    connection = Connection(("127.0.0.1", port), {"Authorization": f"Bearer {token}"})
    looks = []
    while not stop.wait(LOOK):
        at, idle = time.monotonic() - begin, {}
        for one in connection.json("GET", "/_rouse/v1/instances"):
            if one["state"] == "idle":
                name = one["owner"]["name"]
                idle[name] = idle.get(name, 0) + 1
        looks.append((at, idle))
    out.put(looks)


def default_keep_alive():
    """Seconds that the server keeps an idle instance of a function that does not say."""
    with Rouse((programs.STATIC,), {"plain": function(programs.STATIC)}) as rouse:
        return rouse.connect().json("GET", "/_rouse/v1/functions/plain")["spec"]["scaling"]["keep_alive"] / 1000


def names_of(load):
    return [f"trace-{n}" for n in range(len(load.memory))]


def replay(load, scale, ttl, label):
    """All calls at their moments, `scale` times as fast. Gives answers and looks, in seconds of this run."""
    names = names_of(load)
    keep = {"keep_alive": f"{max(round(ttl / scale * 1000), 1)}ms", "max": 1000, "queue": 1000}
    deployed = {name: function(programs.STATIC, timeout="900s", concurrency=keep) for name in names}
    calls = [(call.at / scale, names[call.function], b'{"ms":%.3f}' % (call.seconds * 1000 / scale))
             for call in load.calls]
    with Rouse((programs.STATIC,), deployed) as rouse:
        client = Client(rouse.connect)
        client.open(64)
        begin = time.monotonic() + 1
        fork = multiprocessing.get_context("fork")
        stop, out = fork.Event(), fork.Queue()
        watcher = fork.Process(target=watch, args=(rouse.port, rouse.token, stop, out, begin), daemon=True)
        watcher.start()

        def told(done):
            if done % 100 == 0 or done == len(calls):
                progress(f"trace, {label}", done, len(calls))

        try:
            answers = client.run(calls, begin, told)
            stop.set()
            looks = out.get(timeout=60)
        except queue.Empty:
            raise RuntimeError("the instances could not be watched to the end") from None
        finally:
            stop.set()
            watcher.join(5)
            watcher.terminate()
            client.close()
    return answers, looks


def account(load, scale, warm_up, answers, looks):
    """The figures of one policy, over what came after the warm-up (seconds of the trace)."""
    counted = [(call, answer) for call, answer in zip(load.calls, answers) if call.at >= warm_up]
    bad = [answer for _, answer in counted if answer.status != 200 or answer.ending != "succeeded"]
    if bad:
        raise RuntimeError(f"{len(bad)} of {len(counted)} calls failed, such as {bad[0]}")
    added = [(answer.answered - answer.sent - call.seconds / scale) * 1000 for call, answer in counted]
    late = [(answer.sent - answer.due) * 1000 for _, answer in counted]
    span = (load.minutes * 60 - warm_up) / scale
    memory = dict(zip(names_of(load), load.memory))
    within = [idle for at, idle in looks if warm_up / scale <= at < load.minutes * 60 / scale]
    each = span / max(len(within), 1)
    idle = sum(count * memory[name] for look in within for name, count in look.items()) * each
    busy = sum(call.seconds / scale * load.memory[call.function] for call, _ in counted)
    colds = sum(answer.cold for _, answer in counted)
    return {
        "calls": len(counted), "colds": colds, "cold ratio": colds / len(counted),
        "added p50": percentile(added, 0.5), "added p99": percentile(added, 0.99),
        "added p99.9": percentile(added, 0.999), "client late p50": percentile(late, 0.5),
        "client late p99": percentile(late, 0.99), "idle over busy memory": idle / busy,
        "idle instances": sum(sum(look.values()) for look in within) / max(len(within), 1),
        "looks": len(within),
    }


def measure(settings):
    prefix = workload.prefix_in(settings.trace) if settings.trace else workload.SAMPLE
    minutes = settings.minutes or settings.of(70, 6)
    scale = settings.scale or 30
    most = settings.most or MOST
    load = workload.read(prefix, minutes, most)
    warm_up = load.minutes * 60 / 7
    default = default_keep_alive()
    policies = [(f"TTL {ttl} s", ttl) for ttl in settings.of(TTLS, (1, 60))] + [(f"default ({default:g} s)", default)]
    result = Result(f"Trace: {len(load.calls):,} calls of {len(load.memory)} functions in {load.minutes} minutes, "
                    f"replayed {scale:g} times as fast")
    rows, late = [], []
    for label, ttl in policies:
        one = account(load, scale, warm_up, *replay(load, scale, ttl, label))
        result.figures[label] = one
        rows.append([label, f"{one['cold ratio']:.2%}", number(one["added p50"]),
                     number(one["added p99"]), number(one["added p99.9"]), f"{one['idle over busy memory']:.2f}",
                     number(one["idle instances"])])
        late.append(one["client late p99"])
    result.table("by how long an idle instance is kept (times of the trace)",
                 ["policy", "cold", "added p50, ms", "p99, ms", "p99.9, ms", "idle / busy memory",
                  "idle instances"], rows)
    rate = len(load.calls) / (load.minutes * 60 / scale)
    result.notes += [
        f"{rate:.0f} calls a second on average. Durations and keep-alive times are divided by {scale:g} as the "
        "clock is; what rouse adds is real time, so its costs weigh that many times more than they would.",
        f"Each function is a sandboxed program that sleeps the recorded duration. The first {warm_up / 60:.0f} minutes "
        "are not counted. Added: request sent to answer read, less the duration.",
        f"Left out: {load.left_out} functions called more than {most:g} times a second, with {load.left_out_calls:,} "
        "calls; nearly all of those are warm, so the cold ratio of everything is lower. --most takes them in.",
        f"The client itself was late by {number(max(late))} ms at its 99th percentile, not counted as added.",
        "Idle over busy memory: idle instances, looked at five times a second, each with its function's recorded "
        "memory, over recorded durations with the same memory.",
    ]
    return result
