"""Run the steps of a page, in order and in one process: [["sh", "starcast …"], ["python", "…"]] as JSON on stdin.

The argument is a folder of traced networks, which pages share.
"""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path

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


steps = json.load(sys.stdin)
traces = nullcontext()
if any(text.startswith("starcast export") for _, text in steps):
    from shared_traces import traces_shared_in  # imports torch

    traces = traces_shared_in(Path(sys.argv[1]))
with traces:
    for kind, text in steps:
        sys.stderr.write(f"$ {text}\n")
        status = run(kind, text)
        if status:
            sys.exit(f"exit status {status} of: {text}")
