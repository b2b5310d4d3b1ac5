from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starcast.runtime.engines import verdicts
from starcast.runtime.engines.verdicts import Entry, Verdict

QUESTION = ("bundle 12ab", "picture 256x256, batch 1", "threads 2")
VERDICT = Verdict(
    question=QUESTION,
    entries=(
        Entry(name="openvino taps9", ms=281.4),
        Entry(name="onnxruntime taps9", left_out="not within 8 s"),
        Entry(name="ncnn taps9", ms=212.9),
    ),
    best=2,
)


def test_what_was_kept_is_recalled_for_the_same_question_only(tmp_path):
    assert verdicts.recall(QUESTION, tmp_path) is None
    assert verdicts.keep(VERDICT, tmp_path)
    assert verdicts.recall(QUESTION, tmp_path) == VERDICT
    assert verdicts.recall((*QUESTION, "another engine"), tmp_path) is None
    assert verdicts.count(tmp_path) == 1


def test_it_reads_as_a_sentence():
    assert VERDICT.sentence() == (
        "ncnn taps9 is the fastest here: 213 ms an image (openvino taps9 281); --remeasure measures again"
    )
    slow = msgspec.structs.replace(VERDICT, entries=(Entry(name="a", ms=1234.5), Entry(name="b", ms=0.25)), best=1)
    assert slow.sentence() == "b is the fastest here: 0.25 ms an image (a 1234); --remeasure measures again"


@pytest.mark.parametrize("content", [
    b"", b"{", b"[1, 2]", b'{"question": []}', b"\xff\xfe",
    msgspec.json.encode(msgspec.structs.replace(VERDICT, best=3)),
    msgspec.json.encode(msgspec.structs.replace(VERDICT, best=-1)),
    msgspec.json.encode(msgspec.structs.replace(VERDICT, best=1)),
    msgspec.json.encode(msgspec.structs.replace(VERDICT, question=("another",))),
], ids=["empty", "cut", "list", "fields", "text", "beyond", "before", "not measured", "other question"])  # fmt: skip
def test_a_damaged_answer_is_none(tmp_path, content):
    verdicts.keep(VERDICT, tmp_path)
    [file] = verdicts.folder(tmp_path).iterdir()
    file.write_bytes(content)
    assert verdicts.recall(QUESTION, tmp_path) is None
    assert verdicts.keep(VERDICT, tmp_path)
    assert verdicts.recall(QUESTION, tmp_path) == VERDICT


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path):
    verdicts.keep(VERDICT, tmp_path)
    verdicts.folder(tmp_path).chmod(0o777)
    assert verdicts.recall(QUESTION, tmp_path) is None
    assert not verdicts.keep(VERDICT, tmp_path)


def test_the_folder_is_the_users_own(tmp_path):
    verdicts.keep(VERDICT, tmp_path)
    assert verdicts.folder(tmp_path).stat().st_mode & 0o777 == 0o700


def test_without_a_place_nothing_is_kept(tmp_path):
    (tmp_path / "file").touch()
    assert not verdicts.keep(VERDICT, tmp_path / "file")
    assert verdicts.recall(QUESTION, tmp_path / "file") is None
    assert verdicts.count(tmp_path / "file") == verdicts.count(tmp_path / "nothing") == 0


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_byte_of_a_kept_answer_may_be_anything(tmp_path, data):
    """It is recalled as a whole verdict on this question, or not at all; and it can be kept again."""
    verdicts.keep(VERDICT, tmp_path)
    [file] = verdicts.folder(tmp_path).iterdir()
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3), "bytes")):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.sampled_from([0x80, 0x20, 0x01, 0xFF]))
    file.write_bytes(content)
    held = verdicts.recall(QUESTION, tmp_path)
    assert held is None or (held.question == QUESTION and held.winner.ms)
    assert verdicts.keep(VERDICT, tmp_path)
    assert verdicts.recall(QUESTION, tmp_path) == VERDICT


def test_a_folder_in_the_place_of_an_answer_is_replaced(tmp_path):
    verdicts.keep(VERDICT, tmp_path)
    [file] = verdicts.folder(tmp_path).iterdir()
    file.unlink()
    (file / "sub").mkdir(parents=True)
    assert verdicts.recall(QUESTION, tmp_path) is None
    assert verdicts.keep(VERDICT, tmp_path)
    assert verdicts.recall(QUESTION, tmp_path) == VERDICT
