"""Load by wrk, with a script that counts what the answers say."""

import json
import subprocess
import tempfile

SCRIPT = """
local paths, token = {}, "%s"
for path in string.gmatch("%s", "%%S+") do table.insert(paths, path) end
local headers = { ["Authorization"] = "Bearer " .. token, ["Content-Type"] = "application/json" }
local at, threads = 0, {}
cold, failed, refused, why = 0, 0, 0, ""

function setup(thread) table.insert(threads, thread) end

function request()
  at = at %% #paths + 1
  return wrk.format("POST", paths[at], headers, "{}")
end

function response(status, answer, body)
  if status >= 400 then
    refused = refused + 1
    why = status .. " " .. string.sub(body, 1, 200)
  elseif answer["x-rouse-ending"] and answer["x-rouse-ending"] ~= "succeeded" then
    failed = failed + 1
    why = answer["x-rouse-ending"]
  end
  if answer["x-rouse-cold"] == "true" then cold = cold + 1 end
end

function done(summary, latency)
  local total = { cold = 0, failed = 0, refused = 0 }
  local reason = ""
  for _, thread in ipairs(threads) do
    for name, value in pairs(total) do total[name] = value + thread:get(name) end
    if thread:get("why") ~= "" then reason = thread:get("why") end
  end
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  local form = '@{"requests":%%d,"seconds":%%f,"cold":%%d,"failed":%%d,"refused":%%d,"errors":%%d,'
    .. '"p50":%%f,"p99":%%f,"why":"%%s"}'
  print(string.format(form,
    summary.requests, summary.duration / 1e6, total.cold, total.failed, total.refused, errors,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, (string.gsub(reason, '[^%%w .,:_-]', ''))))
end
"""


def invocations(names):
    return [f"/_rouse/v1/functions/{name}/invocations?type=wait" for name in names]


def offer(port, token, paths, clients, seconds):
    """Offers as many calls as so many clients can make, the paths in turns. Gives what wrk counted.

    # Errors
    An answer that is an error, a function that fails, a connection that breaks: no figure is right then.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % (token, " ".join(paths)))
        script.flush()
        told = subprocess.run(
            ["wrk", "-t", "1", "-c", str(clients), "-d", f"{seconds}s", "--timeout", "60s", "-s",
             script.name, f"http://127.0.0.1:{port}/"],
            capture_output=True, text=True, check=True).stdout
    counted = json.loads(told[told.index("\n@") + 2:].splitlines()[0])
    if counted["failed"] or counted["refused"] or counted["errors"]:
        raise RuntimeError(f"not every call was answered: {counted}")
    counted["rate"] = counted["requests"] / counted["seconds"]
    counted["cold_rate"] = counted["cold"] / counted["seconds"]
    return counted
