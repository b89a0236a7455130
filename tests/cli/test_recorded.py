"""The command line does what it did before the rebuild: exit codes, JSON, files and numbers.

``tests/recorded`` holds the command lines and their outcomes of then. What was meant to change is in
the tables below, and in CHANGELOG.
"""

import json
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

# Keys of JSON documents that have another name now, anywhere: {"before": "now"}.
RENAMED: dict[str, str] = {}
# Keys that documents of before lacked, anywhere.
ADDED: set[str] = set()
# Keys whose text may be worded differently: sentences for people, schema numbers.
REWORDED: set[str] = set()
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


def renamed(value: Any) -> Any:
    """Return an expected value with the names that its keys have now."""
    if isinstance(value, dict):
        return {new_name(key): renamed(inner) for key, inner in value.items()}
    return [renamed(inner) for inner in value] if isinstance(value, list) else value


def new_name(key: str) -> str:
    """Return the name that a key has now; columns have paths such as ``.score[].auroc=``."""
    for old, new in RENAMED.items():
        if key == old:
            return new
        parts = key.split(".")
        key = ".".join(
            new + part.removeprefix(old) if part.rstrip("[]=") == old else part for part in parts
        )
    return key


def differences(expected: Any, found: Any, place: str = "") -> Iterator[str]:
    """Yield each place at which two digests differ, with both values."""
    last = place.rsplit(".", 1)[-1].rstrip("[]=0123456789")
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected.keys() | found.keys():
            inner = f"{place}.{key}".lstrip(".")
            if key not in found:
                yield f"{inner}: was {shown(expected[key])}, is not there any more"
            elif key not in expected:
                if key.rsplit(".", 1)[-1].rstrip("[]=") not in ADDED:
                    yield f"{inner}: was not there, is {shown(found[key])}"
            elif key == "sha256" and "tensors" in expected:
                if is_same_machine() and expected[key] != found[key]:
                    yield f"{place}: the bytes of the archive differ"
            else:
                yield from differences(expected[key], found[key], inner)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for at, pair in enumerate(zip(expected, found, strict=True)):
            yield from differences(*pair, f"{place}[{at}]")
    elif not alike(expected, found) and last not in REWORDED:
        yield f"{place}: was {shown(expected)}, is {shown(found)}"


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
    expected = renamed(unpacked(before()[session][line]))
    expected["code"] = CODES.get(f"{session}: {line}", expected["code"])
    found = sorted(differences(expected, recorder.outcome(session, index)))
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
