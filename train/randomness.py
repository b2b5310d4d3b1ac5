"""Every random draw is a function of (seed, step, rank, purpose): nothing depends on earlier draws.

So a resumed run draws what an uninterrupted one would, whichever process draws, and in whatever order.
"""

from __future__ import annotations

import hashlib

import numpy as np


def draws(seed: int, step: int, rank: int, purpose: str) -> np.random.Generator:
    """A generator for one purpose at one step; another purpose's generator is independent of it.

    numpy's SeedSequence mixes the four (O'Neill 2015 gives the hash); Philox is counter-based and cheap to start.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, step, rank, _number(purpose)])))


def torch_seed(seed: int, step: int, rank: int, purpose: str) -> int:
    """A seed in 0..2^63-1 for a torch generator, for draws made by torch itself."""
    return int(draws(seed, step, rank, purpose).integers(2**63 - 1))


def _number(purpose: str) -> int:
    """64 bits of the purpose's hash: Python's own hash() differs from process to process."""
    return int.from_bytes(hashlib.sha256(purpose.encode(errors="surrogatepass")).digest()[:8], "little")
