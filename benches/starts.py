"""Complete starts a second: start, one call, end, clean-up."""

import statistics

import programs
from load import invocations, offer
from measure import Goal, Result, number, progress, timed
from peers import Bare, Bwrap, a_second
from rouse import Rouse, function

PARALLEL = (1, 8, 64)
# The calls are spread over so many functions, as the engine bounds the starts of one of them.
FUNCTIONS = 16
ROUNDS = 3


def beside(result, rates, runs):
    """The same program started by the peers that only start it, in the same run."""
    for peer in (Bwrap((programs.STATIC,)), Bare((programs.STATIC,))):
        command = peer.command(programs.STATIC)
        found = {}
        for parallel in PARALLEL:
            found[parallel] = statistics.median(a_second(command, parallel, runs) for _ in range(ROUNDS))
            result.figures[f"{peer.name}, {parallel} in parallel"] = found[parallel]
        rates[peer.name] = found


def measure(settings):
    seconds = settings.of(5, 2)
    result = Result(f"Starts a second: the static program, {ROUNDS} rounds of {seconds} s")
    names = [f"start-{n}" for n in range(FUNCTIONS)]
    deployed = {name: function(programs.STATIC, fresh="always", egress="public") for name in names}
    rows, medians = [], {}
    with Rouse((programs.STATIC,), deployed) as rouse:
        connection = rouse.connect()
        offer(rouse.port, rouse.token, invocations(names), 8, 1)
        for parallel in PARALLEL:
            rates = []
            for done in range(ROUNDS):
                counted = offer(rouse.port, rouse.token, invocations(names), parallel, seconds)
                drain = timed(lambda: rouse.wait_until_gone(connection)) / 1000
                rates.append(counted["cold"] / (counted["seconds"] + drain))
                progress(f"{parallel} in parallel", done + 1, ROUNDS)
            rows.append([parallel, number(statistics.median(rates)), number(min(rates)), number(max(rates)),
                         number(counted["p50"]), number(counted["p99"])])
            medians[parallel] = result.figures[f"{parallel} in parallel"] = statistics.median(rates)
    result.table("starts a second", ["in parallel", "median", "least", "most", "p50 ms", "p99 ms"], rows)
    rates = {"rouse": medians}
    beside(result, rates, settings.of(600, 60))
    result.table("beside peers, a second (rouse's in multiples of theirs)", ["", *(f"{n} in parallel" for n in PARALLEL)],
                 [[name, *(f"{number(one[n])} ({medians[n] / one[n]:.2f}×)" for n in PARALLEL)]
                  for name, one in rates.items()])
    result.goals.append(Goal("static, 64 in parallel", 1500, result.figures["64 in parallel"], "a second", least=True))
    result.notes.append(f"Counted are answers of new instances (fresh: always, egress: public), {FUNCTIONS} functions "
                        "in turns. The time until the last instance has ended and is cleaned up counts as well.")
    result.notes.append(f"Peers are started by xargs, {settings.of(600, 60)} times in each of {ROUNDS} rounds, and only print a "
                        "line: no request, no answer, no record, no network. They tell how fast the machine was in that "
                        "minute. xargs itself forks one after the other.")
    return result
