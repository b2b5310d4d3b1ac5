"""A session of a TensorRT engine.

A batch that is larger than the engine accepts is split; while one part computes, the next is uploaded and the previous
one downloaded. Images on the GPU never leave it, and their translations stay there, too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starcast.errors import EngineError
from starcast.runtime.engines.base import GpuTime, Session, closed_error
from starcast.runtime.nvidia.arrays import DeviceArray, View, borrow
from starcast.runtime.nvidia.driver import Driver
from starcast.runtime.nvidia.memory import Outputs
from starcast.runtime.nvidia.placement import is_on_gpu
from starcast.runtime.nvidia.tensorrt.engine_cache import save_kernels
from starcast.runtime.nvidia.tensorrt.execution import Binding, Execution, Shapes
from starcast.runtime.nvidia.tensorrt.lane import Lane, Part, cut, shapes_of, size_of

IMAGES = "image"


class TensorRTSession(Session):
    """One engine, with memory for the largest batch that it accepts.

    `name` and `build` (a command) are for messages, `kernels` is the file for compiled kernels. Create it within the
    driver's context. It owns `execution` and `driver`, and closes both.
    """

    def __init__(self, name: str, build: str, execution: Execution, driver: Driver, kernels: Path | None) -> None:
        self._name = name
        self._build = build
        self._driver = driver
        self._kernels = kernels
        self._execution: Execution | None = execution
        self._inputs = execution.inputs
        self._output = execution.output
        self._known: set[Shapes] = set()  # shapes whose kernels have been stored
        self._outputs = Outputs(driver)
        with ExitStack() as owned:
            self._compute = driver.create_stream()
            owned.callback(driver.destroy_stream, self._compute)
            self._bound = self._memory(owned)
            self._direct = self._lane(self._compute, self._bound, owned)
            execution.bind(self._bound)
            self._owned = owned.pop_all()
        self._pair: tuple[Lane, Lane] | None = None

    def run(self, feeds: Mapping[str, Any]) -> Any:
        """Run the engine. Inputs may be NumPy arrays or on the GPU; the output is on the GPU if any input is."""
        execution = self._require_open()
        with self._driver.active(), ExitStack() as held:
            arrays = {one.name: self._take_input(one, feeds[one.name], held) for one in self._inputs}
            parts, shapes = self._parts(arrays)
            rows = max(value.shape[0] for value in arrays.values())
            whole = (rows, *execution.output_shape(shapes[0])[1:])
            to = self._on_gpu if any(isinstance(value, View) for value in arrays.values()) else self._on_host
            try:
                result = to(execution, parts, shapes, whole)
            except BaseException:
                self._abandon()
                raise
            if not self._known.issuperset(shapes):
                self._known.update(shapes)
                self._save_kernels(execution)
            return result

    def gpu_time(self, feeds: Mapping[str, Any]) -> GpuTime:
        execution = self._require_open()
        with self._driver.active(), ExitStack() as held:
            arrays = {one.name: self._take_input(one, feeds[one.name], held) for one in self._inputs}
            parts, shapes = self._parts(arrays)
            begun, ended = (self._driver.create_event(timed=True) for _ in range(2))
            for mark in (begun, ended):
                held.callback(self._driver.destroy_event, mark)
            try:
                times = [self._time_part(execution, *each, begun, ended) for each in zip(parts, shapes, strict=True)]
            except BaseException:
                self._abandon()
                raise
        return GpuTime(sum(one.compute for one in times), sum(one.enqueue for one in times))

    def why_not(self, height: int, width: int) -> str | None:
        images = next((one for one in self._inputs if one.name == IMAGES), None)
        if images is None or images.fits((images.smallest[0], height, width, *images.smallest[3:])):
            return None
        (_, low, left, *_), (_, high, right, *_) = images.smallest, images.largest
        built = f"{left}x{low}" if (low, left) == (high, right) else f"{left}x{low} to {right}x{high}"
        another = f"`{self._build} --size-range {width}x{height}` builds another"
        return f"{self._name} was built for images of {built}: {another}"

    def close(self) -> None:
        if self._execution is None:
            return
        execution, self._execution = self._execution, None
        with ExitStack() as all_of_it:  # runs the callbacks in reverse order, and all of them even if one fails
            all_of_it.callback(self._outputs.close)
            all_of_it.enter_context(self._driver.active())
            all_of_it.callback(self._owned.close)
            all_of_it.callback(execution.close)
            with suppress(EngineError):  # a lasting error on the GPU was raised before
                self._driver.synchronise()
                self._save_kernels(execution)

    def _require_open(self) -> Execution:
        if self._execution is None:
            raise closed_error(self._name)
        return self._execution

    def _parts(self, arrays: Mapping[str, NDArray[Any] | View]) -> tuple[list[Part], list[Shapes]]:
        """Split the batch into parts that the engine accepts. Raises EngineError if it was not built for their
        shapes."""
        parts = cut(arrays, self._inputs)
        shapes = [shapes_of(part, self._inputs) for part in parts]
        for shape in shapes:
            self._check(shape)
        return parts, shapes

    def _time_part(self, execution: Execution, part: Part, shapes: Shapes, begun: int, ended: int) -> GpuTime:
        self._direct.load(part)
        self._driver.record(begun, self._compute)
        start = time.perf_counter()
        execution.launch(shapes, self._compute)
        enqueue = (time.perf_counter() - start) * 1000
        self._driver.record(ended, self._compute)
        self._driver.synchronise(self._compute)
        self._direct.forget()
        return GpuTime(self._driver.between_ms(begun, ended), enqueue)

    def _on_host(self, execution: Execution, parts: list[Part], shapes: list[Shapes], whole: tuple[int, ...]) -> Any:
        result: NDArray[Any] = np.empty(whole, self._output.dtype)
        lanes = (self._direct,) if len(parts) == 1 else self._lanes()
        start = 0
        for number, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
            lane = lanes[number % len(lanes)]
            lane.collect(result)
            lane.load(part)
            execution.launch(shape, self._compute)
            made = execution.output_shape(shape)
            lane.hand_on(slice(start, start + made[0]), made)
            start += made[0]
            if number:
                lanes[(number - 1) % len(lanes)].unload()
        lane.unload()
        for lane in lanes:
            lane.collect(result)
            lane.forget()
        return result

    def _on_gpu(self, execution: Execution, parts: list[Part], shapes: list[Shapes], whole: tuple[int, ...]) -> Any:
        lent = self._outputs.take(whole, self._output.dtype)
        try:
            address = lent.view.address
            for part, shape in zip(parts, shapes, strict=True):
                self._direct.load(part)
                execution.launch(shape, self._compute)
                size = size_of(execution.output_shape(shape), self._output.dtype)
                self._driver.copy_on_device(address, self._bound[self._output.name], size, self._compute)
                address += size
            self._driver.synchronise(self._compute)
        except BaseException:
            lent.release()
            raise
        self._direct.forget()
        return DeviceArray(lent.view, lent.release)

    def _take_input(self, one: Binding, value: Any, held: ExitStack) -> NDArray[Any] | View:
        """An input, left where it is: on the host or the GPU. Raises TypeError if it has another dtype."""
        on_gpu = is_on_gpu(value)
        array = held.enter_context(borrow(value, self._compute, self._driver)) if on_gpu else np.asarray(value)
        if array.dtype != one.dtype:
            raise TypeError(f"{one.name} is {one.dtype}, not {array.dtype}")
        return array

    def _check(self, shapes: Shapes) -> None:
        """Raise EngineError if the engine was not built for a part's shapes."""
        for one, shape in zip(self._inputs, shapes, strict=True):
            if one.fits(shape):
                continue
            if one.name == IMAGES and len(shape) == 4:
                reason = self.why_not(*shape[1:3])
                if reason is not None:
                    raise EngineError(reason)
            raise EngineError(
                f"{self._name} was built for {one.name} of shapes {list(one.smallest)} to {list(one.largest)}, not "
                f"{list(shape)}: `{self._build} --batch-range {shape[0]}` builds another"
            )

    def _abandon(self) -> None:
        """Clean up for the next run after an error: wait until nothing is under way any more."""
        with suppress(EngineError):  # the first error is the one to raise
            self._driver.synchronise()
        for lane in (self._direct, *(self._pair or ())):
            lane.forget()

    def _save_kernels(self, execution: Execution) -> None:
        if self._kernels is not None:
            save_kernels(self._kernels, execution.kernels())

    def _lanes(self) -> tuple[Lane, Lane]:
        """Two lanes that share a stream for copies, created when a batch first has several parts."""
        if self._pair is None:
            with ExitStack() as owned:
                copies = self._driver.create_stream()
                owned.callback(self._driver.destroy_stream, copies)
                pair = [self._lane(copies, self._memory(owned), owned) for _ in range(2)]
                self._owned.push(owned.pop_all())
            self._pair = pair[0], pair[1]
        return self._pair

    def _lane(self, stream: int, device: dict[str, int], owned: ExitStack) -> Lane:
        bindings = (*self._inputs, self._output)
        return Lane(self._driver, bindings, self._bound, self._compute, stream, device, owned)

    def _memory(self, owned: ExitStack) -> dict[str, int]:
        """Allocate GPU memory for every input and the output, in their largest shapes."""
        addresses = {}
        for one in (*self._inputs, self._output):
            address = addresses[one.name] = self._driver.allocate(one.nbytes)
            owned.callback(self._driver.free, address)
        return addresses
