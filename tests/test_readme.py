"""README and docs say what is so: their command lines run, and the table lists every stage."""

import re
import shlex
from pathlib import Path

import pytest
from processes import start_circuit

from circuit.cli.app import COMMANDS as PIPELINE

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("collecting", "steering", "stratigraphy")]
# The whole battery takes minutes: here a part of it stands for it.
SHORTER = {
    "circuit probes run -m tiny -o stratigraphy.json": "--category syntactic --layers 0,-1 --no-random-weights"
}


def commands() -> list[str]:
    """Return the lines that start with a prompt, of the README and then of the pages."""
    text = "\n".join([README, *(page.read_text() for page in PAGES)]).replace("\\\n", " ")
    return [
        " ".join(line.split()) for line in re.findall(r"^ *\$ (circuit .*)$", text, re.MULTILINE)
    ]


@pytest.mark.slow
def test_the_session_runs_from_the_first_line_to_the_last(tmp_path):
    assert len(commands()) >= 7
    for line in commands():
        words = shlex.split(f"{line} {SHORTER.get(line, '')}")[1:]
        # Started, not forked: what a reader types imports for itself what it needs.
        done = start_circuit(*words, cwd=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_what_is_shortened_is_there():
    assert set(SHORTER) <= set(commands())


def test_every_command_is_in_the_table_of_the_data_flow():
    for name in PIPELINE:
        assert re.search(rf"^\| `{name}` ", README, re.MULTILINE), name


def test_every_verb_of_the_makefile_is_described():
    makefile = (ROOT / "Makefile").read_text()
    verbs = re.findall(r"^([a-z-]+):.*  ## ", makefile, re.MULTILINE)
    assert {"setup", "demo", "test", "check", "bench", "tiny", "clean"} <= set(verbs)
    for verb in set(verbs) - {"help"}:
        assert f"make {verb}" in README, verb


def test_the_readme_fits_on_two_pages():
    assert len(README.splitlines()) <= 200


def test_every_promise_names_a_test_that_exists():
    rows = re.findall(
        r"^\| .*\. \| `([^`]+)` \|$", (ROOT / "docs/protection.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 20
    for place in rows:
        path, _, name = place.partition("::")
        text = (ROOT / path).read_text()
        assert re.search(rf"^def {name or 'test_'}", text, re.MULTILINE), place


def test_files_that_the_readme_names_exist():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link
