from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from starcast.export.preview import GAP, TILE, draw_preview, preview_sources


def test_a_preview_has_a_row_a_source_and_a_column_a_domain(small: Any) -> None:
    styles = np.random.RandomState(0).standard_normal((3, small.config.style_dim)).astype(np.float32)
    sources = preview_sources(None, 32)
    preview = draw_preview(small.generator, sources, styles)
    assert preview.shape == (2 * (TILE + GAP) + GAP, 4 * (TILE + GAP) + GAP, 3)
    assert (preview[:GAP] == 255).all()
    corner = preview[GAP : GAP + TILE, GAP : GAP + TILE]
    assert np.abs(corner.mean(axis=(0, 1)) - sources[0].mean(axis=(0, 1))).max() < 5  # the source itself, enlarged


def test_many_domains_are_not_all_shown(small: Any) -> None:
    styles = np.zeros((9, small.config.style_dim), np.float32)
    assert draw_preview(small.generator, preview_sources(None, 32), styles).shape[1] == 5 * (TILE + GAP) + GAP


def test_sources_are_held_out_images_where_the_data_set_is_there(tmp_path: Path) -> None:
    for split, level in (("train", 10), ("val", 200)):
        (tmp_path / "cat" / split).mkdir(parents=True)
        Image.new("RGB", (20, 30), (level, 0, 0)).save(tmp_path / "cat" / split / "a.png")
    first, second = preview_sources(str(tmp_path), 32)
    assert (first == [200, 0, 0]).all()
    assert second.std() > 4  # the second is made by arithmetic


@pytest.mark.parametrize("state", ["gone", "unreadable"])
def test_sources_are_made_where_the_data_set_is_not(tmp_path: Path, state: str) -> None:
    if state == "unreadable":
        (tmp_path / "data/cat").mkdir(parents=True)
        (tmp_path / "data/cat/a.png").write_bytes(b"not an image")
    sources = preview_sources(str(tmp_path / "data"), 32)
    assert sources.shape == (2, 32, 32, 3)
    assert (sources.std(axis=(1, 2, 3)) > 4).all()
