"""FixedShapes runs: on a GPU that is the processor, and on a real one where there is one."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest
import torch
from small_graphs import graph

from starcast.errors import EngineError
from starcast.export.gate.candidates import open_session
from starcast.export.passes.forms import apply_form
from starcast.export.torch_engine import gpu
from starcast.export.torch_engine.engine import TorchEngine
from starcast.export.torch_engine.gpu import MOST_SHAPES, Cuda, FixedShapes, GpuSession
from starcast.export.torch_engine.graph import TorchGraph
from starcast.runtime.engines.base import EngineOptions, Graph
from starcast.runtime.nvidia.recorded import RECORDINGS


class StandIn(Cuda):
    """The processor as a GPU. A record writes into the output that it was made with, as CUDA graphs do."""

    device = torch.device("cpu")

    def __init__(self):
        self.records = self.replays = 0
        self.marks: list[int] = []  # replays by then

    def pinned(self, like):
        return torch.empty_like(like)

    def record(self, run):
        self.records += 1
        output = run()

        def replay():
            self.replays += 1
            output.copy_(run())

        return replay, output

    def wait(self):
        pass

    def mark(self):
        self.marks.append(self.replays)
        return len(self.marks)

    def between_ms(self, first, second):
        return 1.5 * (second - first)


@pytest.fixture
def card():
    return StandIn()


@pytest.fixture
def doubling(card):
    model = graph("y = Add(x, x)", "float[n, 2] x", "float[n, 2] y")
    return GpuSession(Path("doubling.onnx"), TorchGraph(model), card)


def test_the_first_run_of_a_shape_is_plain_and_the_second_is_recorded(doubling, card):
    for number in range(4):
        values = np.full((3, 2), number, np.float32)
        assert doubling.run({"x": values}).tolist() == (2 * values).tolist()
    assert (card.records, card.replays) == (1, 3)


def test_a_thread_that_has_not_run_a_shape_runs_it_plainly_before_it_is_recorded(doubling, card):
    values = np.ones((3, 2), np.float32)
    doubling.run({"x": values})
    elsewhere = []
    thread = Thread(target=lambda: elsewhere.append((doubling.run({"x": values}), card.records)))
    thread.start()
    thread.join()
    [(output, records)] = elsewhere
    assert output.tolist() == (2 * values).tolist()
    assert records == 0  # what cuDNN tried in the first thread it does not know in the second
    doubling.run({"x": values})
    assert card.records == 1


def test_what_cannot_be_recorded_runs_plainly_and_right(doubling, card, monkeypatch):
    tries = []

    def spoiled(run):
        tries.append(run)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(card, "record", spoiled)
    for number in range(6):
        values = np.full((3, 2), number, np.float32)
        assert doubling.run({"x": values}).tolist() == (2 * values).tolist()
    assert len(tries) == RECORDINGS


def test_a_recording_that_is_spoiled_leaves_no_trace(monkeypatch):
    """As torch has it: it ends half open, in its own stream, and nothing begins in that memory again."""
    streams, half_open, handles = ["the caller's"], set(), iter(range(9))

    @contextmanager
    def graph(record, *, pool, capture_error_mode):
        assert capture_error_mode == "thread_local"
        streams.append("torch's own")
        if pool in half_open:
            raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
        half_open.add(pool)
        yield
        if spoiled:
            raise RuntimeError("operation failed due to a previous error during capture")
        half_open.remove(pool)
        streams.pop()

    for name, stand_in in {
        "graph": graph, "CUDAGraph": lambda: SimpleNamespace(replay=lambda: None),
        "graph_pool_handle": lambda: next(handles), "current_stream": lambda: streams[-1],
        "set_stream": streams.append,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    card, spoiled = Cuda(), True
    with pytest.raises(RuntimeError, match="previous error"):
        card.record(lambda: torch.zeros(1))
    assert streams[-1] == "the caller's"
    spoiled = False
    for _ in range(2):
        _, output = card.record(lambda: torch.ones(1))
        assert output.tolist() == [1]


@pytest.mark.parametrize(("number", "taken"), [(1, "default"), (2, "default"), (0x7F00, 0x7F00)])
def test_a_strangers_stream_is_waited_for_by_its_handle(monkeypatch, number, taken):
    waited = []
    monkeypatch.setattr(torch.cuda, "default_stream", lambda: "default")
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda handle: handle)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(wait_stream=waited.append))
    monkeypatch.setattr(torch, "as_tensor", lambda value, device: value)
    value = SimpleNamespace(__cuda_array_interface__={"stream": number})
    assert gpu._tensor(value) is value
    assert waited == [taken]


def test_an_error_of_tritons_is_a_sentence_too(doubling, card, monkeypatch):
    errors = pytest.importorskip("triton.runtime.errors")

    def refused(*_):
        raise errors.OutOfResources(300_000, 232_448, "shared memory")

    monkeypatch.setattr(FixedShapes, "run", refused)
    with pytest.raises(EngineError, match=r"torch failed in doubling.onnx \(out of resource: shared memory"):
        doubling.run({"x": np.ones((1, 2), np.float32)})


def test_the_gpus_own_time_is_that_of_the_record_alone(doubling, card):
    values = np.ones((3, 2), np.float32)
    for _ in range(2):
        doubling.run({"x": values})
    told = doubling.gpu_time({"x": values})
    assert told.compute == 1.5
    assert told.enqueue > 0
    assert card.marks == [1, 2]
    doubling.close()
    with pytest.raises(EngineError, match="open it again"):
        doubling.gpu_time({"x": values})


def test_what_was_given_out_stays_when_the_record_runs_again(doubling):
    outputs = [doubling.run({"x": np.full((1, 2), number, np.float32)}) for number in range(4)]
    assert [output[0, 0] for output in outputs] == [0, 2, 4, 6]


def test_every_shape_has_its_own_record_and_the_oldest_goes(doubling, card):
    for _ in range(2):
        for rows in range(1, MOST_SHAPES + 1):
            doubling.run({"x": np.ones((rows, 2), np.float32)})
    assert card.records == MOST_SHAPES
    doubling.run({"x": np.ones((100, 2), np.float32)})
    doubling.run({"x": np.ones((2, 2), np.float32)})  # is still there
    assert (card.records, card.replays) == (MOST_SHAPES, MOST_SHAPES + 1)
    for _ in range(2):
        doubling.run({"x": np.ones((1, 2), np.float32)})  # was the oldest
    assert card.records == MOST_SHAPES + 1


def test_images_that_may_not_be_written_to_or_are_turned_are_taken(doubling):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    values.setflags(write=False)
    for _ in range(3):
        assert doubling.run({"x": values.T}).tolist() == (2 * values.T).tolist()


def test_a_closed_session_says_so(doubling):
    doubling.close()
    with pytest.raises(EngineError, match="open it again"):
        doubling.run({"x": np.ones((1, 2), np.float32)})


def test_a_failure_is_a_sentence_and_the_next_run_begins_anew(card):
    model = graph("y = Add(x, z)", "float[n] x, float[m] z", "float[k] y")
    session = GpuSession(Path("sum.onnx"), TorchGraph(model), card)
    with pytest.raises(EngineError, match=r"torch failed in sum.onnx"):
        session.run({"x": np.ones(2, np.float32), "z": np.ones(3, np.float32)})
    assert session.run({"x": np.ones(3, np.float32), "z": np.ones(3, np.float32)}).tolist() == [2, 2, 2]


def test_recorded_frames_have_onnx_runtimes_bytes(small, card):
    model = ir.load(small.generator)
    apply_form(model, "taps16")
    engine = open_session(model.clone())
    session = GpuSession(Path("frame.onnx"), TorchGraph(model, channels_last=True), card)
    draws = np.random.default_rng(2)
    for _ in range(3):
        feeds = {
            "image": draws.integers(0, 256, (2, 32, 32, 3), np.uint8),
            "style": draws.standard_normal((1, small.config.style_dim)).astype(np.float32),
        }
        assert np.abs(session.run(feeds).astype(int) - engine.run(None, feeds)[0]).max() <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA card")
@pytest.mark.parametrize(("precision", "most"), [("fp32", 1), ("fp16", 12), ("bf16", 60)])
def test_on_a_gpu_frames_have_onnx_runtimes_bytes(small, tmp_path, precision, most):
    model = ir.load(small.generator)
    apply_form(model, "taps16")
    path = tmp_path / "frame.onnx"
    ir.save(model, path)
    engine = open_session(path)
    session = TorchEngine().open(Graph(path), EngineOptions())
    draws = np.random.default_rng(2)
    for count in (1, 3, 1, 3, 1):
        feeds = {
            "image": draws.integers(0, 256, (count, 32, 64, 3), np.uint8),
            "style": draws.standard_normal((1, small.config.style_dim)).astype(np.float32),
        }
        [expected] = engine.run(None, feeds)
        assert np.abs(session.run(feeds).astype(int) - expected).max() <= most
        there = {name: torch.from_numpy(value).cuda() for name, value in feeds.items()}
        made = session.run({**there, "style": feeds["style"]})
        assert np.abs(torch.from_dlpack(made).cpu().numpy().astype(int) - expected).max() <= most
