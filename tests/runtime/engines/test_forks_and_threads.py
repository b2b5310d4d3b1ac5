"""One translator in several threads, and in forked processes: right, or one sentence, and never a hang."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from starcast.errors import EngineError
from starcast.runtime import Translator
from starcast.runtime.engines.registry import find_engine

ENGINES = ("openvino", "onnxruntime", "torch")
PATIENCE_S = 60  # of a test; a hang lasts for ever

# argv: bundle, engine, what the parent does before it forks, whose translator the child uses
FORK = """
import multiprocessing, os, sys, warnings
import numpy as np
from starcast.errors import StarcastError
from starcast.runtime import Translator
warnings.simplefilter("ignore")
bundle, engine, parent_does, whose = sys.argv[1:]
images = np.arange(2 * 32 * 32 * 3).reshape(2, 32, 32, 3).astype(np.uint8)
theirs = Translator(bundle, backend=engine)
style = theirs.style(domain=0, seed=1)
right = theirs(images, style)
if parent_does == "closes":
    theirs.close()
def child(answers):
    try:
        translator = theirs if whose == "theirs" else Translator(bundle, backend=engine)
        same = np.array_equal(translator(images, translator.style(domain=0, seed=1)), right)
        translator.close()
        answers.put("right" if same else "wrong")
    except StarcastError as error:
        answers.put(str(error))
context = multiprocessing.get_context("fork")
answers = context.SimpleQueue()
process = context.Process(target=child, args=(answers,), daemon=True)
process.start()
process.join(15)
print("hangs" if process.is_alive() else answers.get(), process.exitcode)
process.kill()
os._exit(0)
"""


def available(engine: str) -> str:
    reason = find_engine(engine).absent()
    if reason is not None:
        pytest.skip(f"{engine} is {reason}")
    return engine


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("engine", [*ENGINES, "ncnn"])
@pytest.mark.parametrize(("parent_does", "whose"), [("keeps", "theirs"), ("keeps", "own"), ("closes", "own")])
def test_a_forked_child_translates_or_says_that_spawn_is_needed(tiny_bundle, ncnn_bundle, engine, parent_does, whose):
    bundle = ncnn_bundle if available(engine) == "ncnn" else tiny_bundle
    if engine == "torch" and (parent_does, whose) == ("keeps", "own"):
        pytest.skip("its import takes two seconds, and the other two cases are harder")
    command = [sys.executable, "-c", FORK, str(bundle), engine, parent_does, whose]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    answer, _, status = done.stdout.strip().rpartition(" ")
    assert status == "0", done.stdout + done.stderr
    if engine == "openvino":
        assert "this process was forked from one that has used openvino" in answer
        assert 'multiprocessing.get_context("spawn")' in answer
    else:
        assert answer == "right", done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_auto_takes_an_engine_that_works_in_a_forked_child(tiny_bundle):
    script = FORK.replace("backend=engine)\nstyle", 'backend="openvino")\nstyle')
    command = [sys.executable, "-c", script, str(tiny_bundle), "auto", "keeps", "own"]
    available("openvino")
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.split() == ["right", "0"], done.stdout + done.stderr


@pytest.mark.parametrize("engine", [*ENGINES, "ncnn"])
def test_one_translator_is_right_from_several_threads(tiny_bundle, ncnn_bundle, tiny_model, engine):
    bundle = ncnn_bundle if available(engine) == "ncnn" else tiny_bundle
    together = threading.Barrier(4)
    with Translator(bundle, backend=engine, threads=2) as translator, ThreadPoolExecutor(4) as pool:

        def translate(number: int) -> bool:
            draws = np.random.RandomState(number)
            images = draws.randint(0, 256, (1 + number, 32, 32 + 4 * number, 3)).astype(np.uint8)
            together.wait(PATIENCE_S)
            for seed in range(8):
                style = translator.style(domain=number % 3, seed=seed)
                made = translator(images, style)
                if not np.array_equal(made, tiny_model.translation(images, style)):
                    return False
            return True

        assert all(pool.map(translate, range(4)))


@pytest.mark.parametrize("engine", [*ENGINES, "ncnn"])
def test_translators_open_and_run_in_threads_of_their_own(tiny_bundle, ncnn_bundle, tiny_model, engine):
    bundle = ncnn_bundle if available(engine) == "ncnn" else tiny_bundle
    together = threading.Barrier(3)

    def translate(number: int) -> bool:
        images = np.full((1, 32, 32, 3), 40 * number, np.uint8)
        together.wait(PATIENCE_S)
        for _ in range(3):
            with Translator(bundle, backend=engine, threads=1) as translator:
                style = translator.style(domain=0, seed=number)
                if not np.array_equal(translator(images, style), tiny_model.translation(images, style)):
                    return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(translate, range(3)))


@pytest.mark.parametrize("engine", [*ENGINES, "ncnn"])
def test_closing_waits_for_a_thread_that_runs_and_ends_the_others_in_a_sentence(tiny_bundle, ncnn_bundle, engine):
    bundle = ncnn_bundle if available(engine) == "ncnn" else tiny_bundle
    translator = Translator(bundle, backend=engine, threads=1)
    style, images = translator.style(domain=0, seed=1), np.zeros((1, 32, 32, 3), np.uint8)
    running = threading.Barrier(4)
    errors: list[EngineError] = []

    def translate() -> None:
        translator(images, style)
        running.wait(PATIENCE_S)
        try:
            while True:
                translator(images, style)
        except EngineError as error:
            errors.append(error)

    threads = [threading.Thread(target=translate) for _ in range(3)]
    for thread in threads:
        thread.start()
    running.wait(PATIENCE_S)
    translator.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [type(error) for error in errors] == [EngineError] * 3
    assert all("has been closed: open it again" in str(error) for error in errors)
