"""The fenced blocks of README and docs: what each is, and whether it is run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block. `reason` says what a test lacks to run it; None: it is run."""

    page: Path
    language: str
    text: str
    reason: str | None

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block, with continued ones joined, comments and blank ones left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    return [Block(page, match["language"], match["text"], match["reason"]) for match in _BLOCK.finditer(text)]
