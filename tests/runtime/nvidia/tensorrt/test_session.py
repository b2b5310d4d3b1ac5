"""Pictures through an engine: right bytes in every order that streams allow, nothing left behind."""

from __future__ import annotations

import gc
import random

import numpy as np
import pytest

pytest.importorskip("cuda.bindings.driver", reason="the fake card's constants are cuda-python's")

from fake_cuda import FakeCuda, install
from fake_engines import FRAMES, LARGE, MOST, SMALL, pictures, session, translated
from fake_tensorrt import Context, FakeTensorRT, ILogger, engine
from hypothesis import given, settings
from hypothesis import strategies as st

from starcast.errors import EngineError
from starcast.runtime.nvidia import arrays, dlpack
from starcast.runtime.nvidia.cuda_python import CudaPython
from starcast.runtime.nvidia.pycuda import PyCuda
from starcast.runtime.nvidia.recorded import RECORDINGS
from starcast.runtime.nvidia.tensorrt.engine_cache import load_kernels, save_kernels
from starcast.runtime.nvidia.tensorrt.execution import MOST_SHAPES, deserialise
from starcast.runtime.nvidia.tensorrt.session import TensorRTSession

FLAVOURS = ("tensorrt-rtx", "tensorrt")
# pictures, their side, whether one style is for all of them
BATCHES = st.tuples(st.integers(1, 3 * MOST + 1), st.sampled_from([SMALL, 8, LARGE]), st.booleans())


@pytest.fixture(params=FLAVOURS)
def flavour(request) -> str:
    return request.param


def expected(feeds):
    return translated(feeds["image"], np.broadcast_to(feeds["style"], (len(feeds["image"]), 2)))


class OnGpu:
    """Someone's array on the fake GPU."""

    def __init__(self, card, array: np.ndarray) -> None:
        with CudaPython().active():
            self.address = card.cuMemAlloc(array.nbytes)[1]
        card.at(self.address, array.nbytes)[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self.shape, self.dtype = array.shape, array.dtype

    def __dlpack_device__(self):
        return dlpack.GPU, 0

    def __dlpack__(self, *, stream):
        return dlpack.give(self, self.address, self.shape, self.dtype)


def read(card, given) -> np.ndarray:
    """What an array on the fake GPU holds."""
    facts = given.__cuda_array_interface__
    dtype = np.dtype(facts["typestr"])
    size = int(np.prod(facts["shape"])) * dtype.itemsize
    return card.at(facts["data"][0], size).view(dtype).reshape(facts["shape"]).copy()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FLAVOURS), st.integers(0, 10**6), st.lists(BATCHES, min_size=1, max_size=4))
def test_the_bytes_are_right_in_every_order_that_the_streams_allow(flavour, seed, batches):
    with pytest.MonkeyPatch.context() as patch:
        opened, _, card = session(patch, flavour, chance=random.Random(seed))
        for number, (count, side, one_style) in enumerate(batches):
            feeds = pictures(count, side, seed=number)
            if one_style:
                feeds["style"] = feeds["style"][:1]
            np.testing.assert_array_equal(opened.run(feeds), expected(feeds))
        opened.close()
        assert card.leaks() == []


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FLAVOURS), st.integers(0, 10**6), st.lists(st.integers(1, 3 * MOST + 1), min_size=1, max_size=4))
def test_so_are_those_that_stay_on_the_gpu(flavour, seed, batches):
    with pytest.MonkeyPatch.context() as patch:
        opened, _, card = session(patch, flavour, chance=random.Random(seed))
        for number, count in enumerate(batches):
            feeds = pictures(count, seed=number)
            given_out = opened.run({**feeds, "image": OnGpu(card, feeds["image"])})
            assert isinstance(given_out, arrays.DeviceArray)
            np.testing.assert_array_equal(read(card, given_out), expected(feeds))


def test_as_late_as_may_be_is_early_enough(monkeypatch, flavour):
    opened, _, _ = session(monkeypatch, flavour)
    for count in (1, MOST, 4 * MOST + 1):
        feeds = pictures(count)
        np.testing.assert_array_equal(opened.run(feeds), expected(feeds))


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize(("count", "launches"), [(1, 1), (MOST, 1), (3 * MOST - 1, 3)])
def test_the_gpus_own_time_is_that_of_the_engine_without_the_copies(monkeypatch, flavour, on_gpu, count, launches):
    opened, _, card = session(monkeypatch, flavour, chance=random.Random(count))
    feeds = pictures(count)
    given_in = {**feeds, "image": OnGpu(card, feeds["image"])} if on_gpu else feeds
    for _ in range(2):  # a CUDA graph is recorded of every second run
        opened.run(feeds)
    before = card.leaks()
    for _ in range(3):
        told = opened.gpu_time(given_in)
        assert told.compute == launches  # whatever the fake GPU does takes it a millisecond
        assert told.enqueue > 0
    assert card.leaks() == before
    np.testing.assert_array_equal(opened.run(feeds), expected(feeds))


def test_a_timed_run_that_fails_leaves_the_session_usable(monkeypatch, flavour):
    opened, trt, card = session(monkeypatch, flavour)
    trt.refuses["run"] = "out of luck"
    with pytest.raises(EngineError, match="out of luck"):
        opened.gpu_time(pictures(1))
    trt.refuses.clear()
    feeds = pictures(2)
    np.testing.assert_array_equal(opened.run(feeds), expected(feeds))
    opened.close()
    assert card.leaks() == []
    with pytest.raises(EngineError, match="has been closed"):
        opened.gpu_time(feeds)


def test_an_output_is_the_callers_own(monkeypatch, flavour):
    opened, _, _ = session(monkeypatch, flavour)
    first = opened.run(pictures(2))
    before = first.copy()
    opened.run(pictures(2, seed=1))
    np.testing.assert_array_equal(first, before)


def test_one_part_takes_one_stream_and_copies_nothing_on_the_gpu(monkeypatch, flavour):
    opened, _, card = session(monkeypatch, flavour)
    opened.run(pictures(MOST))
    assert card.asked["cuStreamCreate"] == 1
    assert card.asked["cuMemcpyDtoDAsync"] == card.asked["cuStreamWaitEvent"] == 0
    assert (card.asked["cuMemcpyHtoDAsync"], card.asked["cuMemcpyDtoHAsync"]) == (2, 1)


def test_parts_are_copied_in_one_stream_and_calculated_in_another(monkeypatch, flavour):
    opened, _, card = session(monkeypatch, flavour)
    compute = opened._compute
    opened.run(pictures(3 * MOST))
    outside = {entry[2] for entry in card.log if entry[0] in ("cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync")}
    inside = {entry[3] for entry in card.log if entry[0] == "cuMemcpyDtoDAsync"}
    assert inside == {compute}
    assert len(outside) == 1
    assert outside != inside


def test_the_next_part_is_on_its_way_in_before_the_one_before_it_is_brought_out(monkeypatch, flavour):
    opened, _, card = session(monkeypatch, flavour)
    opened.run(pictures(3 * MOST))
    copies = [entry[0][8:12] for entry in card.log if entry[0] in ("cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync")]
    assert copies == ["HtoD", "HtoD"] * 2 + ["DtoH"] + ["HtoD"] * 2 + ["DtoH"] * 2  # pictures and styles; translations


def test_frames_on_the_gpu_cross_no_border(monkeypatch, flavour):
    opened, _, card = session(monkeypatch, flavour)
    feeds = pictures(MOST + 1)
    on_gpu = {name: OnGpu(card, array) for name, array in feeds.items()}
    given_out = opened.run(on_gpu)
    assert card.asked["cuMemcpyHtoDAsync"] == card.asked["cuMemcpyDtoHAsync"] == 0
    np.testing.assert_array_equal(read(card, given_out), expected(feeds))


def test_translations_on_the_gpu_outlive_the_session(monkeypatch, flavour):
    opened, _, card = session(monkeypatch, flavour)
    feeds = pictures(2)
    given_out = opened.run({name: OnGpu(card, array) for name, array in feeds.items()})
    opened.close()
    np.testing.assert_array_equal(read(card, given_out), expected(feeds))
    before = card.leaks().count("memory")
    del given_out
    gc.collect()
    assert card.leaks().count("memory") == before - 1


def test_a_cuda_graph_is_recorded_after_one_plain_run_and_launched_from_then_on(monkeypatch):
    opened, trt, card = session(monkeypatch, "tensorrt")
    for number in range(5):
        feeds = pictures(2, seed=number)
        np.testing.assert_array_equal(opened.run(feeds), expected(feeds))
    assert len(trt.runs) == 2  # the plain one, and the one that was recorded
    assert card.asked["cuStreamBeginCapture"] == 1
    assert card.asked["cuGraphLaunch"] == 4
    opened.run(pictures(1))
    assert card.asked["cuStreamBeginCapture"] == 1  # another shape: plain first
    assert len(trt.runs) == 3


def test_a_context_is_made_once_for_each_combination_of_shapes(monkeypatch):
    opened, trt, _ = session(monkeypatch, "tensorrt")
    for _ in range(3):
        for count in (1, 2, MOST):
            feeds = pictures(count)
            np.testing.assert_array_equal(opened.run(feeds), expected(feeds))
    assert trt.contexts == 1 + 3  # one for the largest picture, to ask how large its translation is


def test_the_shapes_that_were_not_used_for_longest_are_forgotten(monkeypatch):
    opened, _, card = session(monkeypatch, "tensorrt")
    for _ in range(3):
        for side in range(SMALL, LARGE + 1):
            for count in (1, 2):
                feeds = pictures(count, side)
                np.testing.assert_array_equal(opened.run(feeds), expected(feeds))
    assert card.leaks().count("executable") <= MOST_SHAPES
    opened.close()
    assert card.leaks() == []


def test_an_engine_that_cannot_be_recorded_runs_plainly(monkeypatch):
    opened, trt, card = session(monkeypatch, "tensorrt")
    for number in range(RECORDINGS + 3):
        card.fails["cuStreamEndCapture"] = "ERROR_STREAM_CAPTURE_INVALIDATED"
        feeds = pictures(2, seed=number)
        np.testing.assert_array_equal(opened.run(feeds), expected(feeds))
    assert card.asked["cuGraphLaunch"] == 0
    assert card.asked["cuStreamBeginCapture"] == RECORDINGS
    assert len(trt.runs) == RECORDINGS + 3 + RECORDINGS


def test_a_recording_that_another_thread_spoiled_is_made_at_the_next_run(monkeypatch):
    opened, _, card = session(monkeypatch, "tensorrt")
    opened.run(pictures(2))
    card.fails["cuStreamEndCapture"] = "ERROR_STREAM_CAPTURE_INVALIDATED"
    for number in range(3):
        feeds = pictures(2, seed=number)
        np.testing.assert_array_equal(opened.run(feeds), expected(feeds))
    assert card.asked["cuGraphLaunch"] == 2


def test_what_a_recording_failed_with_is_not_told_of_a_later_failure(monkeypatch):
    opened, trt, card = session(monkeypatch, "tensorrt")
    opened.run(pictures(2))
    trt.logs[-1].log(ILogger.ERROR, "not permitted while a stream is recorded")
    card.fails["cuStreamEndCapture"] = "ERROR_STREAM_CAPTURE_INVALIDATED"
    opened.run(pictures(2))
    trt.refuses["run"] = "out of luck"
    with pytest.raises(EngineError, match=r"\(out of luck\)"):
        opened.run(pictures(3))


def test_a_run_that_failed_before_any_is_a_plain_one_again(monkeypatch):
    opened, trt, card = session(monkeypatch, "tensorrt")
    trt.refuses["run"] = "out of luck"
    with pytest.raises(EngineError, match="out of luck"):
        opened.run(pictures(2))
    trt.refuses.clear()
    opened.run(pictures(2))
    assert card.asked["cuStreamBeginCapture"] == 0
    opened.run(pictures(2))
    assert card.asked["cuStreamBeginCapture"] == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, EngineError("the library's")])
def test_a_recording_that_is_broken_off_leaves_the_stream_usable(monkeypatch, error):
    opened, _, card = session(monkeypatch, "tensorrt")
    opened.run(pictures(2))
    with monkeypatch.context() as patch:
        patch.setattr(Context, "execute_async_v3", lambda *_: (_ for _ in ()).throw(error))
        with pytest.raises((KeyboardInterrupt, EngineError)):
            opened.run(pictures(2))
    feeds = pictures(2)
    np.testing.assert_array_equal(opened.run(feeds), expected(feeds))
    opened.close()
    assert card.leaks() == []


def test_without_cuda_graphs_every_run_is_plain(monkeypatch):
    monkeypatch.setattr(CudaPython, "captures", PyCuda.captures)
    opened, trt, card = session(monkeypatch, "tensorrt")
    for _ in range(3):
        opened.run(pictures(2))
    assert len(trt.runs) == 3
    assert card.asked["cuStreamBeginCapture"] == 0


def test_the_rtx_flavour_has_one_context_and_records_by_itself(monkeypatch):
    opened, trt, card = session(monkeypatch, "tensorrt-rtx")
    for count in (1, 2, MOST, 1):
        opened.run(pictures(count))
    assert trt.contexts == 1
    assert card.asked["cuStreamBeginCapture"] == 0


def test_the_rtx_flavour_waits_for_its_kernels_where_few_shapes_will_come(monkeypatch):
    _, trt, _ = session(monkeypatch, "tensorrt-rtx")
    assert trt.settings[-1].dynamic_shapes_kernel_specialization_strategy == "lazy"  # any size of picture
    content = engine("frames", image=("uint8", (1, 4, 4, 3), (3, 4, 4, 3)), style=("float32", (1, 2), (3, 2)))
    _, trt, _ = session(monkeypatch, "tensorrt-rtx", content=content)
    assert trt.settings[-1].dynamic_shapes_kernel_specialization_strategy == "eager"


def test_one_style_for_all_is_the_same_shape_as_one_for_each(monkeypatch):
    opened, trt, _ = session(monkeypatch, "tensorrt")
    feeds = pictures(2)
    opened.run(feeds)
    feeds["style"] = feeds["style"][:1]
    np.testing.assert_array_equal(opened.run(feeds), expected(feeds))
    assert trt.contexts == 2


def test_compiled_kernels_are_kept_beside_the_engine_and_loaded_at_the_next_start(monkeypatch, tmp_path):
    file = tmp_path / "engine.kernels"
    assert load_kernels(file) is None
    opened, _, _ = session(monkeypatch, "tensorrt-rtx", kernels=file)
    opened.run(pictures(2))
    first = load_kernels(file)  # at once: a process may be killed
    assert first
    opened.run(pictures(1))
    opened.close()
    kept = load_kernels(file)
    assert kept.startswith(first)
    assert len(kept) > len(first)
    _, trt, _ = session(monkeypatch, "tensorrt-rtx", kernels=file, kept=kept)
    assert trt.caches[0].loaded == kept


def test_kernels_that_were_damaged_are_compiled_again(monkeypatch, tmp_path):
    file = tmp_path / "engine.kernels"
    save_kernels(file, b"kernels")
    file.write_bytes(file.read_bytes()[:-1])
    assert load_kernels(file) is None
    assert not file.exists()


def test_the_other_flavour_keeps_none(monkeypatch, tmp_path):
    opened, _, _ = session(monkeypatch, "tensorrt", kernels=tmp_path / "engine.kernels")
    opened.run(pictures(2))
    opened.close()
    assert list(tmp_path.iterdir()) == []


def test_everything_is_freed_once_and_the_library_goes_before_the_context(monkeypatch, flavour):
    opened, trt, card = session(monkeypatch, flavour)
    for count in (1, MOST, 3 * MOST):
        opened.run(pictures(count))
    opened.close()
    gc.collect()
    assert card.leaks() == []
    assert list(trt.alive) == []
    opened.close()  # a second time does nothing
    with pytest.raises(EngineError, match="has been closed"):
        opened.run(pictures(1))


def test_memory_does_not_grow_with_runs_and_shapes(monkeypatch, flavour):
    opened, _, card = session(monkeypatch, flavour)
    opened.run(pictures(2 * MOST))

    def held():
        return [kind for kind in card.leaks() if kind != "executable"]

    before = held()
    for number in range(60):
        opened.run(pictures(1 + number % (2 * MOST), SMALL + number % 12, seed=number))
    assert held() == before


@pytest.mark.parametrize("step", ["cuMemAlloc", "cuMemHostAlloc", "cuStreamCreate", "cuEventCreate"])
def test_an_engine_that_finds_no_room_holds_nothing(monkeypatch, flavour, step):
    card = install(monkeypatch, FakeCuda())
    driver = CudaPython()
    with driver.active():
        execution = deserialise(FakeTensorRT(card, rtx=flavour == "tensorrt-rtx"), FRAMES, driver, "g.onnx")
        card.fails[step] = "ERROR_OUT_OF_MEMORY"
        with pytest.raises(EngineError, match="no memory left"):
            TensorRTSession("g.onnx", "starcast build m", execution, driver, None)
        execution.close()
    driver.close()
    assert card.leaks() == []


def test_a_size_that_the_engine_was_not_built_for_names_the_build(monkeypatch, flavour):
    opened, _, _ = session(monkeypatch, flavour)
    reason = (
        f"generator/taps16.onnx was built for images of {SMALL}x{SMALL} to {LARGE}x{LARGE}: `starcast build my-model "
        "--backend tensorrt-rtx --precision fp16 --size-range 20x8` builds another"
    )
    assert opened.why_not(8, 20) == reason
    assert opened.why_not(8, 8) is None
    feeds = pictures(1)
    with pytest.raises(EngineError) as caught:
        opened.run({**feeds, "image": np.zeros((1, 8, 20, 3), np.uint8)})
    assert str(caught.value) == reason


def test_a_batch_that_is_too_small_names_the_build(monkeypatch, flavour):
    content = engine("frames", image=("uint8", (2, 4, 4, 3), (3, 4, 4, 3)), style=("float32", (2, 2), (3, 2)))
    opened, _, _ = session(monkeypatch, flavour, content=content)
    with pytest.raises(
        EngineError, match=r"shapes \[2, 4, 4, 3\] to \[3, 4, 4, 3\], not \[1, 4, 4, 3\]: `.* --batch-range 1`"
    ):
        opened.run(pictures(1))


def test_numbers_of_another_kind_are_a_mistake_of_the_caller(monkeypatch, flavour):
    opened, _, _ = session(monkeypatch, flavour)
    with pytest.raises(TypeError, match="image is uint8, not float32"):
        opened.run({**pictures(1), "image": np.zeros((1, 4, 4, 3), np.float32)})


@pytest.mark.parametrize(
    ("what", "reason", "sentence"),
    [
        ("engine", "made for another card", r"is refused by tensorrt\w* .*\(made for another card\): build it again"),
        ("start", "CUDA failure: 35", r"tensorrt\w* .* does not start \(CUDA failure: 35\): see `starcast doctor`"),
    ],
)
def test_what_the_library_refuses_is_told_with_what_it_said_first(monkeypatch, flavour, what, reason, sentence):
    card = install(monkeypatch, FakeCuda())
    trt = FakeTensorRT(card, rtx=flavour == "tensorrt-rtx")
    trt.refuses[what] = reason
    with pytest.raises(EngineError, match=sentence):
        deserialise(trt, FRAMES, CudaPython(), "g.onnx")


@pytest.mark.parametrize("step", ["context", "cuMemAlloc"])
def test_an_engine_that_cannot_be_made_ready_goes_before_the_context_does(monkeypatch, flavour, step):
    if (flavour, step) in {("tensorrt", "context"), ("tensorrt-rtx", "cuMemAlloc")}:
        pytest.skip("this flavour takes it later, or never")
    card = install(monkeypatch, FakeCuda())
    trt, driver = FakeTensorRT(card, rtx=flavour == "tensorrt-rtx"), CudaPython()
    trt.refuses["context"] = "no room"
    card.fails["cuMemAlloc"] = "ERROR_OUT_OF_MEMORY"
    with driver.active(), pytest.raises(EngineError) as kept:  # whose traceback holds what it came from
        deserialise(trt, FRAMES, driver, "g.onnx")
    gc.collect()
    assert list(trt.alive) == []
    assert kept.value is not None
    driver.close()


def test_a_gpu_that_refuses_everything_from_now_on_is_let_go_of_all_the_same(monkeypatch, flavour):
    opened, trt, card = session(monkeypatch, flavour)
    opened.run(pictures(2))
    card.fails["cuCtxSynchronize"] = "ERROR_ILLEGAL_ADDRESS"
    opened.close()
    gc.collect()
    assert list(trt.alive) == []
    assert card.leaks() == []


def test_a_run_that_fails_leaves_the_session_usable(monkeypatch, flavour):
    opened, trt, card = session(monkeypatch, flavour)
    trt.refuses["run"] = "out of luck"
    for count in (1, 3 * MOST):
        with pytest.raises(EngineError, match=r"does not run in tensorrt\w* \(out of luck\): try a smaller batch"):
            opened.run(pictures(count))
    trt.refuses.clear()
    feeds = pictures(3 * MOST)
    np.testing.assert_array_equal(opened.run(feeds), expected(feeds))
    opened.close()
    assert card.leaks() == []


def test_a_failing_copy_on_the_gpu_gives_its_memory_back(monkeypatch, flavour):
    opened, _, card = session(monkeypatch, flavour)
    feeds = pictures(1)
    on_gpu = {name: OnGpu(card, array) for name, array in feeds.items()}
    before = card.leaks().count("memory")
    card.fails["cuMemcpyDtoDAsync"] = "ERROR_INVALID_VALUE"
    with pytest.raises(EngineError, match="cuMemcpyDtoDAsync"):
        opened.run(on_gpu)
    np.testing.assert_array_equal(read(card, opened.run(on_gpu)), expected(feeds))
    gc.collect()
    assert card.leaks().count("memory") == before + 1  # idle, for the next
