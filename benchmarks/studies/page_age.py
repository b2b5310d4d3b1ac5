"""How old are frames on the page of `starcast serve`, from the camera to the canvas?

    python -m starcast.benchmarks.studies.page_age my-model -o benchmarks/results/page-age.json

A headless Chromium opens the page. Its camera gives 30 frames per second, each with the time at which it was drawn as a
row of black and white fields, and the page reads that back from the canvas of the translation. The model is slowed down
to 100 ms an image. With such a model, 95 frames of 100 may be no older than 1.5 of its times and a frame: 184 ms.

Needs Debian's chromium and the package playwright.
"""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import uvicorn
from tabulate import tabulate

from starcast import flags
from starcast.benchmarks.record import provenance, write_result
from starcast.benchmarks.studies.live_age import BAR_MS, BITS, FIELD, SIZE, slowed
from starcast.click_options import options_from
from starcast.errors import OptionError
from starcast.options import CheckedOptions, option
from starcast.runtime.bundle import open_bundle
from starcast.runtime.cores import allowed_threads
from starcast.runtime.serve.addresses import listen
from starcast.runtime.serve.app import build_app
from starcast.runtime.serve.guard import Access, address, hosts_of
from starcast.runtime.serve.limits import Limits
from starcast.runtime.serve.run import configuration, open_service
from starcast.runtime.translator import Translator

PROGRAM = "python -m starcast.benchmarks.studies.page_age"
EARLY_S = 5.0
_PERCENTS = (50, 95, 99)
_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")

# in the page: a camera that shows the time, and a reader of the translation
_CAMERA = f"""
const [SIZE, BITS, FIELD] = [{SIZE}, {BITS}, {FIELD}];
window.ages = [];
const camera = Object.assign(document.createElement("canvas"), {{width: SIZE, height: SIZE}});
const pen = camera.getContext("2d");
function draw() {{
  const now = Math.round(performance.now()) % 2 ** BITS;
  pen.fillStyle = "rgb(128 128 128)";
  pen.fillRect(0, 0, SIZE, SIZE);
  for (let bit = 0; bit < BITS; bit++) {{
    pen.fillStyle = now >> bit & 1 ? "white" : "black";
    pen.fillRect(bit * FIELD, 0, FIELD, FIELD);
  }}
}}
navigator.mediaDevices.getUserMedia = async () => {{
  draw();
  setInterval(draw, 1000 / 30);
  return camera.captureStream(30);
}};
function read() {{
  const canvas = document.getElementById("result");
  const height = Math.round(canvas.height * FIELD / SIZE / 2);
  const row = canvas.getContext("2d").getImageData(0, height, canvas.width, 1).data;
  let drawn = 0;
  for (let bit = 0; bit < BITS; bit++) {{
    const place = 4 * Math.round((bit + 0.5) * FIELD * canvas.width / SIZE);
    if (row[place] + row[place + 1] + row[place + 2] > 384) drawn += 2 ** bit;
  }}
  const now = performance.now();
  window.ages.push([now, (Math.round(now) % 2 ** BITS - drawn + 2 ** BITS) % 2 ** BITS]);
}}
addEventListener("DOMContentLoaded", () => {{
  new MutationObserver(read).observe(document.getElementById("result"), {{attributeFilter: ["data-frame"]}});
}});
"""


@dataclass(frozen=True, kw_only=True)
class PageOptions(CheckedOptions):
    """How long, and where the results go."""

    seconds: int = option(300, "How long the page is open.", minimum=10)
    engine_ms: int = option(100, "How long the model takes for an image.", minimum=1)
    backend: str = flags.backend("onnxruntime", "The engine.")
    json: Path | None = flags.out(
        None, "a JSON record of the figures, the machine and the versions.", aliases=("--json",)
    )


def measure(bundle: Path, options: PageOptions) -> dict[str, Any]:
    """The ages of the page's frames."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise OptionError("there is no chromium: install it with `apt-get install chromium`")
    limits = Limits()
    with (
        patch.object(Translator, "__call__", slowed(options.engine_ms / 1000)),
        open_service(open_bundle(bundle), limits, click.echo, backend=options.backend) as service,
        listen("127.0.0.1", 0) as socket,
        sync_playwright() as playwright,
    ):
        port = socket.getsockname()[1]
        access = Access("http", hosts_of(["127.0.0.1"], port, "http"), port)
        server = uvicorn.Server(configuration(build_app(service, access), service))
        thread = threading.Thread(target=server.run, args=([socket],))
        thread.start()
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=list(_ARGUMENTS))
        try:
            return _watch(browser, address(access, f"127.0.0.1:{port}"), options)
        finally:
            browser.close()
            server.should_exit = True
            thread.join()


def _watch(browser: Any, url: str, options: PageOptions) -> dict[str, Any]:
    page = browser.new_context(permissions=["camera"]).new_page()
    page.add_init_script(_CAMERA)
    page.goto(url)
    page.wait_for_selector("#status[data-state=open]")
    start = time.monotonic()
    page.click("#start")
    page.wait_for_selector("#result[data-frame]")
    first_s = round(time.monotonic() - start, 2)
    page.wait_for_timeout(1000 * options.seconds)
    return _row(page.evaluate("window.ages"), first_s)


def _row(ages: list[list[float]], first_s: float) -> dict[str, Any]:
    """Percentiles of [when, age] in milliseconds."""
    first, last = ages[0][0], ages[-1][0]

    def between(start: float, end: float) -> dict[str, float]:
        some = [age for at, age in ages if start <= at <= end]
        return {
            "frames": len(some),
            **{f"p{percent}": round(float(np.percentile(some, percent)), 1) for percent in _PERCENTS},
        }

    return {
        "first_frame_s": first_s, "first 5 s": between(first, first + 1000 * EARLY_S),
        "last 5 s": between(last - 1000 * EARLY_S, last), "all": between(first, last),
        "fps": round(1000 * len(ages) / max(1.0, last - first), 2),
    }  # fmt: skip


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@options_from(PageOptions)
def page_age(bundle: Path, **values: Any) -> None:
    """Measure how old frames are on the page, from the camera to the canvas."""
    options = PageOptions(**values)
    machine = provenance(threads=allowed_threads(), program=PROGRAM)
    row = measure(bundle, options)
    if options.json is not None:
        write_result(options.json, {
            "question": "how old are frames on the page of `starcast serve`?", "machine": machine,
            "bundle": {"name": bundle.resolve().name, "sha256": open_bundle(bundle).sha256},
            "seconds": options.seconds, "engine_ms": options.engine_ms, "bar_ms": BAR_MS, "rows": [row],
        })  # fmt: skip
    click.echo(f"first frame after {row['first_frame_s']} s; {row['fps']} frames per second")
    click.echo(tabulate(
        [[part, *row[part].values()] for part in ("first 5 s", "last 5 s", "all")],
        headers=["", "frames", *(f"p{percent} ms" for percent in _PERCENTS)],
    ))  # fmt: skip


if __name__ == "__main__":
    page_age(prog_name=PROGRAM)
