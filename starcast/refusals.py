"""The system's errors as sentences: the last resort, for errors that no room has explained."""

from __future__ import annotations

import errno

from starcast.errors import printable, reason_of

_ADVICE = {
    errno.ENOSPC: "free some disk space, or choose another -o",
    errno.EDQUOT: "free some disk space, or choose another -o",
    errno.EFBIG: "choose an -o on a disk that supports larger files",
    errno.EACCES: "change its permissions, or choose another -o",
    errno.EPERM: "change its permissions, or choose another -o",
    errno.EROFS: "choose an -o on a writable disk",
    errno.EIO: "check the disk, or choose another -o",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
    errno.ENFILE: "close some programs, which have too many files open",
}
_NAMELESS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}  # of writes, which name no file


def sentence_of(error: OSError) -> str:
    """What the system refused, as a sentence: which file, why, and, where we know it, what to do."""
    advice = _ADVICE.get(error.errno or 0)
    if isinstance(error.filename, str):
        return f"{printable(error.filename)}: {reason_of(error)}{f': {advice}' if advice else ''}"
    if error.errno in _NAMELESS:
        return f"the output cannot be written ({reason_of(error)}): {advice}"
    return f"a file: {reason_of(error)}"
