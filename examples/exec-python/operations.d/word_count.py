#!/usr/bin/env python3
"""Count the words of a text, and show each."""

import json
import sys
from collections import Counter

SPEC = {
    "summary": "Count the words of a text.",
    "input": {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "The text."},
            "top": {"type": "integer", "minimum": 1, "default": 3, "description": "How many of the most frequent."},
        },
        "required": ["text"],
        "additionalProperties": False,
    },
    "output": {
        "type": "object",
        "properties": {"words": {"type": "integer"}, "top": {"type": "array", "items": {"type": "string"}}},
        "required": ["words", "top"],
    },
    "timeout": "30s",
    "read_only": True,
    "idempotent": True,
}


def say(**line):
    print(json.dumps(line), flush=True)


def main():
    given = json.load(sys.stdin)
    words = given["text"].lower().split()
    if not words:
        say(error={"code": "no-words", "detail": "the text has no words", "status": 422})
        return
    count = Counter()
    for done, word in enumerate(words, start=1):
        count[word] += 1
        say(emit={"word": word, "count": count[word]})
        say(progress={"done": done, "total": len(words), "unit": "words"})
    top = [word for word, _ in count.most_common(given.get("top", 3))]
    say(result={"words": len(words), "top": top})


if sys.argv[1:] == ["--skep-spec"]:
    print(json.dumps(SPEC))
else:
    main()
