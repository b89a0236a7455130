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
FEW_GROUPS = 2e-3
SHOWN = 12
INDEX = r"\[\d*\]|="

# Keys of documents that have another name now, by the start of the command line; values must agree.
COHERENCE = {"distinct1": "distinct_1", "distinct2": "distinct_2", "rep4": "repeated_4"}
RENAMED: dict[str, dict[str, str]] = {
    "steer sweep ": COHERENCE,
    "steer table ": COHERENCE,
    "report ": {"word": "verdict", "text": "sentence"},
}


class Change(NamedTuple):
    """Differences that are meant: of which kind, at which keys, why, and of which command lines.

    A key is the end of a path without indices, ``verdict.text``; one that ends in a dot means all
    below it. ``now``: the digests that may be found there, if it is known which.
    """

    kind: str
    keys: tuple[str, ...]
    why: str
    lines: tuple[str, ...]
    now: tuple[Any, ...] = ()

    def covers(self, difference: "Difference", line: str) -> bool:
        """Say whether this difference of this command line is meant."""
        bare = re.sub(INDEX, "", difference.place)
        place = "." + re.sub(r"[./]+", ".", bare).strip(".")
        return (
            self.kind == difference.kind
            and line.startswith(self.lines)
            and any(
                f".{key}" in f"{place}." if key[-1] == "." else place.endswith(f".{key}")
                for key in self.keys
            )
            and (not self.now or difference.now in self.now)
        )


REUSE = "the reuse key has all that results depend on, and the tokenizer once, beside the model"
FLAG = "one flag with two names is one parameter"
UNASKED = "a value that was not asked for is null"
NAMED = "results of introspect name the model and the format"
ARCHIVES = "archives that a battery writes are its outputs"
SOURCE = "a manifest passes the tokenizer of its input on"
TWO_SIDED = "p against controls has one two-sided definition"
MEAN_NLL = "the NLL of several texts is the mean over the texts, no longer over all tokens"
NUMBERS = "a finding has the numbers behind its sentence"
COUNTED = "a finding of steering names its coefficient"
NOT_TWICE = "a battery that is found is reused before its archives are opened"
WORDING = "wording"
BUILT = "an identity says how the network differs from the checkpoint's configuration"
DATED = "an identity says which date a chat template was told"
EXAMINED = "doctor says how a model differs from its files, and how many cores it uses"
TOGETHER = "use is claimed by the p of all that was tested together, and by two intervals"
POWER = "a verdict says which effect the design would have found"
DRAWN = "visualize --report trial.json "
STEERED = ("steer -m tiny -d ", "steer --model tiny --direction ")
SWEEPS = ("steer sweep ", "steer table ")
MEANT = (
    Change(
        "lost",
        ("json.parameters.tokenizer_sha256",),
        REUSE,
        (
            "collect ",
            "concepts build ",
            "evaluate ",
            "probes run ",
            "steer sweep ",
            "steer select ",
            *STEERED,
        ),
    ),
    Change("new", ("weights.json.parameters.checkpoints",), REUSE, ("introspect weight-diff ",)),
    Change("new", ("moved.json.parameters.keys",), REUSE, ("introspect activation-diff ",)),
    Change(
        "new",
        ("report.json.parameters.battery_sha256", "probes.json.parameters.battery_sha256"),
        REUSE,
        ("probes run ",),
    ),
    Change(
        "changed", ("report.json.inputs", "probes.json.inputs"), ARCHIVES, ("probes run ",), ([],)
    ),
    Change("changed", ("report.json.outputs", "probes.json.outputs"), ARCHIVES, ("probes run ",)),
    Change("changed", ("plots.json.tokenizer",), SOURCE, ("visualize ", "steer sweep ")),
    Change("lost", ("answers.json.parameters.raw",), FLAG, ("introspect generate ",)),
    Change("new", ("answers.json.parameters.chat",), FLAG, ("introspect generate ",), (False,)),
    Change("new", ("layers.umap",), UNASKED, ("analyze ",), (None, [6, None])),
    Change("new", ("json.tokens",), UNASKED, ("directions show ",), (None,)),
    Change("new", ("tuned.json.results.format",), NAMED, ("introspect tune-lens ",), ("chat",)),
    Change("new", ("tuned.json.results.model",), NAMED, ("introspect tune-lens ",), ("tiny",)),
    Change(
        "changed",
        ("answers.json.schema",),
        "answers of introspect have a schema of their own",
        ("introspect generate ",),
        ("circuit.generation/1",),
    ),
    Change(
        "changed",
        ("sweep.json.schema", "files.tool_sweep.json.schema"),
        "keys of its coherence have other names",
        ("steer sweep ",),
        ("circuit.sweep/2",),
    ),
    Change(
        "changed",
        ("trial.rates.p",),
        TWO_SIDED,
        ("steer -m tiny -d directions.safetensors -p @test.json ",),
    ),
    Change("changed", ("points.p",), TWO_SIDED, ("concepts scan ",)),
    Change("changed", ("nll_delta",), MEAN_NLL, SWEEPS),
    Change(
        "new",
        (
            *(
                f"findings.{key}"
                for key in ("chance", "layer", "measure", "n", "n_groups", "score")
            ),
            "findings.source",
            "findings.baselines.",
        ),
        NUMBERS,
        ("report ",),
    ),
    Change("changed", ("findings.sentence",), NUMBERS, ("report ",)),
    Change("changed", ("findings.subject",), COUNTED, ("report . ",)),
    Change("changed", ("caption",), WORDING, ("visualize ", *SWEEPS)),
    Change("changed", ("verdict.text", "warnings"), WORDING, SWEEPS),
    Change("changed", ("checklist.detail",), WORDING, ("probes run ",)),
    Change("changed", ("provenance.choices",), WORDING, ("directions show ",)),
    Change("changed", ("json.how", "results.how"), WORDING, ("introspect neurons ",)),
    Change("changed", ("json.how_chosen", "results.how_chosen"), WORDING, ("introspect probe ",)),
    Change("changed", ("json.note",), WORDING, ("concepts try ",)),
    Change("changed", ("json.notes",), WORDING, ("probes apply ",)),
    Change("lost", ("written.report.raw.json",), NOT_TWICE, ("probes run ",)),
    Change("new", ("model.differences", "identity.differences"), BUILT, ("",), (None,)),
    Change("new", ("tokenizer.chat_date",), DATED, ("",), (None,)),
    Change("changed", ("gguf.sha256", "tool.safetensors.sha256"), BUILT, ("export ",)),
    Change(
        "new",
        tuple(
            f"self_test.{key}"
            for key in (
                "model.differences",
                "differences",
                "left_out",
                "unread_settings",
                "cores_used",
                "gguf",
                "folder",
            )
        ),
        EXAMINED,
        ("doctor ",),
    ),
    Change("new", ("rates.change", "rates.excess", "rates.p_any"), TOGETHER, (*STEERED, DRAWN)),
    Change("lost", ("rates.p_holm",), TOGETHER, (DRAWN,)),
    Change("new", ("random.p_all", "shuffled.p_all"), TOGETHER, (*SWEEPS, "visualize ")),
    Change("new", ("points.p_any",), TOGETHER, ("concepts scan ",)),
    Change("new", ("positive.excess", "positive.p_any"), TOGETHER, ("evaluate ",), (None,)),
    Change("new", ("curves.power",), POWER, ("analyze ",)),
    Change(
        "new", ("imperative.power", "question.power", "verb_type.power"), POWER, ("probes run ",)
    ),
    Change("new", ("json.power", "results.power"), POWER, ("introspect probe ",)),
    Change("new", ("json.parameters.name",), REUSE, ("introspect probe ",)),
)
# Command lines whose exit code is another one on purpose: {"session: line": code}.
CODES: dict[str, int] = {}
# Defaults of options that are other ones on purpose: {("command", "--option"): default}. Without
# `--layers`, `introspect probe` reads all layers, as before; the default now says so.
DEFAULTS: dict[tuple[str, str], Any] = {
    ("introspect probe", name): "all" for name in ("--layers", "--layer", "-l")
} | {
    # With fewer controls no p is at most 0.05.
    **{
        (sweep, kind): 19
        for sweep in ("steer sweep", "introspect steer sweep")
        for kind in ("--random", "--shuffled")
    },
    ("concepts scan", "--controls"): 19,
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


def unexplained(session: str, line: str, found: Any) -> Iterator[Difference]:
    """Yield what differs from the record of a command line and is not in the table."""
    names = [new for start, new in RENAMED.items() if line.startswith(start)]
    expected = renamed(unpacked(before()[session][line]), dict(ChainMap(*names)))
    expected["code"] = CODES.get(f"{session}: {line}", expected["code"])
    for difference in differences(expected, found):
        if not is_end(difference) and not any(change.covers(difference, line) for change in MEANT):
            yield difference


def is_end(difference: Difference) -> bool:
    """Say whether this is the end of an interval that moved by what few groups cost now.

    Values stand before their ends, so at 0; a column is digested as count, sum, and two more.
    """
    place, kind, was, now = difference
    end = place.endswith(("[1]", "[2]", "[3]", "emergence.never"))
    numbers = type(was) is float and type(now) is float
    return end and kind == "changed" and numbers and abs(now - was) <= FEW_GROUPS


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
    texts = sorted(map(str, unexplained(session, line, recorder.outcome(session, index))))
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


@pytest.mark.parametrize(
    ("place", "was", "now", "end"),
    [
        ("layers.2.auroc[1]", 0.45464, 0.45458, True),
        ("layers.2.auroc[0]", 0.45464, 0.45458, False),
        ("layers.2.auroc[2]", 0.75, 0.76, False),
        ("layers.2.n[1]", 75, 76, False),
    ],
)
def test_only_ends_of_intervals_may_move(place, was, now, end):
    assert is_end(Difference(place, "changed", was, now)) is end


@pytest.mark.parametrize(
    ("line", "place", "kind", "now", "meant"),
    [
        ("analyze -a x", "json.layers..umap=", "new", [6, None], True),
        ("analyze -a x", "json.layers..umap=", "new", [6, "#1f"], False),
        ("analyze -a x", "json.layers..umap=", "lost", None, False),
        ("directions -a x", "json.layers..umap=", "new", [6, None], False),
        ("analyze -a x", "json.layers..umap.x", "new", None, False),
        ("report x", "json.findings..baselines.word pairs", "new", [1, 0.5, 0.5, 0.5], True),
        ("report x", "json.findings..strength", "changed", 1, False),
        ("visualize -a x", "files.p/plots.json.tokenizer", "changed", {}, True),
        ("steer -m tiny -d x", "json[0].text", "changed", "#1f", False),
        ("probes run -m tiny", "code", "changed", 0, False),
    ],
)
def test_a_change_is_meant_at_its_place_of_its_command_alone(line, place, kind, now, meant):
    difference = Difference(place, kind, None, now)
    assert any(change.covers(difference, line) for change in MEANT) is meant


def test_renamed_keys_keep_their_values():
    old = {"rep4": 0.5, "rows": {".distinct1=": [2, "a"], ".score.rep4[]": 1}, "n": [{"rep4": 1}]}
    assert renamed(old, COHERENCE) == {
        "repeated_4": 0.5,
        "rows": {".distinct_1=": [2, "a"], ".score.repeated_4[]": 1},
        "n": [{"repeated_4": 1}],
    }


def test_every_entry_of_the_tables_is_of_a_recorded_line():
    recorded = [line for _, _, line in lines()]
    starts = [start for change in MEANT for start in change.lines]
    for start in [*starts, *RENAMED]:
        assert any(line.startswith(start) for line in recorded), start
