#!/usr/bin/env python3
"""Make a job and follow it to its end, over lost connections. Python's standard library is enough.

Usage: follow.py URL OPERATION INPUT
"""

import json
import sys
import time
import urllib.error
import urllib.request


def create(url, operation, fields):
    body = json.dumps({"operation": operation, **fields}).encode()
    request = urllib.request.Request(
        f"{url}/v1/jobs", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def events(url, path):
    """The job's events, each once: a connection that breaks is made again after the last one."""
    last = 0
    while True:
        request = urllib.request.Request(url + path, headers={"Last-Event-ID": str(last)})
        try:
            # A silent stream has a comment every 15 seconds.
            with urllib.request.urlopen(request, timeout=60) as stream:
                if stream.status == 204:
                    return
                event = {"event": "message"}
                for line in stream:
                    line = line.decode().rstrip("\n")
                    if line and not line.startswith(":"):
                        field, _, value = line.partition(": ")
                        event[field] = value
                    elif "id" in event:
                        last = int(event["id"])
                        yield event["event"], json.loads(event["data"])
                        if event["event"] == "end":
                            return
                        event = {"event": "message"}
        except urllib.error.HTTPError as refused:
            sys.exit(f"{refused.status}: {json.load(refused)['detail']}")
        except OSError:
            pass
        time.sleep(0.5)


def main():
    url, operation, fields = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    try:
        job = create(url, operation, fields)
    except urllib.error.HTTPError as refused:
        problem = json.load(refused)
        errors = [f"{error['pointer']} {error['detail']}" for error in problem.get("errors", [])]
        sys.exit("\n".join([problem["detail"], *errors]))
    for kind, data in events(url, job["sse_url"]):
        if kind == "message":
            print(json.dumps(data), flush=True)
        elif kind == "end" and data["state"] != "succeeded":
            sys.exit(json.dumps(data))
        elif kind == "end":
            print("result:", json.dumps(data["result"]), flush=True)


if __name__ == "__main__":
    main()
