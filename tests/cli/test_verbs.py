"""The verb table against the code it names, and the words of the help against the formats there are."""

from __future__ import annotations

import shlex
from importlib import import_module

import pytest

from acetate.cli.output import FLAT_SUFFIXES, LAYERED_SUFFIXES
from acetate.cli.parser import build_parser
from acetate.cli.verbs import LAYERED, VERBS, Verb

from .conftest import Run


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_runs_a_function_and_its_example_parses(verb: Verb) -> None:
    module, function = verb.run.split(":")
    assert callable(getattr(import_module(f"acetate.cli.{module}"), function))
    words = shlex.split(verb.example)
    assert words[:2] == ["acetate", verb.name]
    assert build_parser().parse_args(words[1:]).run == verb.run


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_usage_line_names_every_option(verb: Verb) -> None:
    for argument in verb.arguments:
        flag = argument.flags[0]
        if flag.startswith("-") and flag != "-q":
            assert flag in verb.usage


def test_the_help_names_the_formats_there_are() -> None:
    layered, flat = LAYERED.split("or flattened:")
    assert all(suffix in layered for suffix in LAYERED_SUFFIXES)
    assert all(suffix in flat for suffix in FLAT_SUFFIXES if suffix != ".tif")


def test_version_and_help(run: Run) -> None:
    assert run("--version").out == "acetate 0.1.0\n"
    outcome = run("--help")
    assert outcome.status == 0 and all(verb.name in outcome.out for verb in VERBS)
