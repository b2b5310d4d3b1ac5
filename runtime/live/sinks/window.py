"""A window that shows translations, and the keys that steer them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from starcast.errors import StarcastError
from starcast.runtime.live.captured import Translated
from starcast.runtime.live.looks import Looks

HELP = (
    "d  next domain", "s  next seed", "up, down  stronger, weaker style", "b  source beside translation",
    "f  full screen", "i  figures", "?  this help", "q  quit",
)  # fmt: skip
_STRONGEST = 2.0
_STEP = 0.1
_LEAST_SIDE = 512  # a window of a small model's size would be hard to see


class Window:
    """Shows translations until it is closed. To be used in the main thread only. `domains`: those that `d` goes
    through; none if the bundle has none. `line`: the figures that `i` shows."""

    def __init__(self, looks: Looks, domains: Sequence[str], line: Callable[[], str], *, steers: bool = True) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        self._pygame = pygame
        self.name = "the window"
        self._looks = looks
        self._domains = list(domains)
        self._line = line
        self._steers = steers
        self._beside = self._shows_help = self._shows_line = self._fills = False
        self._remark = "press ? for help"
        pygame.display.init()
        pygame.font.init()
        pygame.display.set_caption("starcast live")
        self._font = pygame.font.Font(None, 22)
        self._screen: Any = None

    def show(self, result: Translated | None) -> bool:
        """Show a translation, if there is a new one, after the keys that were pressed; whether to go on."""
        for event in self._pygame.event.get():
            if event.type == self._pygame.QUIT or (event.type == self._pygame.KEYDOWN and self._press(event)):
                return False
        if result is not None:
            self._draw(result)
        return True

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()

    def _press(self, event: Any) -> bool:
        """Do what a key says; whether it ends the command."""
        keys, look = self._pygame, self._looks.look
        self._remark = ""
        if event.key in (keys.K_q, keys.K_ESCAPE):
            return True
        if event.key == keys.K_b:
            self._beside = not self._beside
        elif event.key == keys.K_i:
            self._shows_line = not self._shows_line
        elif event.key == keys.K_f:
            self._fills = not self._fills
            self._screen = None
        elif event.unicode == "?":
            self._shows_help = not self._shows_help
        elif self._steers and event.key == keys.K_d and self._domains:
            here = self._domains.index(look.domain) if look.domain in self._domains else -1
            self._steer(domain=self._domains[(here + 1) % len(self._domains)])
        elif self._steers and event.key == keys.K_s:
            self._steer(seed=0 if look.seed is None else look.seed + 1, reference=None)
        elif self._steers and event.key in (keys.K_UP, keys.K_DOWN):
            change = _STEP if event.key == keys.K_UP else -_STEP
            self._steer(psi=round(min(_STRONGEST, max(0.0, look.psi + change)), 3))
        return False

    def _steer(self, **changes: Any) -> None:
        try:
            self._looks.steer(replace(self._looks.look, **changes))
            [(name, value), *_] = changes.items()
            self._remark = f"{name} {value}"
        except StarcastError as error:
            self._remark = str(error)

    def _draw(self, result: Translated) -> None:
        image = np.concatenate([result.source, result.image], axis=1) if self._beside else result.image
        height, width = image.shape[:2]
        if self._screen is None:
            scale = max(1, -(-_LEAST_SIDE // height))
            flags = self._pygame.FULLSCREEN if self._fills else self._pygame.RESIZABLE
            size = (0, 0) if self._fills else (width * scale, height * scale)
            self._screen = self._pygame.display.set_mode(size, flags)
        screen = self._screen
        columns, rows = screen.get_size()
        scale = min(columns / width, rows / height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = self._pygame.image.frombuffer(np.ascontiguousarray(image).tobytes(), (width, height), "RGB")
        screen.fill((0, 0, 0))
        screen.blit(
            self._pygame.transform.smoothscale(picture, size), ((columns - size[0]) // 2, (rows - size[1]) // 2)
        )
        lines = [*(HELP if self._shows_help else ()), *([self._line()] if self._shows_line else ()), self._remark]
        for number, line in enumerate(filter(None, lines)):
            text = self._font.render(line, True, (255, 255, 255), (0, 0, 0))
            screen.blit(text, (8, 8 + number * 24))
        self._pygame.display.flip()
