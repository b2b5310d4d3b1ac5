"""Evaluate one model, or two, on a folder of domains, and write the report: JSON, and a page with examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from starcast.benchmarks.evaluation import page
from starcast.benchmarks.evaluation.images import (
    EvaluationDomain,
    Progress,
    match_domains,
    read_all,
    read_domains,
)
from starcast.benchmarks.evaluation.judges import Judges, classifier_of, full_float32, open_judges
from starcast.benchmarks.evaluation.protocol import GENERATED
from starcast.benchmarks.evaluation.report import Report, compare, digest, read_report
from starcast.benchmarks.evaluation.setting import (
    Setting,
    about,
    check_comparable,
    choose_modes,
    decisive_facts,
    earlier_report,
    versions,
)
from starcast.benchmarks.evaluation.subjects import Subject, is_bundle, open_subject
from starcast.benchmarks.evaluation.tasks import Tasks, report_of
from starcast.benchmarks.evaluation.work import Work
from starcast.benchmarks.options import EvaluateOptions
from starcast.benchmarks.record import write_result
from starcast.errors import EngineError, OptionError, printable
from starcast.export.options import ExportOptions
from starcast.hold import hold
from starcast.occupied import OVERWRITE, already
from starcast.options import from_flat, to_flat
from starcast.runtime.bundle import refuse_to_write_into
from starcast.runtime.cores import granted_threads
from starcast.runtime.options import EngineChoice
from starcast.runtime.seed_lists import parse_seeds
from starcast.train.data.folders import in_words
from starcast.train.device import choose_device, compute_reproducibly

MODEL, AGAINST = "model", "against"


@dataclass
class Evaluation:
    """What `evaluate` did. `failed` has a sentence for each image that could not be read; `was_finished`: the report
    was finished by an earlier run."""

    report: Report
    page: Path
    failed: list[str] = field(default_factory=list)
    was_finished: bool = False

    def fail(self, sentence: str, progress: Progress) -> None:
        """Remember and print a failure, once."""
        if sentence not in self.failed:
            self.failed.append(sentence)
            progress(sentence)


def evaluate(
    model: Path,
    data: Path,
    report: Path,
    options: EvaluateOptions,
    *,
    judges: Judges | None = None,
    progress: Progress = print,
    show_progress: bool = False,
) -> Evaluation:
    """Evaluate `model`, and `options.against`, on `data`; write `report` (.json) and a page (.html) beside it.

    An interrupted evaluation continues at its last finished batch. `judges`: by default those of the options.
    `progress` gets a line for what is left out or assumed. Raises StarcastError; ModuleNotFoundError if a package is
    missing; OSError if the disk is full: what was measured by then stays for the next call.
    """
    if report.suffix.lower() != ".json":
        raise OptionError(f"-o is {printable(report)}: give a file that ends in .json, or a folder")
    refuse_to_write_into(report)
    seeds = list(dict.fromkeys(parse_seeds(options.seeds, "--seeds")))
    device = choose_device(options.device)
    threads = granted_threads(options.threads)
    if threads is not None:
        torch.set_num_threads(threads)
    earlier = earlier_report(options.against)
    paths = {MODEL: model} if options.against is None or earlier else {MODEL: model, AGAINST: options.against}
    _refuse_unused(paths, options)
    done = Evaluation({}, page.page_beside(report))
    with hold(report), compute_reproducibly(device, deterministic=True), full_float32(), _explain_gpu():
        judges = judges or open_judges(options.weights, download=options.download, device=device, progress=progress)
        with _open_all(paths, options, device, progress) as subjects:
            modes = choose_modes(subjects, options, progress)
            numbers, domains = _find_domains(data, options, subjects, modes, done, progress)
            setting = Setting(
                data=data, domains=domains, modes=modes, seeds=seeds, options=options, judges=judges, device=device,
                classify=classifier_of(data, [domain.name for domain in domains]),
                from_levels=any(map(is_bundle, paths.values())),
            )  # fmt: skip
            if earlier is not None:
                check_comparable(earlier, setting, progress)
            plan = _plan(setting, subjects, earlier)
            there = _finished(report, done.page, digest(plan), options)
            if there is not None:
                return Evaluation(there, done.page, done.failed, was_finished=True)
            work = Work(report)
            _show_start(work.begin(plan), progress)
            reports, first = {}, None
            for role, subject in subjects.items():
                tasks = Tasks(role, subject, numbers[role], setting, work)
                records = tasks.run(lambda sentence: done.fail(sentence, progress), progress, show=show_progress)
                first = first or records
                reports[role] = report_of(records, seeds, {"model": subject.facts(), **about(setting)})
        other = reports.get(AGAINST, earlier)
        done.report = reports[MODEL] if other is None else compare(reports[MODEL], other)
        done.report["about"] = {**done.report["about"], "plan": digest(plan), "left out": done.failed}
        page.write_page(done.page, done.report, setting.domains, first or {}, seeds[0], digest(plan))
        write_result(report, done.report)
        work.end()
    return done


@contextmanager
def _open_all(
    paths: Mapping[str, Path], options: EvaluateOptions, device: torch.device, progress: Progress
) -> Iterator[dict[str, Subject]]:
    """The models by role, closed at the end."""
    subjects: dict[str, Subject] = {}
    flat = to_flat(options)
    names = from_flat(ExportOptions, {name: flat[name] for name in ("domains", "attributes")})
    try:
        for role, path in paths.items():
            subjects[role] = open_subject(path, names, _engine_of(role, options), device, progress)
        yield subjects
    finally:
        for subject in subjects.values():
            subject.close()


def _refuse_unused(paths: Mapping[str, Path], options: EvaluateOptions) -> None:
    """Raise OptionError for an engine option that no bundle here would use."""
    defaults, given = to_flat(EvaluateOptions()), to_flat(options)
    if AGAINST not in paths or not is_bundle(paths[AGAINST]):
        for name in ("against_backend", "against_precision"):
            if given[name] is not None:
                flag = f"--{name.replace('_', '-')}"
                raise OptionError(f"{flag} needs a bundle that --against names: leave {flag} out")
    for name in ("backend", "precision", "memory", "remeasure"):
        if given[name] != defaults[name] and not any(map(is_bundle, paths.values())):
            raise OptionError(
                f"--{name} is for bundles, and {printable(paths[MODEL])} is none: export it, or leave --{name} out"
            )


def _engine_of(role: str, options: EvaluateOptions) -> EngineChoice:
    """The engine that a bundle runs on."""
    values = {name: value for name, value in to_flat(options).items() if name in EngineChoice.__dataclass_fields__}
    if role == AGAINST:
        values["backend"] = options.against_backend or options.backend
        values["precision"] = options.against_precision or options.precision
    return from_flat(EngineChoice, values)


def _find_domains(
    data: Path,
    options: EvaluateOptions,
    subjects: Mapping[str, Subject],
    modes: Sequence[str],
    done: Evaluation,
    progress: Progress,
) -> tuple[dict[str, dict[str, int]], list[EvaluationDomain]]:
    """Each model's numbers of the domains, and the domains' images. Raises DatasetError and OptionError."""
    if GENERATED in modes:
        return {role: {} for role in subjects}, [read_all(options.training or data)]
    if options.generate is not None:
        raise OptionError("--generate is for models that make images without a source: leave it out")
    numbers = {role: match_domains(data, subject.domains, progress) for role, subject in subjects.items()}
    names = _shared_names(numbers)
    if len(names) == 1:
        progress(f"Only one domain: its images are translated into {printable(names[0])} itself")
    return numbers, read_domains(
        data, options.training, names, progress, lambda sentence: done.fail(sentence, progress)
    )


def _shared_names(numbers: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The domains that all models have. Raises OptionError if there is none."""
    names = [name for name in numbers[MODEL] if all(name in others for others in numbers.values())]
    if not names:
        raise OptionError(
            f"the models share no domain: one has {in_words(numbers[MODEL])}, the other {in_words(numbers[AGAINST])}"
        )
    return names


def _plan(setting: Setting, subjects: Mapping[str, Subject], earlier: Report | None) -> dict[str, Any]:
    """Everything that decides the report's figures, to the bit."""
    models = {
        role: {name: value for name, value in subject.facts().items() if name != "path"}
        for role, subject in subjects.items()
    }
    computed = {
        "lpips of": setting.lpips_of, "classifier": setting.classify is not None, "device": setting.device.type,
        "threads": torch.get_num_threads(), **versions(),
    }  # fmt: skip
    against = None if earlier is None else digest(earlier)
    return {**decisive_facts(setting), "models": models, "against": against, "computed": computed}


def _finished(report: Path, target: Path, plan: str, options: EvaluateOptions) -> Report | None:
    """The finished report of the same evaluation. Raises OptionError if something else is in the way."""
    if options.overwrite:
        return None
    there = read_report(report)
    if there is not None and there["about"].get("plan") == plan:
        return there
    if report.exists() or report.is_symlink():
        what = (
            "exists, not a report of `starcast evaluate`" if there is None else "holds the report of another evaluation"
        )
        raise OptionError(already(report, what, OVERWRITE))
    if (target.exists() or target.is_symlink()) and page.plan_of(target) != plan:
        raise OptionError(already(target, "exists, and is not the page of this evaluation", OVERWRITE))
    return None


def _show_start(state: str, progress: Progress) -> None:
    """Show what becomes of an interrupted evaluation's work."""
    if state == "resumed":
        progress("Resuming the evaluation that was interrupted here")
    elif state == "replaced":
        progress("Another evaluation was interrupted here, and its work is discarded: starting over")


@contextmanager
def _explain_gpu() -> Iterator[None]:
    """Turn a GPU's failures into an error that says what to change. Raises EngineError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EngineError(
            "the GPU has too little memory for this model: close other programs that use it, or give --device cpu"
        ) from error
    except torch.AcceleratorError as error:
        reason = str(error).partition("\n")[0]
        raise EngineError(f"the GPU failed ({reason}): see nvidia-smi, or give --device cpu") from error
