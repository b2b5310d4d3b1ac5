"""The WebSocket of the page: frames go in, translations come out, and the look changes meanwhile.

Text from the browser is a look (`wishes.py`), binary messages are frames (`frames.py`). The server answers each frame
that is translated with a binary message, and each mistake with `{"error": "one sentence"}`. A newer frame replaces one
that waits, so a browser that sends more than the model can do gets its newest frames; one that reads slowly gets fewer,
and delays nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import anyio
import numpy as np
from anyio.abc import TaskGroup
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from starcast.errors import StarcastError
from starcast.images.fit import fit
from starcast.runtime.cores import allowed_threads
from starcast.runtime.live.captured import Captured, Image, Translated
from starcast.runtime.live.looks import Look, Looks
from starcast.runtime.live.newest import Ended, Newest
from starcast.runtime.serve.frames import decode_frame, encode_frame, pack_frame, unpack_frame
from starcast.runtime.serve.service import Service
from starcast.runtime.serve.wishes import read_look

_TRY_LATER = 1013
Result = TypeVar("Result")


def routes(service: Service) -> list[BaseRoute]:
    """WS /live."""
    # decoding and encoding wait for nobody, other than calls of the engine, which share asyncio's own threads
    codecs = ThreadPoolExecutor(max(2, allowed_threads()), "starcast-frames")
    sessions: set[LiveSession] = set()

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        if len(sessions) >= service.limits.sessions:
            await socket.close(_TRY_LATER, "Too many pages are open; close one.")
            return
        session = LiveSession(service, socket, codecs)
        sessions.add(session)
        try:
            await session.run()
        finally:
            sessions.discard(session)

    return [WebSocketRoute("/live", live)]


class LiveSession:
    """One page's way through the model."""

    def __init__(self, service: Service, socket: WebSocket, codecs: ThreadPoolExecutor) -> None:
        self._service, self._socket, self._codecs = service, socket, codecs
        self._loop = asyncio.get_running_loop()
        self._sending = asyncio.Lock()
        self._came = asyncio.Event()  # a result
        self._wished: Look | None = None  # the newest look that is not made yet
        self._wish = asyncio.Event()
        self._results: Newest[Translated] = Newest(wake=self._wake)

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._came.set)

    async def run(self) -> None:
        """Until the page leaves, or the model ends."""
        looks = await self._made(partial(Looks, self._style, self._first_look()))
        size = self._service.translator.size
        feed = self._service.model.feed(partial(_prepare, size=size), looks.style_at, self._results)
        try:
            async with anyio.create_task_group() as tasks:
                for work in (partial(self._receive, feed), self._send_results, partial(self._steer, looks)):
                    tasks.start_soon(self._until_one_ends, work, tasks)
        except* (WebSocketDisconnect, OSError):
            pass  # the page has left
        finally:
            feed.close()

    async def _until_one_ends(self, work: Callable[[], Awaitable[None]], tasks: TaskGroup) -> None:
        await work()
        tasks.cancel_scope.cancel()

    def _first_look(self) -> Look:
        condition = self._service.bundle.manifest.condition
        if condition.labels is not None:
            return Look(labels=())
        return Look(0 if self._service.bundle.manifest.domains else None, seed=0)

    def _style(self, **arguments: Any) -> Any:
        return self._service.references.style(self._service.translator, **arguments)

    async def _receive(self, feed: Any) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                if message.get("text") is not None:
                    self._wished = read_look(message["text"])
                    self._wish.set()
                else:
                    number, encoded = unpack_frame(message["bytes"])
                    at = time.monotonic()
                    image = await self._coded(partial(decode_frame, encoded, self._service.limits.frame_pixels))
                    feed.frames.put(Captured(number, at, partial(_as_it_is, image)))
            except StarcastError as error:
                await self._tell(str(error))

    async def _send_results(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            try:
                result = self._results.take(0)
            except Ended:
                return
            except StarcastError as error:
                await self._tell(str(error))
                return
            if result is not None:
                encoded = await self._coded(partial(encode_frame, result.image))
                async with self._sending:
                    await self._socket.send_bytes(pack_frame(result.number, result.engine_s, encoded))

    async def _steer(self, looks: Looks) -> None:
        """Make the newest look that was wished; those between are left out."""
        while True:
            await self._wish.wait()
            self._wish.clear()
            look, self._wished = self._wished, None
            if look is not None:
                try:
                    await self._made(partial(looks.steer, look))
                except StarcastError as error:
                    await self._tell(str(error))

    async def _tell(self, sentence: str) -> None:
        async with self._sending:
            await self._socket.send_json({"error": sentence})

    async def _coded(self, call: Callable[[], Result]) -> Result:
        return await self._loop.run_in_executor(self._codecs, call)

    async def _made(self, call: Callable[[], Result]) -> Result:
        return await asyncio.to_thread(call)


def _as_it_is(image: Image) -> Image:
    return image


def _prepare(image: Image, size: tuple[int, int]) -> Image:
    return np.ascontiguousarray(fit(image, size, "crop"))
