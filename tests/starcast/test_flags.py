"""A flag has one spelling, one type and one meaning, in every command; its former spellings still work."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from starcast.cli import root

# command and flag -> its former spellings: accepted, not shown
# or the official program's: so that its commands work
FORMER = {
    ("train", "--high-pass"): ["--w_hpf", "--w-hpf"],
    ("train", "--batch"): ["--batch-size"],
    ("export", "--data-name"): ["--data"],
    ("export", "--forms"): ["--form"],
    ("export", "--precisions"): ["--precision"],
    ("export", "--adain-forms"): ["--adain"],
    ("build", "--backend"): ["--engine"],
    ("build", "--batch-range"): ["--batch"],
    ("build", "--size-range"): ["--size"],
    ("bench", "--random-weights"): ["--config"],
    ("bench", "--out"): ["--output", "--json"],
}


def _commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for verb in group.list_commands(context):
        command = group.get_command(context, verb)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path}{verb} ")
        else:
            yield f"{path}{verb}", command


# the same word with another kind of value
OTHER_VALUES = {
    ("align", "--size"),  # here the side of a square, and elsewhere WIDTHxHEIGHT or one number
    ("dataset attributes", "--domain"),  # here a domain is made, and elsewhere chosen
    ("average", "--weights"),  # here shares of checkpoints, and in evaluate a folder of networks' weights
}

COMMANDS = dict(_commands(root))
USES: dict[str, dict[str, click.Option]] = defaultdict(dict)  # flag -> command -> its option
for name, command in COMMANDS.items():
    for parameter in command.params:
        if isinstance(parameter, click.Option) and (name, parameter.opts[0]) not in OTHER_VALUES:
            for spelling in (*parameter.opts, *parameter.secondary_opts):
                USES[spelling][name] = parameter


def _kind(option: click.Option) -> str:
    """Its type without its bounds or choices: a command may take fewer values than another, but no other sort."""
    return click.Path.__name__ if isinstance(option.type, click.Path) else type(option.type).__name__


def _metavar(option: click.Option) -> str:
    return "" if isinstance(option.type, click.Choice) else option.make_metavar(click.Context(click.Command("any")))


def _meaning(option: click.Option) -> str:
    """The help text up to its first stop: what follows is a command's own."""
    return re.split(r"[.:;]", option.help or "")[0]


def _flags_in_help(name: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z0-9-]+", CliRunner().invoke(root, [*name.split(), "--help"]).output))


@pytest.mark.parametrize("fact", [_kind, _metavar, _meaning])
@pytest.mark.parametrize("flag", sorted(flag for flag, uses in USES.items() if len(uses) > 1))
def test_a_flag_is_the_same_in_every_command(flag, fact):
    facts = {name: fact(option) for name, option in USES[flag].items()}
    assert len(set(facts.values())) == 1, facts


@pytest.mark.parametrize(("name", "option"), [
    (name, option) for flag in ("-o", "--out") for name, option in USES[flag].items()
])  # fmt: skip
def test_the_output_is_o_or_out_and_still_output(name, option):
    assert option.opts == ["-o", "--out"]
    assert "--output" in option.aliases
    assert option.metavar == "OUT"


def test_every_command_that_writes_to_a_place_of_ones_choice_has_o():
    assert set(USES["-o"]) == {
        "demo",
        "dataset make",
        "dataset attributes",
        "train",
        "plot",
        "export",
        "align",
        "translate",
        "generate",
        "video",
        "morph",
        "live",
        "bench",
        "evaluate",
        "average",
    }


def test_sizes_are_width_by_height():
    assert USES["--size"]["bench"].metavar == "WIDTHxHEIGHT"
    assert "WIDTHxHEIGHT" in USES["--size-range"]["build"].help
    shown = " ".join(CliRunner().invoke(root, [*name.split(), "--help"]).output for name in COMMANDS)
    assert "HEIGHTx" not in shown


def test_former_spellings_are_these_and_hidden():
    aliases = {
        (name, flag): list(option.aliases)
        for flag, uses in USES.items() if flag.startswith("--")
        for name, option in uses.items() if getattr(option, "aliases", ()) not in ((), ("--output",))
    }  # fmt: skip
    assert aliases == FORMER
    for (name, flag), former in FORMER.items():
        shown = _flags_in_help(name)
        assert flag in shown
        assert not shown & set(former)
    assert not any("--output" in _flags_in_help(name) for name in COMMANDS)


@pytest.mark.parametrize("key", FORMER, ids=" ".join)
def test_a_former_spelling_does_what_the_flag_does(key):
    name, flag = key
    command = COMMANDS[name]
    option = USES[flag][name]
    value = {"--random-weights": "afhq", "--batch": "7", "--high-pass": "1"}.get(flag, "2:3:5")
    parsed = []
    for spelling in (flag, *FORMER[key]):
        context = click.Context(command, resilient_parsing=True)
        command.parse_args(context, [spelling, value])
        parsed.append(context.params[option.name])
    assert parsed == [parsed[0]] * len(parsed)
    assert parsed[0] != option.default
