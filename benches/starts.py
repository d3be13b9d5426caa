"""Complete starts a second: start, one call, end, clean-up."""

import statistics

import programs
from load import invocations, offer
from measure import Goal, Result, number, progress, timed
from rouse import Rouse, function

PARALLEL = (1, 8, 64)
# The calls are spread over so many functions, as the engine bounds the starts of one of them.
FUNCTIONS = 16
ROUNDS = 3


def measure(settings):
    seconds = settings.of(5, 2)
    result = Result(f"Starts a second: the static program, {ROUNDS} rounds of {seconds} s")
    names = [f"start-{n}" for n in range(FUNCTIONS)]
    deployed = {name: function(programs.STATIC, fresh="always", egress="public") for name in names}
    rows = []
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
            result.figures[f"{parallel} in parallel"] = statistics.median(rates)
    result.table("starts a second", ["in parallel", "median", "least", "most", "p50 ms", "p99 ms"], rows)
    result.goals.append(Goal("static, 64 in parallel", 1500, result.figures["64 in parallel"], "a second", least=True))
    result.notes.append(f"Counted are answers of new instances (fresh: always, egress: public), {FUNCTIONS} functions "
                        "in turns. The time until the last instance has ended and is cleaned up counts as well.")
    return result
