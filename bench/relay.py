"""What it costs to have a job done by another server: `relay.py SKEP MODEL [ROUNDS]`.

Two servers of the program SKEP, of which one has the other in its catalog. By turns, the same is asked of the hive
itself and of its queen: events as fast as they come, small jobs one after the other, and the tokens of a model.
"""

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time

EVENTS = 2_000_000
CALLS = 300
TOKENS = 400


def serve(program, store):
    """Starts a server, and returns its process and its address."""
    directory = tempfile.mkdtemp()
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


def main():
    program, model = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    for store in ["memory", "sqlite"]:
        (queen, at_queen), (hive, at_hive) = serve(program, store), serve(program, store)
        try:
            call(at_queen, "hive_create", {"id": "hive", "port": int(at_hive.rsplit(":", 1)[1])})
            call(at_hive, "model_import", {"path": model, "id": "model"})
            echo = {"value": "x", "count": EVENTS}
            infer = {"model": "model", "prompt": "Once upon a time", "max_tokens": TOKENS, "seed": 1}
            stream(at_hive, "infer", infer | {"max_tokens": 4})
            ways = {"direct": (at_hive, {}), "relayed": (at_queen, {"hive_id": "hive"})}
            print(f"store `{store}`, medians of {rounds} rounds:")
            for name, measure in [
                ("ms a token", lambda at, way: stream(at, "infer", infer | way) / TOKENS * 1e3),
                ("us a small job", lambda at, way: calls(at, {"value": 1} | way)),
                # Last: what they leave to be stored takes the processor from others for a while.
                ("M events/s of `echo`", lambda at, way: EVENTS / stream(at, "echo", echo | way) / 1e6),
            ]:
                taken = {way: [] for way in ways}
                for number in range(rounds):
                    # By turns, the one or the other first, so that a slow moment of the machine meets both.
                    for way in ways if number % 2 else reversed(ways):
                        taken[way].append(measure(*ways[way]))
                direct, relayed = (statistics.median(taken[way]) for way in ways)
                print(f"  {name:22} direct {direct:8.2f}  relayed {relayed:8.2f}  ratio {relayed / direct:.3f}")
        finally:
            for server in [queen, hive]:
                server.terminate()
                server.wait()


main()
