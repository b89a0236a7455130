"""The command line does what it did before the rebuild: exit codes, JSON, files and numbers.

``tests/recorded`` holds the command lines and their outcomes of then. What was meant to change is in
the tables below, and in CHANGELOG.
"""

import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from processes import start_circuit, start_server
from recorded.record import machine
from recorded.sessions import COMMANDS, RECORD, Recorder, environment, lines, unpacked
from recorded.surface import options

CHECKOUT = Path(__file__).parents[2]
RELATIVE, ABSOLUTE = 1e-4, 1e-6
SHOWN = 12

# What was meant to change: a pattern of the place at which documents differ, and why they do.
MEANT = {
    r"parameters\.tokenizer_sha256": "the reuse key has the tokenizer once, beside the model",
    r"parameters\.(keys|checkpoints|battery_sha256)": "the reuse key has all that results depend on",
    r"self_test\.cores_used": "doctor says how many cores a forward pass keeps busy",
    r"parameters\.(raw|chat)": "one flag with two names is one parameter",
    r"(plots|figures)\.json\.tokenizer": "a manifest passes the tokenizer of its input on",
    r"(report|probes)\.json\.(inputs|outputs)": "archives that a battery writes are its outputs",
    r"\.json\.inputs": "a file of prompts is an input",
    r"layers(\[\d+\]|\.)\.umap=?": "a value that was not asked for is null",
    r"^json\.tokens$": "a value that was not asked for is null",
    r"(distinct_?[12]|repeated_4|rep4)": "distinct_1, distinct_2 and repeated_4 are the names everywhere",
    r"nll_delta": "NLL of several texts has one definition: the mean over the texts",
    r"\.p=?(\[\d*\])*$": "p values against controls are two-sided everywhere",
    r"\.schema$": "circuit.generation/1, circuit.sweep/2",
    r"findings": "the report has the numbers behind each sentence",
    r"results\.(model|format)": "results of introspect name the model and the format",
    r"\.(caption|detail|text|how|notes?|warnings|choices|how_chosen)=?(\[\d*\])*$": "wording",
    r"written\.\S+": "a command that finds its results does not write them again",
}
# Command lines whose exit code is another one on purpose: {"session: line": code}.
CODES: dict[str, int] = {}
# Defaults of options that are other ones on purpose: {("command", "--option"): default}.
DEFAULTS: dict[tuple[str, str], Any] = {
    ("introspect probe", name): "all" for name in ("--layers", "--layer", "-l")
}


@cache
def before() -> dict[str, Any]:
    """Return the record."""
    return json.loads(RECORD.read_text())


@cache
def is_same_machine() -> bool:
    """Say whether every bit must be as it was."""
    return before()["machine"] == machine()


@pytest.fixture(scope="module")
def recorder(tmp_path_factory) -> Iterator[Recorder]:
    """Run sessions in forks of one process, which made its imports under the record's variables."""
    root, env = tmp_path_factory.mktemp("recorded"), environment(CHECKOUT)
    if sys.platform != "linux":
        yield Recorder(
            root, CHECKOUT, lambda words, cwd, env: start_circuit(*words, cwd=cwd, env=env)
        )
        return
    server = start_server(env)
    yield Recorder(root, CHECKOUT, server.run)
    server.stop()


def differences(expected: Any, found: Any, place: str = "") -> Iterator[str]:
    """Yield each place at which two digests differ, with both values."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected.keys() | found.keys():
            inner = f"{place}.{key}".lstrip(".")
            if key not in found:
                yield f"{inner}: was {shown(expected[key])}, is not there any more"
            elif key not in expected:
                yield f"{inner}: was not there, is {shown(found[key])}"
            elif key == "sha256" and "tensors" in expected:
                if is_same_machine() and expected[key] != found[key]:
                    yield f"{place}: the bytes of the archive differ"
            else:
                yield from differences(expected[key], found[key], inner)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for at, pair in enumerate(zip(expected, found, strict=True)):
            yield from differences(*pair, f"{place}[{at}]")
    elif not alike(expected, found):
        yield f"{place}: was {shown(expected)}, is {shown(found)}"


def is_meant(difference: str) -> bool:
    """Say whether a difference is in the table."""
    place = difference.split(": ", 1)[0]
    return any(re.search(pattern, place) for pattern in MEANT)


def alike(expected: Any, found: Any) -> bool:
    """Say whether two values are the same, numbers within the tolerance."""
    numbers = (int, float)
    if type(expected) in numbers and type(found) in numbers:
        return abs(expected - found) <= ABSOLUTE + RELATIVE * abs(expected)
    return bool(expected == found) and isinstance(expected, bool) is isinstance(found, bool)


def shown(value: Any) -> str:
    """Return a value as JSON, cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:97] + "..."


def ids() -> list[Any]:
    """Return one test for each command line."""
    return [pytest.param(s, i, line, id=f"{s}: {line}") for s, i, line in lines()]


@pytest.mark.slow
@pytest.mark.parametrize(("session", "index", "line"), ids())
def test_a_command_does_what_it_did(session, index, line, recorder):
    expected = unpacked(before()[session][line])
    expected["code"] = CODES.get(f"{session}: {line}", expected["code"])
    found = sorted(differences(expected, recorder.outcome(session, index)))
    found = [difference for difference in found if not is_meant(difference)]
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    assert not found, "\n".join([f"circuit {line}", *found[:SHOWN], *more])


def test_every_command_line_is_recorded_once():
    for session, entry in COMMANDS.items():
        assert len(set(entry["lines"])) == len(entry["lines"])
        assert list(before()[session]) == entry["lines"]


def test_options_and_their_defaults_are_there():
    now = options()
    lost = []
    for command, entries in json.loads((RECORD.parent / "options.json").read_text()).items():
        for name, entry in entries.items():
            found = now.get(command, {}).get(name)
            default = DEFAULTS.get((command, name), entry.get("default"))
            expected = entry if default is None else entry | {"default": default}
            if found is None or not covers(found, expected):
                lost.append(f"circuit {command} {name}: was {expected}, is {found}")
    assert not lost, "\n".join(lost)


def covers(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Say whether an option takes at least what it took.

    A list of choices may have grown, an option may be given several times now, and of the two flags --raw and --chat
    either may be the one that turns the other off.
    """
    choices = set(found.get("choices", ())) >= set(expected.get("choices", ()))
    free = {"choices", "turns"}
    if found.get("multiple"):
        free |= {"multiple", "default"}
    without = [{k: v for k, v in entry.items() if k not in free} for entry in (found, expected)]
    return choices and without[0] == without[1]


@pytest.mark.parametrize(
    ("expected", "found", "n"),
    [
        ({"a": 1.0}, {"a": 1.00005}, 0),
        ({"a": 1.0}, {"a": 1.001}, 1),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, 1),
        ({"a": True}, {"a": 1.1}, 1),
        ({"a": 1}, {}, 1),
        ({}, {"a": 1}, 1),
        ({"a": "x"}, {"a": "y"}, 1),
        ({"a": None}, {"a": 0}, 1),
    ],
)
def test_differences_are_seen(expected, found, n):
    assert len(list(differences(expected, found))) == n
