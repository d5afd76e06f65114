"""What it costs to have a job done by another server: `relay.py SKEP MODEL [ROUNDS]`.

Two servers of the program SKEP, of which one has the other in its catalog. The same is asked of the hive itself and of
its queen, one right after the other: the tokens of a model, small jobs one after the other, and events as fast as they
come. What a round says is the ratio of its pair, so that a slow moment of the machine, which meets both, is divided
out; what is told is the median of the rounds' ratios, and the bounds between which it is with a certainty of 95%.
"""

import http.client
import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
import threading
import time

EVENTS = 2_000_000
CALLS = 300
TOKENS = 400
# Of tokens it's asked whether two percent are lost, which is less than the machine's own spread.
ROUNDS = 45


def serve(program, store, directory):
    """Starts a server on a directory, and returns its process and its address."""
    arguments = [program, "serve", "--listen", "127.0.0.1:0", "--data-dir", directory, "--store", store]
    server = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        if "listening on http://" in line:
            address = line.split("listening on http://")[1].strip()
            threading.Thread(target=lambda: [None for _ in server.stderr], daemon=True).start()
            return server, address
    raise SystemExit(f"{program} has not started")


def call(address, operation, fields):
    """Runs an operation, and returns its result."""
    connection = http.client.HTTPConnection(address)
    connection.request(
        "POST", f"/v1/operations/{operation}", json.dumps(fields), {"Content-Type": "application/json"}
    )
    answer = connection.getresponse()
    body = json.load(answer)
    if answer.status != 200:
        raise SystemExit(f"{operation}: {body}")
    return body


def stream(address, operation, fields):
    """How long an operation takes whose events are read and thrown away, seconds."""
    begun = time.perf_counter()
    headers = ["-H", "Accept: text/event-stream", "-H", "Content-Type: application/json"]
    url = f"http://{address}/v1/operations/{operation}"
    subprocess.run(
        ["curl", "-sN", "-o", "/dev/null", url, *headers, "-d", json.dumps(fields)], check=True
    )
    return time.perf_counter() - begun


def calls(address, fields):
    """The median time of a small job, microseconds."""
    connection = http.client.HTTPConnection(address)
    times = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        body = json.dumps(fields)
        connection.request("POST", "/v1/operations/echo", body, {"Content-Type": "application/json"})
        connection.getresponse().read()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e6


def pairs(measure, ways, rounds):
    """What `measure` finds of each of two ways, round by round; the first round, which warms up, is thrown away."""
    found = []
    for number in range(rounds + 1):
        # Now the one first and now the other: what the first of a pair leaves behind meets both.
        order = ways if number % 2 else ways[::-1]
        values = {at: measure(at, fields) for at, fields in order}
        found.append([values[at] for at, _ in ways])
    return found[1:]


def bounds(values):
    """Between which two of the values their median lies, with a certainty of 95% (from six values on)."""
    count = len(values)
    below = itertools.accumulate(math.comb(count, rank) / 2**count for rank in range(count))
    outside = max(sum(chance <= 0.025 for chance in below), 1)
    ordered = sorted(values)
    return ordered[outside - 1], ordered[-outside]


def main():
    program, model = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else ROUNDS
    for store in ["memory", "sqlite"]:
        directory = tempfile.TemporaryDirectory()
        queen, at_queen = serve(program, store, f"{directory.name}/queen")
        hive, at_hive = serve(program, store, f"{directory.name}/hive")
        try:
            call(at_queen, "hive_create", {"id": "hive", "port": int(at_hive.rsplit(":", 1)[1])})
            call(at_hive, "model_import", {"path": model, "id": "model"})
            echo = {"value": "x", "count": EVENTS}
            infer = {"model": "model", "prompt": "Once upon a time", "max_tokens": TOKENS, "seed": 1}
            ways = [(at_hive, {}), (at_queen, {"hive_id": "hive"})]
            print(f"store `{store}`:")
            for name, measure in [
                ("ms a token", lambda at, way: stream(at, "infer", infer | way) / TOKENS * 1e3),
                ("us a small job", lambda at, way: calls(at, {"value": 1} | way)),
                # Last: what they leave to be stored takes the processor from others for a while.
                ("M events/s of `echo`", lambda at, way: EVENTS / stream(at, "echo", echo | way) / 1e6),
            ]:
                found = pairs(measure, ways, rounds)
                direct, relayed = (statistics.median(values) for values in zip(*found))
                ratios = [relayed / direct for direct, relayed in found]
                low, high = bounds(ratios)
                print(
                    f"  {name:22} direct {direct:8.2f}  relayed {relayed:8.2f}"
                    f"  ratio {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f}, {len(ratios)} rounds)",
                    flush=True,
                )
        finally:
            for server in [queen, hive]:
                server.terminate()
                server.wait()
            directory.cleanup()


main()
