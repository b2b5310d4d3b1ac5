"""A run's losses, grids and options for Weights & Biases, which never ends a training.

Without a network, or without a key, everything goes to RUN/wandb, from where `wandb sync` uploads it later. A resumed
run continues under the same id, which RUN/wandb.json keeps.
"""

from __future__ import annotations

import contextlib
import json
import logging
import netrc
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import torch
import wandb

from starcast.atomic import write_text
from starcast.command_line import command_line
from starcast.errors import printable

HOST = "https://api.wandb.ai"
REACH_S = 3.0  # to find out whether there is a network
START_S = 30.0  # for the server to answer
FINISH_S = 60.0  # for the rest to be sent; what is late stays in RUN/wandb
STEP = "step"

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Progress = Callable[[str], None]


class WandbRun:
    """An open run of a project. Methods raise nothing: after the first failure they do nothing, and a line says so."""

    def __init__(self, folder: Path, project: str, options: Mapping[str, Any], progress: Progress) -> None:
        self._progress = progress
        self._folder = folder
        self._run: Any = None
        self._offline = False
        with self._guard("cannot be started"):
            self._run = self._start(project, options)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Send the values of a step."""
        with self._guard("cannot be written"):
            if self._run is not None:
                self._run.log({**values, STEP: step})

    def image(self, step: int, name: str, pixels: torch.Tensor) -> None:
        """Send an image, uint8 (3, H, W)."""
        with self._guard("cannot be written"):
            if self._run is not None:
                self._run.log({name: wandb.Image(pixels.permute(1, 2, 0).numpy()), STEP: step})

    def close(self) -> None:
        """Send what is left, for a minute at most."""
        run, self._run = self._run, None
        if run is None:
            return
        with self._guard("cannot be finished"):
            finishing = Thread(target=self._finish, args=(run,), daemon=True)
            finishing.start()
            finishing.join(FINISH_S)
            late = finishing.is_alive()
            if self._offline or late:
                what = "was logged without a network" if self._offline else "could not be sent in time"
                sync = command_line("wandb", "sync", self._sync_dir(run))
                self._progress(f"Weights & Biases: this run {what}: upload it with {sync}")

    def _start(self, project: str, options: Mapping[str, Any]) -> Any:
        mode = os.environ.get("WANDB_MODE") or ("offline" if self._tell_why_offline() else "online")
        try:
            return self._init(project, options, mode)
        except Exception as error:
            if mode != "online":
                raise
            self._progress(f"Weights & Biases does not answer ({_first_line(error)}): logging to {self._place}")
            return self._init(project, options, "offline")

    def _init(self, project: str, options: Mapping[str, Any], mode: Any) -> Any:
        self._offline = mode in ("offline", "dryrun")
        logging.getLogger("wandb").setLevel(logging.CRITICAL)
        run = wandb.init(
            project=project, id=self._id(), resume="allow", dir=str(self._folder), config=dict(options), mode=mode,
            name=self._folder.resolve().name,
            settings=wandb.Settings(silent=True, console="off", init_timeout=START_S),
        )  # fmt: skip
        # W&B's own steps cannot go back, and a resumed run may repeat some
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP)
        return run

    def _id(self) -> str:
        """The run's id: that of an earlier start, if there was one."""
        file = self._folder / "wandb.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(file.read_bytes())["id"]
            if isinstance(known, str) and _ID.fullmatch(known):
                return known
        new = uuid.uuid4().hex[:12]
        if not os.path.lexists(file):  # another program's file of that name stays
            write_text(file, json.dumps({"id": new}) + "\n")
        return new

    def _tell_why_offline(self) -> bool:
        """Whether nothing can be sent, and a line on why."""
        url = urlsplit(os.environ.get("WANDB_BASE_URL", HOST))
        host = url.hostname or ""
        reason = None
        if not _has_key(host):
            reason = "you are not logged in (`wandb login`)"
        else:
            try:
                socket.create_connection((host, url.port or (80 if url.scheme == "http" else 443)), REACH_S).close()
            except OSError:
                reason = f"{host} cannot be reached"
        if reason is not None:
            self._progress(f"Weights & Biases: {reason}, so this run is logged to {self._place}")
        return reason is not None

    @property
    def _place(self) -> str:
        return printable(self._folder / "wandb")

    @contextlib.contextmanager
    def _guard(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  a logger that fails must not end a training
            self._run = None
            self._progress(f"Weights & Biases {what} ({_first_line(error)}): the training goes on without it")

    def _sync_dir(self, run: Any) -> Path:
        with contextlib.suppress(Exception):  # another release may call the setting otherwise
            return Path(run.settings.sync_dir)
        return self._folder / "wandb" / "latest-run"  # the package's own link

    def _finish(self, run: Any) -> None:
        with self._guard("cannot be finished"):
            run.finish()


def _has_key(host: str) -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return printable(lines[0][:200]) if lines else type(error).__name__
