"""The Open Inference Protocol v2: its messages, a ready-made client, and what hostile ones send."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from server_in_thread import ServerInThread

from starcast.runtime.bundle import open_bundle
from starcast.runtime.serve.inference_v2.tensors import (
    KINDS,
    Inference,
    ProtocolError,
    read_inference,
    unpack,
    write_answer,
)
from starcast.runtime.serve.limits import Limits
from starcast.runtime.serve.run import open_service

DRAWS = np.random.default_rng(5)
IMAGES = DRAWS.integers(0, 256, (2, 32, 48, 3), np.uint8)


def message(name, tensor, kind, *, is_binary):
    """A request with one input, as a client writes it."""
    entry = {"name": name, "shape": list(tensor.shape), "datatype": kind}
    tail = b""
    if is_binary:
        tail = tensor.tobytes()
        entry["parameters"] = {"binary_data_size": len(tail)}
    else:
        entry["data"] = tensor.tolist()
    head = json.dumps({"inputs": [entry]}).encode()
    return head + tail, str(len(head)) if is_binary else None


@given(st.data(), st.sampled_from(sorted(KINDS)), st.booleans())
def test_a_tensor_that_is_sent_is_the_one_that_is_read(data, kind, is_binary):
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    tensor = data.draw(arrays.arrays(KINDS[kind], shape, elements={"allow_nan": False, "allow_infinity": False}
                                     if kind.startswith("FP") else None))  # fmt: skip
    body, length = message("x", tensor, kind, is_binary=is_binary)
    read = read_inference(body, length).inputs["x"]
    assert (read.dtype, read.shape) == (tensor.dtype, tensor.shape)
    assert np.array_equal(read, tensor)


@given(st.booleans())
def test_an_answer_is_read_like_a_request(is_binary):
    tensor = DRAWS.standard_normal((2, 3)).astype(np.float32)
    body, length = write_answer("m", Inference({}, "7", None, is_binary), {"y": tensor})
    told = json.loads(body[:length])
    assert (told["id"], told["model_name"]) == ("7", "m")
    [entry] = told["outputs"]
    values = np.frombuffer(body[length:], np.float32) if is_binary else np.float32(entry["data"])
    assert np.array_equal(values.reshape(entry["shape"]), tensor)


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[ServerInThread]:
    """The tiny bundle, served."""
    with open_service(open_bundle(tiny_bundle), Limits(), lambda _: None, backend="onnxruntime", threads=1) as service:
        server = ServerInThread(service)
        yield server
        server.stop()


@pytest.mark.filterwarnings("ignore")
def test_a_ready_made_client_gets_the_bytes_of_translate(server, tiny_model):
    triton = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    headers = {"Authorization": f"Bearer {server.access.token}"}
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live(headers=headers)
    assert client.is_model_ready("tiny", headers=headers)
    assert [one["name"] for one in client.get_model_metadata("tiny", headers=headers)["inputs"]] == [
        "image", "style", "seed", "domain",
    ]  # fmt: skip

    def tensor(name, values, kind):
        given = triton.InferInput(name, values.shape, kind)
        given.set_data_from_numpy(values)
        return given

    style = server.service.translator.style("wild", seed=3)
    expected = tiny_model.translation(IMAGES, style)
    image = tensor("image", IMAGES, "UINT8")
    for condition in (
        [tensor("seed", np.array([3]), "INT64"), tensor("domain", np.array([2]), "INT64")],
        [tensor("style", style[None], "FP32")],
    ):
        for compression in (None, "gzip", "deflate"):
            answer = client.infer(
                "tiny", [image, *condition], headers=dict(headers), request_compression_algorithm=compression,
                outputs=[triton.InferRequestedOutput("translation", binary_data=compression is not None)],
            )  # fmt: skip
            assert np.array_equal(answer.as_numpy("translation"), expected)
    answer = client.infer("tiny-style", [tensor("seed", np.array([3, 4]), "INT64"),
                                         tensor("domain", np.array([2]), "INT64")], headers=headers)  # fmt: skip
    assert np.array_equal(answer.as_numpy("style")[0], style)
    client.close()


def entry(**changes):
    given = {"name": "image", "shape": [1, 2, 2, 3], "datatype": "UINT8", "data": [0] * 12} | changes
    return {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize(("content", "why"), [
    (b"", "cannot be read"), (b"{", "cannot be read"), (b"[" * 100_000, "cannot be read"), (b"{}", "cannot be read"),
    ([entry(shape=[1, 2, 2])], "12 values, not 4"), ([entry(shape=[-1, 2, 2, 3])], "no tensor has"),
    ([entry(shape=[10**9] * 4)], "12 values, not"), ([entry(shape=[1] * 99)], "no tensor has"),
    ([entry(datatype="INT9")], "datatype INT9"), ([entry(datatype="BYTES")], "datatype BYTES"),
    ([entry(data=None)], "values"), ([entry(data=["a"] * 12)], "no number"), ([entry(data=[300] * 12)], "no UINT8"),
    ([entry(data=[0.5] * 12)], "no UINT8"), ([entry(data=[-1] * 12)], "no UINT8"),
    ([entry(data=[[[[[[[[[[[0]]]]]]]]]]])], "too deeply"), ([entry(), entry()], "given twice"),
    ([entry(parameters={"binary_data_size": 12})], "takes 12 bytes"), ([entry(name="x")], "no input x"),
    ([entry(parameters={"binary_data_size": 10**18}, shape=[10**18])], "bytes"), ([entry()], "seed is missing"),
    ([entry(), entry(name="seed", shape=[3], datatype="INT64", data=[1, 2, 3])], "domain"),
    ([entry(), entry(name="seed", shape=[1], datatype="INT64", data=[1])], "which domain"),
    ([entry(), entry(name="style", shape=[1, 3], datatype="FP32", data=[1, 2, 3])], "give FP32"),
    ([entry(shape=[0, 2, 2, 3], data=[])], "give 1 to"), ([entry(shape=[1, 0, 2, 3], data=[])], "give 1 to"),
])  # fmt: skip
def test_what_hostile_clients_send_is_one_sentence(served, content, why):
    body = content if isinstance(content, bytes) else json.dumps({"inputs": content}).encode()
    answer = served.client.post("/v2/models/tiny/infer", content=body)
    assert answer.status_code == 400
    assert why in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "99999999", "1" * 30])
def test_a_length_that_lies_is_refused(served, length):
    answer = served.client.post(
        "/v2/models/tiny/infer", content=b"{}", headers={"Inference-Header-Content-Length": length}
    )
    assert answer.status_code == 400


def test_compressed_bodies_have_a_limit():
    assert unpack(gzip.compress(b"x" * 100), "gzip", 100) == b"x" * 100
    for deflated in (zlib.compress(b"x" * 100), zlib.compress(b"x" * 100, wbits=-15)):
        assert unpack(deflated, "deflate", 100) == b"x" * 100
    for body, encoding in ((gzip.compress(bytes(10**7)), "gzip"), (b"none", "gzip"), (b"", "br")):
        with pytest.raises(ProtocolError):
            unpack(body, encoding, 1000)


@pytest.mark.parametrize(
    "path", ["/v2/models/none", "/v2/models/tiny/versions/2", "/v2/models/none/ready", "/v2/nothing"]
)
def test_what_is_not_there_is_404(served, path):
    assert served.client.get(path).status_code == 404


def test_the_server_is_described(served):
    assert served.client.get("/v2").json()["name"] == "starcast"
    assert served.client.get("/v2/models/tiny/versions/1").json()["name"] == "tiny"
    assert served.client.get("/v2/health/live").status_code == served.client.get("/v2/health/ready").status_code == 200
