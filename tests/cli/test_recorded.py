"""The command line does what it did before the rebuild: exit codes, JSON, files and numbers.

``tests/recorded`` holds the command lines and their outcomes of then. What was meant to change is
in the tables below, and in CHANGELOG.
"""

import json
import re
import sys
from collections import ChainMap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from processes import start_circuit, start_server
from recorded.record import machine
from recorded.sessions import COMMANDS, RECORD, Recorder, environment, lines, unpacked
from recorded.surface import options

CHECKOUT = Path(__file__).parents[2]
RELATIVE, ABSOLUTE = 1e-4, 1e-6
SHOWN = 12
INDEX = r"\[\d*\]|="

# Keys of documents that have another name now, by the start of the command line; values must agree.
RENAMED: dict[str, dict[str, str]] = {
    "steer ": {"distinct1": "distinct_1", "distinct2": "distinct_2", "rep4": "repeated_4"},
    "report ": {"word": "verdict", "text": "sentence"},
}


class Change(NamedTuple):
    """Differences that are meant: of which kind, under which keys, of which command lines, and why.

    Keys are the end of a path or a part of it, without indices: ``verdict.text``.
    """

    kind: str
    keys: tuple[str, ...]
    why: str
    lines: str = ""


REUSE = "the reuse key has all that results depend on, and the tokenizer once, beside the model"
FLAG = "one flag with two names is one parameter"
UNASKED = "a value that was not asked for is null"
NAMED = "results of introspect name the model and the format"
ARCHIVES = "archives that a battery writes are its outputs"
TWO_SIDED = "p values against controls are two-sided everywhere"
MEANT = (
    Change("lost", ("parameters.tokenizer_sha256",), REUSE),
    Change("new", ("parameters.checkpoints",), REUSE, "introspect weight-diff"),
    Change("new", ("parameters.keys",), REUSE, "introspect activation-diff"),
    Change("new", ("parameters.battery_sha256",), REUSE, "probes run"),
    Change("changed", ("plots.json.tokenizer",), "a manifest passes the tokenizer of its input on"),
    Change("lost", ("parameters.raw",), FLAG, "introspect generate"),
    Change("new", ("parameters.chat",), FLAG, "introspect generate"),
    Change("changed", ("inputs", "outputs"), ARCHIVES, "probes run"),
    Change("new", ("layers.umap",), UNASKED, "analyze"),
    Change("new", ("json.tokens",), UNASKED, "directions show"),
    Change("new", ("results.format", "results.model"), NAMED, "introspect tune-lens"),
    Change("changed", ("answers.json.schema",), "circuit.generation/1", "introspect generate"),
    Change("changed", ("rates.p",), TWO_SIDED, "steer "),
    Change("changed", ("points.p",), TWO_SIDED, "concepts scan"),
    Change("changed", ("nll_delta",), "the NLL of several texts is the mean over texts", "steer "),
    Change("changed", ("caption", "figures.caption", "checklist.detail"), "wording"),
    Change("changed", ("verdict.text", "warnings"), "wording", "steer "),
    Change("changed", ("provenance.choices",), "wording", "directions show"),
    Change("changed", ("how",), "wording", "introspect neurons"),
    Change("changed", ("how_chosen",), "wording", "introspect probe"),
    Change("changed", ("notes",), "wording", "probes apply"),
)
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


def renamed(value: Any, names: dict[str, str]) -> Any:
    """Return an expected value with the names that its keys have now."""
    if isinstance(value, dict):
        return {new_name(key, names): renamed(inner, names) for key, inner in value.items()}
    return [renamed(inner, names) for inner in value] if isinstance(value, list) else value


def new_name(key: str, names: dict[str, str]) -> str:
    """Return the name that a key has now; columns have paths such as ``.score[].auroc=``."""
    parts = key.split(".") if key.startswith(".") else [key]
    bare = [part.rstrip("[]=") for part in parts]
    return ".".join(
        names.get(name, name) + part[len(name) :] for name, part in zip(bare, parts, strict=True)
    )


class Difference(NamedTuple):
    """What differs at one place of two digests."""

    place: str
    kind: str
    was: Any
    now: Any

    def __str__(self) -> str:
        if self.kind == "new":
            return f"{self.place}: was not there, is {shown(self.now)}"
        now = "is not there any more" if self.kind == "lost" else f"is {shown(self.now)}"
        return f"{self.place}: was {shown(self.was)}, {now}"

    def is_meant(self, line: str) -> bool:
        """Say whether the table has it for this command line."""
        place = re.sub(r"[.]+", ".", f".{re.sub(INDEX, '', self.place)}.")
        return any(
            self.kind == change.kind
            and line.startswith(change.lines)
            and any(f".{key}." in place for key in change.keys)
            for change in MEANT
        )


def differences(expected: Any, found: Any, place: str = "") -> Iterator[Difference]:
    """Yield each place at which two digests differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected.keys() | found.keys():
            inner = f"{place}.{key}".lstrip(".")
            if key not in found:
                yield Difference(inner, "lost", expected[key], None)
            elif key not in expected:
                yield Difference(inner, "new", None, found[key])
            elif key != "sha256" or "tensors" not in expected or is_same_machine():
                yield from differences(expected[key], found[key], inner)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for at, pair in enumerate(zip(expected, found, strict=True)):
            yield from differences(*pair, f"{place}[{at}]")
    elif not alike(expected, found):
        yield Difference(place, "changed", expected, found)


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
    names = [new for start, new in RENAMED.items() if line.startswith(start)]
    expected = renamed(unpacked(before()[session][line]), dict(ChainMap(*names)))
    expected["code"] = CODES.get(f"{session}: {line}", expected["code"])
    found = differences(expected, recorder.outcome(session, index))
    texts = sorted(str(each) for each in found if not each.is_meant(line))
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    assert not texts, "\n".join([f"circuit {line}", *texts[:SHOWN], *more])


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
