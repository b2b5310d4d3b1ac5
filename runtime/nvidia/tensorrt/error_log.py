"""What TensorRT says, from errors on, kept instead of shown."""

from __future__ import annotations

from typing import Any


def error_log(trt: Any) -> Any:
    """A logger for the library `trt`; its errors are in the list `said`, the rest of its talk is dropped."""

    class Log(trt.ILogger):  # type: ignore[misc]  # a class of the library
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.said.append(message)

    return Log()
