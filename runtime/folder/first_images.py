"""A small `translate` in which engines are measured: it reads, translates and writes the first images repeatedly.

A drawn image replaces one that is damaged, or that comes through a pipe, which can be read only once.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starcast.errors import ImageError
from starcast.images.fit import NATIVE, fit
from starcast.images.read import read_image
from starcast.images.write import write_image
from starcast.leftovers import temporary_folder
from starcast.runtime.engines.workload import Run, Work
from starcast.runtime.folder.jobs import Job
from starcast.runtime.folder.pipeline import READERS, SPARE_DETAIL
from starcast.runtime.folder.write_output import WRITERS
from starcast.runtime.options import TranslateOptions
from starcast.runtime.stages import InOrder, map_ahead, open_pool

_SOURCES = 16  # different ones


def work_of(jobs: Sequence[Job], size: tuple[int, int], options: TranslateOptions) -> Work:
    """The work that `translate_jobs` does for these jobs, on images of `size`. What is written is deleted."""
    steps = [(job.source.path, len(job.targets)) for job in jobs[:_SOURCES]]
    suffix = jobs[0].targets[0].path.suffix
    mode = "stretch" if options.fit == NATIVE else options.fit

    drawn = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)

    def read(path: Path) -> NDArray[np.uint8]:
        spare = (size[0] * SPARE_DETAIL, size[1] * SPARE_DETAIL)
        try:
            is_file = path.is_file()
            image = read_image(path, max_pixels=options.max_pixels, at_least=spare) if is_file else drawn
        except ImageError:
            image = drawn
        return fit(image, size, mode)

    def rehearse(run: Run, batch: int) -> Generator[None]:
        with temporary_folder() as folder, open_pool(READERS) as readers, open_pool(WRITERS) as writers:
            writes: InOrder[object] = InOrder(writers, places=2 * batch + WRITERS, take=lambda written: None)
            styles = cycle([count for _, count in steps])
            images = map_ahead(readers, read, cycle([path for path, _ in steps]), ahead=batch + READERS)
            wanted = (image for image, count in zip(images, styles, strict=False) for _ in range(count))
            number = 0
            while True:
                for translation in run(np.stack(list(islice(wanted, batch)))):
                    writes.add(partial(write_image, folder / f"{number % (4 * batch)}{suffix}", translation))
                    number += 1
                    yield

    return Work("translate", rehearse, options.batch)
