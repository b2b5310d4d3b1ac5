"""Run the steps of a page, in order and in one process: [["sh", "starcast …"], ["python", "…"]] as JSON on stdin."""

from __future__ import annotations

import json
import shlex
import sys

from starcast.cli import main


def run(kind: str, text: str) -> object:
    """The exit status of a step."""
    if kind == "python":
        exec(compile(text, "<example>", "exec"), {"__name__": "__main__"})
        return 0
    try:
        main(shlex.split(text, comments=True)[1:])
    except SystemExit as leaving:
        return leaving.code


for kind, text in json.load(sys.stdin):
    sys.stderr.write(f"$ {text}\n")
    status = run(kind, text)
    if status:
        sys.exit(f"exit status {status} of: {text}")
