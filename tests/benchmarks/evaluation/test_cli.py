"""The command line of `evaluate`: sentences and exit status."""

from __future__ import annotations

import builtins

import pytest

from starcast.benchmarks.evaluation import run
from starcast.cli import main


def _run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def test_missing_weights_are_one_sentence_and_nothing_is_written(tiny_bundle, make_data, tmp_path, capsys):
    data = make_data("cat", "dog")
    (tmp_path / "weights").mkdir()
    status = _run("evaluate", tiny_bundle, data, "-o", tmp_path / "r.json", "--weights", tmp_path / "weights")
    error = capsys.readouterr().err
    assert status == 2
    assert "inception_v3_google-0cc3c7bd.pth" in error
    assert str(tmp_path / "weights") in error
    assert "--download" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "weights"]


@pytest.mark.parametrize("more", [(), ("--download",)], ids=["no download", "download"])
def test_a_file_in_the_place_of_the_weights_folder_is_wrong_use(more, tiny_bundle, make_data, tmp_path, capsys):
    data, file = make_data("cat", "dog"), tmp_path / "f.txt"
    file.write_text("mine")
    assert _run("evaluate", tiny_bundle, data, "-o", tmp_path / "r.json", "--weights", file, *more) == 2
    assert f"--weights is {file}, which is not a folder" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "f.txt"]


@pytest.mark.parametrize("package", ["torchmetrics", "lpips"])
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    package, tiny_bundle, make_data, tmp_path, capsys, monkeypatch
):
    real_import = builtins.__import__

    def import_without(name, *rest, **named):
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", import_without)
    assert _run("evaluate", tiny_bundle, make_data("cat", "dog"), "-o", tmp_path / "r.json") == 2
    assert "pip install 'starcast[evaluate]'" in capsys.readouterr().err


def test_the_tables_go_to_standard_output_and_a_bad_image_makes_the_status_one(
    tiny_bundle, make_data, judges, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(run, "open_judges", lambda *_, **__: judges)
    data = make_data("cat", "dog")
    arguments = ("evaluate", tiny_bundle, data, "--outputs", 2, "--no-clean", "--backend", "onnxruntime")
    assert _run(*arguments, "-o", f"{tmp_path}/out/") == 0
    assert "cat2dog" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]
    (data / "cat/val/val00.png").write_bytes(b"no image")
    assert _run(*arguments, "-o", tmp_path / "r.json") == 1
