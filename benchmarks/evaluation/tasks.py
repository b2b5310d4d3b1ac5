"""All tasks of one model, one target domain after the other, so that only one domain's real features are open."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from starcast.benchmarks.evaluation.images import Progress
from starcast.benchmarks.evaluation.measure import Task, remember_references
from starcast.benchmarks.evaluation.protocol import Pair, pairs_of, task_batches
from starcast.benchmarks.evaluation.real import RealFeatures, cache_folder, preparations
from starcast.benchmarks.evaluation.report import Report, summarise, with_means, without_nan
from starcast.benchmarks.evaluation.setting import Setting
from starcast.benchmarks.evaluation.subjects import Floats, Subject
from starcast.benchmarks.evaluation.task import run_task
from starcast.benchmarks.evaluation.work import TaskRecord, Work
from starcast.benchmarks.quality.distances import Frechet
from starcast.runtime.progress import ProgressBar

Name = tuple[int, str, str]  # seed, mode and pair of a task
Records = dict[Name, TaskRecord]
PART = 1024  # rows of features that are read at once


class Tasks:
    """The tasks of a model. `role` names it in the work folder; `numbers` are the domains' numbers in the model."""

    def __init__(self, role: str, subject: Subject, numbers: Mapping[str, int], setting: Setting, work: Work) -> None:
        self._role, self._subject, self._numbers, self._setting, self._work = role, subject, numbers, setting, work
        self._pairs = pairs_of([domain.name for domain in setting.domains])
        usual = setting.judges.usual is not None
        self._prepare = preparations(subject.size, clean=setting.options.clean, usual=usual)

    def run(self, fail: Progress, progress: Progress, *, show: bool) -> Records:
        """Measure what earlier runs have not, and return the records of all. `fail` gets a sentence for each real image
        that cannot be read. Raises what translating raises, and OSError."""
        records: Records = {}
        targets = sorted({pair.target for pair in self._pairs})
        total = sum(self._outputs(pair, mode) for pair in self._pairs for _, mode in self._seeds_and_modes)
        total += sum(len(self._setting.domains[target].training) for target in targets)
        with ProgressBar(total, "images", show=show, progress=progress) as bar:
            for target in targets:
                done = self._run_target(target, fail, bar)
                records |= {name: self._without_examples(name, record) for name, record in done.items()}
        return records

    @property
    def _seeds_and_modes(self) -> list[tuple[int, str]]:
        """Every seed with every mode."""
        return [(seed, mode) for seed in self._setting.seeds for mode in self._setting.modes]

    @property
    def _sources(self) -> list[int]:
        """How many sources each domain has; a model without a source makes as many images."""
        images = self._setting.images
        return [len(domain.held_out) if images is None else images for domain in self._setting.domains]

    def _outputs(self, pair: Pair, mode: str) -> int:
        """How many outputs a task makes."""
        return self._sources[pair.source] * self._setting.outputs(mode)

    def _run_target(self, place: int, fail: Progress, bar: ProgressBar) -> Records:
        target = self._setting.domains[place]
        names: dict[Name, Pair] = {
            (*way, pair.name): pair for way in self._seeds_and_modes for pair in self._pairs if pair.target == place
        }
        keys = {name: f"{self._role}/{name[0]}-{name[1]}-{self._pairs.index(pair)}" for name, pair in names.items()}
        records = {name: record for name, key in keys.items() if (record := self._work.read_task(key)) is not None}
        for name, record in records.items():
            bar.advance(self._outputs(names[name], name[1]))
            for sentence in record.left_out:
                fail(str(sentence))
        if len(records) == len(names):
            bar.advance(len(target.training))
            return records
        scratch = f"{self._role}/real-{place}"
        make_task = self._prepare_target(place, scratch, fail, bar)
        for name, pair in names.items():
            if name not in records:
                task, frechet = make_task(name, pair)
                batches = task_batches(
                    pair, self._pairs, self._sources, mode=task.mode,
                    outputs=task.outputs, size=self._setting.options.batch, seed=task.seed,
                )  # fmt: skip
                records[name] = run_task(task, keys[name], batches, self._work, frechet, bar.advance)
        self._work.forget(scratch)
        return {name: records[name] for name in names}

    def _without_examples(self, name: Name, record: TaskRecord) -> TaskRecord:
        """The record as it is for the first seed, which the page shows; of others only the figures."""
        return record if name[0] == self._setting.seeds[0] else dataclasses.replace(record, outputs=record.outputs[:0])

    def _prepare_target(
        self, place: int, scratch: str, fail: Progress, bar: ProgressBar
    ) -> Callable[[Name, Pair], tuple[Task, Mapping[str, Frechet]]]:
        """A function that makes a task of this target: the real features and reference styles are shared by all."""
        setting, subject, target = self._setting, self._subject, self._setting.domains[place]
        left_out: list[str] = []
        features = RealFeatures(
            setting.judges, setting.device, subject.size, clean=setting.options.clean, square=not subject.domains,
            cache=cache_folder(self._work.folder), fail=left_out.append,
        )  # fmt: skip
        real, rows = features.write(target.training, target.hashes, self._work.scratch(scratch), bar)
        for sentence in left_out:
            fail(sentence)
        frechet = {name: Frechet(_in_parts(part), setting.judges.network(name).width) for name, part in real.items()}
        references = remember_references(subject, target, self._numbers.get(target.name, 0))

        def make(name: Name, pair: Pair) -> tuple[Task, Mapping[str, Frechet]]:
            task = Task(
                pair=pair, seed=name[0], mode=name[1], outputs=setting.outputs(name[1]),
                source=setting.domains[pair.source], target=target, subject=subject,
                number=self._numbers.get(target.name, 0),
                judges=setting.judges, prepare=self._prepare, real=real, real_places=rows, left_out=tuple(left_out),
                classify=setting.classify, from_levels=setting.from_levels, reference_style=references,
            )  # fmt: skip
            return task, frechet

        return make


def report_of(records: Records, seeds: Sequence[int], facts: Mapping[str, Any]) -> Report:
    """The report of a model from its tasks."""
    figures = {}
    for seed in seeds:
        own = {(mode, pair): record for (of, mode, pair), record in records.items() if of == seed}
        figures[seed] = with_means({name: without_nan(record.as_dict()) for name, record in own.items()})
    return summarise(figures, facts)


def _in_parts(rows: Floats) -> Iterator[Floats]:
    return (rows[start : start + PART] for start in range(0, len(rows), PART))
