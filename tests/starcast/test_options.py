from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from starcast.click_options import options_from
from starcast.config_file import config_option, read_config
from starcast.errors import OptionError
from starcast.options import (
    CheckedOptions,
    as_json,
    flag_of,
    flat_fields,
    from_flat,
    from_json,
    group,
    option,
    replace_options,
    to_flat,
)


@dataclass(frozen=True, kw_only=True)
class FitOptions(CheckedOptions):
    """One field of every kind."""

    size: int = option(256, "Side in pixels.", minimum=32, maximum=1024)
    weight: float = option(1.0, "Weight of the fit.")
    seed: int | None = option(None, "Seed.", minimum=0)
    method: str = option("stretch", "How it is done.", choices=("stretch", "crop"))
    fast: bool = option(True, "Do it fast.")
    output: Path | None = option(None, "Where it goes.", flags=("-o", "--output"))
    domains: tuple[str, ...] = option((), "Names.")
    hidden: int = 7


class Fit:
    """The command `fit` and what it was called with."""

    def __init__(self) -> None:
        @click.command("fit")
        @config_option()
        @options_from(FitOptions, size=64)
        def command(**values: object) -> FitOptions:
            return FitOptions(**values)

        self.command = command

    def __call__(self, *arguments: object) -> FitOptions:
        return self.command.main(list(map(str, arguments)), standalone_mode=False)

    def help(self) -> str:
        return " ".join(CliRunner().invoke(self.command, ["--help"]).output.split())


@pytest.fixture
def fit() -> Fit:
    return Fit()


@pytest.fixture
def config(tmp_path):
    def write(content: str, name: str = "run.toml") -> Path:
        (tmp_path / name).write_text(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize(("values", "words"), [
    ({"size": 31}, "--size is 31: give at least 32"),
    ({"size": 2000}, "--size is 2000: give at most 1024"),
    ({"method": "pad"}, "--method is 'pad': give one of stretch, crop"),
    ({"weight": float("nan")}, "--weight is nan: give a number"),
    ({"weight": float("inf")}, "--weight is inf: give a number"),
    ({"seed": -1}, "--seed is -1"),
])  # fmt: skip
def test_a_value_that_cannot_work_names_the_flag_and_what_would(values, words):
    with pytest.raises(OptionError, match=words):
        FitOptions(**values)


def test_options_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        FitOptions().size = 64


def test_a_flag_is_the_name_with_dashes_or_the_one_that_was_given():
    @dataclass(frozen=True, kw_only=True)
    class Options(CheckedOptions):
        r1_every: int = option(1, "How often.")
        batch_size: int = option(8, "Images.", flags=("-b", "--batch"))

    assert [flag_of(field) for field, _ in flat_fields(Options)] == ["--r1-every", "--batch"]


def test_the_command_line_gives_every_kind_of_value(fit):
    found = fit("--size", 128, "--weight", "2", "--seed", 0, "--method", "crop", "--no-fast", "-o", "x/y",
                "--domains", "photo, ink,,oil")  # fmt: skip
    assert found == FitOptions(
        size=128, weight=2.0, seed=0, method="crop", fast=False, output=Path("x/y"), domains=("photo", "ink", "oil")
    )


def test_what_is_left_out_has_its_default_or_the_commands(fit):
    assert fit() == FitOptions(size=64)


def test_the_help_shows_texts_ranges_and_defaults(fit):
    for words in ("Side in pixels. [default: 64; 32 to 1024]", "[stretch|crop]", "--fast / --no-fast", "-o, --output",
                  "Names.", "--config"):  # fmt: skip
        assert words in fit.help()
    assert "hidden" not in fit.help()


@pytest.mark.parametrize(("arguments", "words"), [
    (("--size", "31"), "--size"), (("--size", "1.5"), "--size"), (("--method", "pad"), "--method"),
    (("--hidden", "3"), "--hidden"), (("--weight", "much"), "--weight"),
])  # fmt: skip
def test_the_command_line_refuses_what_cannot_work(fit, arguments, words):
    with pytest.raises(click.UsageError) as caught:
        fit(*arguments)
    assert words in caught.value.format_message()


@pytest.mark.parametrize(("name", "content"), [
    ("run.toml", 'size = 128\nweight = 2\nfast = false\ndomains = ["a", "b"]\noutput = "x"\n'),
    ("run.json", '{"size": 128, "weight": 2, "fast": false, "domains": ["a", "b"], "output": "x"}'),
    ("run.JSON", '{"size": "128", "weight": "2.0", "fast": "no", "domains": "a,b", "output": "x"}'),
])  # fmt: skip
def test_a_config_file_gives_what_the_command_line_would(fit, config, name, content):
    expected = FitOptions(size=128, weight=2.0, fast=False, domains=("a", "b"), output=Path("x"))
    assert fit("--config", config(content, name)) == expected


def test_the_command_line_wins_over_the_file_wherever_it_stands(fit, config):
    file = config("size = 128\nmethod = 'crop'\n")
    assert fit("--size", 256, "--config", file) == fit("--config", file, "--size", 256)
    assert fit("--config", file, "--size", 256) == FitOptions(size=256, method="crop")


@pytest.mark.parametrize(("content", "name", "words"), [
    ("size = ", "run.toml", r"run\.toml is not valid TOML \(.*\): fix the file"),
    ("{", "run.json", r"run\.json is not valid JSON"),
    ("[" * 100_000, "run.json", r"run\.json is not valid JSON"),
    ("[1]", "run.json", "holds no table of options"),
    ("sise = 3", "run.toml", "unknown option sise: known are domains, fast, method, output, seed, size, weight"),
    ("[fit]\nsize = 64", "run.toml", "unknown option fit"),
    ("hidden = 3", "run.toml", "unknown option hidden"),
    ('{"size": null}', "run.json", "has size = None: write one value for it"),
    ('{"size": {"a": 1}}', "run.json", "write one value for it"),
    ('{"output": ["a"]}', "run.json", "write one value for it"),
    ('{"domains": {"a": 1}}', "run.json", "write a list for it"),
    ('{"domains": [["a"]]}', "run.json", "write a list for it"),
    ("day = 2020-01-01", "run.toml", "unknown option day"),
    ("size = 2020-01-01", "run.toml", "write one value for it"),
    ("weight = nan", "run.toml", "--weight is nan"),
], ids=lambda value: value[:12] if isinstance(value, str) else None)  # fmt: skip
def test_a_config_file_that_cannot_work_is_named_with_what_is_wrong(fit, config, content, name, words):
    with pytest.raises(OptionError, match=words):
        fit("--config", config(content, name))


@pytest.mark.parametrize("content", ["size = 1.5", "size = true", "size = 31", "fast = 3", "method = 'pad'"])
def test_a_config_file_is_checked_like_the_command_line(fit, config, content):
    with pytest.raises(click.BadParameter):
        fit("--config", config(content))


def test_a_config_file_in_another_encoding_is_named(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"method = '\xff'")
    with pytest.raises(OptionError, match=r"run\.toml is not valid TOML"):
        read_config(tmp_path / "run.toml", {"method"})


names = st.text("abcäß_-. ", min_size=1, max_size=6)


@given(st.builds(
    FitOptions, size=st.integers(32, 1024), weight=st.floats(allow_nan=False, allow_infinity=False),
    seed=st.none() | st.integers(0), method=st.sampled_from(["stretch", "crop"]), fast=st.booleans(),
    output=st.none() | names.map(Path), domains=st.lists(names).map(tuple), hidden=st.integers(),
))  # fmt: skip
def test_options_come_back_from_json_as_they_were(options):
    assert from_json(FitOptions, json.loads(json.dumps(as_json(options))), "run.json") == options


def test_fields_that_json_lacks_keep_their_default():
    assert from_json(FitOptions, {"size": 64}, "run.json") == FitOptions(size=64)


def test_a_whole_number_does_for_a_float():
    assert isinstance(from_json(FitOptions, {"weight": 2}, "run.json").weight, float)


@pytest.mark.parametrize(("values", "words"), [
    ({"depth": 3}, "run.json has the option depth, which this version does not know: update starcast"),
    ({"size": "64"}, "run.json has the option size = '64', which is not a whole number"),
    ({"size": True}, "which is not a whole number"),
    ({"size": None}, "which may not be empty"),
    ({"seed": 1.5}, "which is not a whole number"),
    ({"weight": "2"}, "which is not a number"),
    ({"weight": False}, "which is not a number"),
    ({"method": 3}, "which is not text"),
    ({"fast": 1}, "which is not true or false"),
    ({"output": 3}, "which is not a path"),
    ({"domains": "ab"}, "which is not a list"),
    ({"domains": [1]}, "which is not text"),
    ({"size": 3}, "--size is 3: give at least 32"),
])  # fmt: skip
def test_json_of_another_shape_is_named_with_its_origin(values, words):
    with pytest.raises(OptionError, match=words):
        from_json(FitOptions, values, "run.json")


def test_a_recipe_is_given_by_name_and_an_unknown_one_names_those_there_are(tmp_path):
    (tmp_path / "tiny.toml").write_text("size = 33")

    @click.command("fit")
    @config_option(tmp_path)
    @options_from(FitOptions)
    def command(**values: object) -> FitOptions:
        return FitOptions(**values)

    assert command.main(["--config", "tiny"], standalone_mode=False) == FitOptions(size=33)
    assert "Built-in, by name: tiny." in " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    with pytest.raises(click.BadParameter, match="huge is no file: give a TOML or JSON file, or one of tiny"):
        command.main(["--config", "huge"], standalone_mode=False)


@dataclass(frozen=True, kw_only=True)
class RenamedOptions(CheckedOptions):
    """A field whose flag has another name, and an older one."""

    batch_size: int = option(8, "Images per batch.", minimum=1, flags=("--batch",), aliases=("--batch-size",))


@click.command("fit")
@config_option()
@options_from(RenamedOptions)
def renamed(**values: object) -> RenamedOptions:
    return RenamedOptions(**values)


@pytest.mark.parametrize("flag", ["--batch", "--batch-size"])
def test_a_former_spelling_of_a_flag_still_works_and_is_not_shown(flag):
    assert renamed.main([flag, "3"], standalone_mode=False) == RenamedOptions(batch_size=3)
    assert "--batch-size" not in CliRunner().invoke(renamed, ["--help"]).output


@pytest.mark.parametrize("key", ["batch", "batch-size", "batch_size"])
def test_a_config_file_names_an_option_by_its_flag_its_field_or_a_former_spelling(config, key):
    arguments = ["--config", str(config(f"{key} = 3"))]
    assert renamed.main(arguments, standalone_mode=False) == RenamedOptions(batch_size=3)


def test_a_config_file_that_names_an_option_twice_is_refused(config):
    file = config("batch = 3\nbatch-size = 4")
    with pytest.raises(OptionError, match="gives batch twice, once as batch-size: leave one of them out"):
        renamed.main(["--config", str(file)], standalone_mode=False)


def test_an_error_names_the_flag_and_not_the_field():
    with pytest.raises(OptionError, match="--batch is 0: give at least 1"):
        RenamedOptions(batch_size=0)


@dataclass(frozen=True, kw_only=True)
class LossOptions(CheckedOptions):
    decay: float = option(0.5, "Decay.", minimum=0.0)


@dataclass(frozen=True, kw_only=True)
class NestedOptions(CheckedOptions):
    """Two groups, and a value beside them."""

    fit: FitOptions = group(FitOptions)
    loss: LossOptions = group(LossOptions)
    steps: int = option(3, "Steps.", minimum=1)


@click.command("fit")
@config_option()
@options_from(NestedOptions)
def nested(**values: object) -> NestedOptions:
    return from_flat(NestedOptions, values)


def test_groups_are_flat_on_the_command_line_and_in_a_config_file(config):
    expected = NestedOptions(fit=FitOptions(size=64), loss=LossOptions(decay=0.1), steps=5)
    assert nested.main(["--size", "64", "--decay", "0.1", "--steps", "5"], standalone_mode=False) == expected
    file = config("size = 64\ndecay = 0.1\nsteps = 5")
    assert nested.main(["--config", str(file)], standalone_mode=False) == expected


def test_the_help_lists_groups_in_the_order_of_their_fields():
    text = CliRunner().invoke(nested, ["--help"]).output
    assert text.index("--size") < text.index("--domains") < text.index("--decay") < text.index("--steps")


def test_groups_are_flat_in_json_and_come_back_nested():
    options = NestedOptions(fit=FitOptions(output=Path("x"), hidden=2), loss=LossOptions(decay=0.25))
    stored = json.loads(json.dumps(as_json(options)))
    assert (stored["output"], stored["hidden"], stored["decay"], stored["steps"]) == ("x", 2, 0.25, 3)
    assert from_json(NestedOptions, stored, "run.json") == options
    assert from_flat(NestedOptions, to_flat(options)) == options


def test_a_value_of_a_group_is_replaced_by_its_name_and_checked():
    options = replace_options(NestedOptions(steps=4), decay=2.0, size=128)
    assert options == NestedOptions(fit=FitOptions(size=128), loss=LossOptions(decay=2.0), steps=4)
    with pytest.raises(OptionError, match="--decay is -1: give at least 0"):
        replace_options(options, decay=-1)
    with pytest.raises(TypeError, match="NestedOptions has no option sise"):
        replace_options(options, sise=1)


@dataclass(frozen=True, kw_only=True)
class WiderLoss(LossOptions):
    scale: float = option(1.0, "Scale.")


@dataclass(frozen=True, kw_only=True)
class WiderOptions(NestedOptions):
    loss: WiderLoss = group(WiderLoss)


def test_a_subclass_widens_a_group_in_its_place():
    assert [field.name for field, _ in flat_fields(WiderOptions)][-3:] == ["decay", "scale", "steps"]
    assert from_flat(WiderOptions, {"scale": 2.0}).loss == WiderLoss(scale=2.0)
