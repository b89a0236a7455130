"""A command line that cannot be read: a code, one sentence that names the word, and a useful hint."""

import shlex

import pytest
from errors import raises
from in_process import invoke

from circuit.cli import app
from circuit.errors import CircuitError, UsageError


def refused(line: str) -> CircuitError:
    """Return the error of a command line, which must be one of usage."""
    with pytest.raises(UsageError) as caught:
        app.run(shlex.split(line))
    assert caught.value.hint
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize(
    ("line", "code", "named", "hinted"),
    [
        ("colect -m tiny", "unknown-command", "`colect`", "did you mean `collect`?"),
        ("probes rn", "unknown-command", "`rn`", "did you mean `run`?"),
        ("introspect lay", "unknown-command", "`lay`", "`layer`"),
        ("zzz", "unknown-command", "`zzz`", "it has dataset, collect, analyze"),
        ("probes zzz", "unknown-command", "`zzz`", "it has init, list, run, apply"),
        ("analyze -a x --foldz 3", "unknown-option", "`--foldz`", "`--folds`"),
        ("--foo", "unknown-option", "`--foo`", "`circuit --help`"),
        ("analyze", "missing-option", "`--activations`", "Archive of activations"),
        ("report -o x.html", "missing-argument", "PATHS", "Artifacts of probes run"),
        ("collect -m tiny -d", "value-missing", "`-d`", "`--dataset`, `-d`: Prompt set"),
        ("probes run -m tiny --force=1", "value-given", "`--force`", "write `--force` alone"),
        ("probes run -m tiny --threshold x", "bad-value", "a number, got `x`", "AUROC whose"),
        (
            "collect -m tiny -d a -o b --max-length 0",
            "bad-value",
            "`--max-length` takes an integer of at least 1, got `0`",
            "Shorten prompts",
        ),
        (
            "dataset create -o p --seed -1",
            "bad-value",
            "an integer from 0 to 4294967295, got `-1`",
            "Seed of",
        ),
        ("collect -m a -m b -d c -o d", "option-given-twice", "`--model`", "Hub id"),
        ("directions -a x -a y -o z", "option-given-twice", "`--activations`", "Archive"),
        (
            "probes run -m tiny decision",
            "unexpected-argument",
            "`decision`",
            "write `--category decision`",
        ),
        (
            "dataset create -o p.json my set",
            "unexpected-argument",
            "`my set`",
            'write `--set "my set"`',
        ),
        ("verify a b --jsn", "unknown-option", "`--jsn`", "`--json`"),
    ],
)
def test_a_word_that_cannot_be_read_is_named_and_the_hint_says_what_to_write(
    line, code, named, hinted
):
    found = refused(line)
    assert found.code == code, found.message
    assert named in found.message
    assert hinted in found.hint


def test_the_fields_of_an_error_are_the_words():
    found = refused("collect -m tiny -d a -o b --max-length 0")
    assert found.fields == {"option": "--max-length", "value": "0"}
    with raises(UsageError, "unknown-option", command="circuit analyze", option="--x"):
        app.run(["analyze", "--x"])


@pytest.mark.parametrize("line", ["", "probes", "introspect"])
def test_without_a_command_the_help_is_shown(line):
    done = invoke(line.split())
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.lower().startswith("usage: circuit")
    assert "error:" not in done.stderr


def test_an_error_is_printed_as_a_sentence_and_a_hint():
    done = invoke(["colect"])
    assert (
        done.stderr == "error: `circuit` has no command `colect`\nhint: did you mean `collect`?\n"
    )


def test_an_option_that_takes_several_values_may_be_given_again():
    done = invoke(["probes", "list", "--category", "decision", "--category", "semantic"])
    assert done.exit_code == 0
    assert "decision" in done.stdout
    assert "semantic" in done.stdout


def test_a_concept_without_its_option_is_told_how_to_be_named():
    found = refused("concepts build -m tiny happy")
    assert found.code == "unexpected-argument"
    assert "`happy`" in found.message
    assert "`--concepts happy`" in found.hint
