"""Every error that a user can cause or fix. Imports nothing, so that every room may import it.

    StarcastError               one sentence: which file, what is wrong, what to do next
    ├── OptionError             an option, or two that exclude each other (also ValueError)
    ├── MissingExtraError       an engine or an extra is not installed; names the line that installs it
    ├── DatasetError            a folder of training images that cannot be trained on
    ├── CheckpointError         a training file that is damaged, foreign, or of another shape
    ├── DownloadError           a file from the web that cannot be fetched, or is not what it should be
    ├── TrainingError           a run that cannot go on (losses are not finite)
    ├── BundleError             a bundle that is damaged, foreign, or of a newer format
    │   └── VariantMissingError a complete bundle that lacks the requested variant
    ├── ParityError             a graph whose numbers differ from PyTorch's: nothing is written
    ├── StyleError              a domain, reference or seed that the bundle does not know
    ├── ImageError              one image that cannot be read or written
    ├── VideoError              one video that cannot be read or written
    └── EngineError             an engine that refuses a graph or fails while it runs

A programming mistake stays TypeError or ValueError, with its traceback.
"""

from __future__ import annotations


class StarcastError(Exception):
    """Base class of all. `exit_status` of the command line: 2 for wrong usage, 1 if the work itself failed."""

    exit_status = 2


class OptionError(StarcastError, ValueError):
    """An option has a value that cannot work."""


class MissingExtraError(StarcastError, ImportError):
    """A package that this command needs is not installed."""


class DatasetError(StarcastError):
    """A folder of images cannot be trained on."""


class CheckpointError(StarcastError):
    """A checkpoint cannot be used."""


class DownloadError(StarcastError):
    """A file cannot be fetched, or is not what it should be."""

    exit_status = 1


class TrainingError(StarcastError):
    """A training run cannot go on."""

    exit_status = 1


class BundleError(StarcastError):
    """A bundle cannot be used."""


class VariantMissingError(BundleError):
    """The bundle is complete, but lacks the requested variant."""


class ParityError(StarcastError):
    """An exported graph's numbers differ from PyTorch's."""

    exit_status = 1


class StyleError(StarcastError):
    """The requested style cannot be made."""


class ImageError(StarcastError):
    """An image cannot be read or written."""

    exit_status = 1


class VideoError(StarcastError):
    """A video cannot be read or written."""

    exit_status = 1


class EngineError(StarcastError):
    """An engine refuses a graph, or fails while it runs one."""

    exit_status = 1


def printable(path: object) -> str:
    """A path for a message, as one printable line: control characters and undecodable bytes are escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(path))


def reason_of(error: Exception) -> str:
    """The system's reason, as a clause for a message: `no space left on device`."""
    return (getattr(error, "strerror", None) or str(error)).lower()
