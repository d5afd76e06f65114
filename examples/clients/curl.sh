#!/bin/sh
# A job's whole life by curl: made, read, resumed, shown, cancelled. Usage: curl.sh URL
set -eu
url=$1

# An operation in one request: the answer is its result.
curl -sSf "$url/v1/operations/echo" --json '{"value": "hello"}'
echo

# A job, which goes on whoever reads it. One key, one job: asked for twice, made once.
job=$(curl -sSf "$url/v1/jobs" -H 'Idempotency-Key: greeting-1' \
    --json '{"operation": "echo", "value": "hello", "count": 3}')
sse=$(printf %s "$job" | sed 's/.*"sse_url":"\([^"]*\)".*/\1/')

# Its events from the first, and from where a connection broke off.
curl -sSfN "$url$sse"
curl -sSfN "$url$sse" -H 'Last-Event-ID: 3'

# One that would take an hour, cancelled.
long=$(curl -sSf "$url/v1/jobs" \
    --json '{"operation": "echo", "value": "tick", "count": 3600, "interval_us": 1000000}')
id=$(printf %s "$long" | sed 's/.*"job_id":"\([^"]*\)".*/\1/')
curl -sSf -X DELETE "$url/v1/jobs/$id"
echo
curl -sSf "$url/v1/jobs/$id?wait=10s" | sed 's/.*"state":"\([^"]*\)".*/\1/'
echo
