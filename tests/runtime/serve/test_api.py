"""The HTTP API: images and styles are the command's, mistakes are sentences, and its description is true."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from openapi_spec_validator import validate
from PIL import Image
from starlette.routing import Route

from starcast.images.fit import fit
from starcast.runtime.serve.app import PARTS

DRAWS = np.random.default_rng(3)
PHOTO = DRAWS.integers(0, 256, (40, 60, 3), np.uint8)


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def ask(served, image=PHOTO, **fields):
    files = {} if image is None else {"image": ("../../etc/passwd", encoded(image), "image/png")}
    return served.client.post("/api/translations", data=fields, files=files)


@pytest.mark.parametrize("mode", ["stretch", "crop", "pad", "native"])
def test_a_translation_has_the_pixels_of_the_command(served, tiny_model, mode):
    answer = ask(served, look=json.dumps({"domain": "dog", "seed": 4}), fit=mode)
    assert answer.headers["content-type"] == "image/png"
    style = served.service.translator.style("dog", seed=4)
    expected = tiny_model.translation(fit(PHOTO, (32, 32), mode)[None], style)[0]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), expected)


@pytest.mark.parametrize(("kind", "apart"), [("webp", 0), ("jpeg", 40)])
def test_other_formats_are_written(served, kind, apart):
    look = json.dumps({"domain": "dog", "seed": 4})
    [exact, other] = [
        np.asarray(Image.open(io.BytesIO(ask(served, look=look, format=one).content)), int) for one in ("png", kind)
    ]
    assert np.abs(exact - other).max() <= apart


@pytest.mark.parametrize(("fields", "why"), [
    ({}, "give one of them"), ({"look": "{"}, "cannot be read"), ({"look": '{"domain": "cow", "seed": 1}'}, "cow"),
    ({"look": '{"domain": 0, "seed": 1}', "fit": "squash"}, "`fit` takes stretch"),
    ({"look": '{"domain": 0, "seed": 1}', "format": "bmp"}, "`format` takes png"),
])  # fmt: skip
def test_a_mistake_is_a_sentence(served, fields, why):
    answer = ask(served, **fields)
    assert answer.status_code == 400
    assert why in answer.json()["error"]


def test_a_form_without_an_image_is_a_sentence(served):
    assert "`image`" in ask(served, None, look="{}").json()["error"]


def test_styles_and_blends_are_the_translators(served):
    look = {"domain": "cat", "seed": 1, "second": {"domain": "dog", "seed": 2}, "blend": 0.25}
    style = served.client.post("/api/styles", json=look).json()["style"]
    first, second = (served.service.translator.style(domain, seed=seed) for domain, seed in (("cat", 1), ("dog", 2)))
    assert np.array_equal(np.float32(style), first + np.float32(0.25) * (second - first))


def test_the_description_is_valid_and_names_every_route(served):
    described = served.client.get("/api/openapi.json").json()
    validate(described)
    routes = {
        (route.path, method.lower())
        for part in PARTS for route in part.routes(served.service) if isinstance(route, Route)
        for method in route.methods if method != "HEAD" and route.path.startswith("/api/")
    }  # fmt: skip
    named = {(path, method) for path, methods in described["paths"].items() for method in methods}
    assert named == routes - {("/api/openapi.json", "get")}


def test_the_description_knows_the_fields_of_looks(served):
    from starcast.runtime.serve.wishes import LookWish

    schemas = served.client.get("/api/openapi.json").json()["components"]["schemas"]
    assert set(schemas["Look"]["properties"]) == set(LookWish.__struct_fields__)
