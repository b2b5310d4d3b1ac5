"""TensorRT's errors, collected instead of printed."""

from __future__ import annotations

from typing import Any


def error_log(trt: Any) -> Any:
    """A logger for the library `trt`. Errors go into its list `said`; everything below is dropped."""

    class Log(trt.ILogger):  # type: ignore[misc]  # a class of the library
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.said.append(message)

    return Log()
