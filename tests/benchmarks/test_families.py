"""Benchmarks ask the tables for a family's networks; they name none."""

from __future__ import annotations

from pathlib import Path

import pytest

from starcast.train.families import FAMILIES

ROOM = Path(__file__).resolve().parents[2] / "benchmarks"
# studies that compare with an original program, time the parts of a model, or train the smallest model of each kind
EXCEPTIONS = {
    "stargan_v1": ["studies/hardship_material.py"],
    "stargan_v2": ["studies/face_parts.py", "studies/original_step.py"],
    "stylegan2": ["studies/hardship_material.py", "studies/original_generator.py"],
}


@pytest.mark.parametrize("name", FAMILIES)
def test_no_benchmark_names_a_family(name):
    naming = [
        file.relative_to(ROOM).as_posix() for file in sorted(ROOM.rglob("*.py")) if name in file.read_text("utf-8")
    ]
    assert naming == EXCEPTIONS.get(name, [])
