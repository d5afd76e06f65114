#!/bin/sh
# Count down to zero, a second at a time. What it prints is its output.
if [ "$1" = --skep-spec ]; then
    cat <<'END'
{
    "summary": "Count down from five, a second at a time.",
    "input": { "type": "object", "additionalProperties": false },
    "max_concurrency": 4
}
END
    exit
fi

trap 'echo "stopped at $left" >&2; exit 1' TERM

left=5
while [ "$left" -gt 0 ]; do
    echo "$left"
    # In the background, so that the trap doesn't wait for it.
    sleep 1 &
    wait $!
    left=$((left - 1))
done
echo '{"result": "lift-off"}'
