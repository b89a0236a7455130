"""The runner: an equal run is reused, another is refused, and no output is an input or another output."""

import json
from dataclasses import dataclass

import pytest
from errors import raises

from circuit.errors import ArtifactError, UsageError
from circuit.stages.run import Job, Plan, execute, without_model
from circuit.values import schemas


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A result."""

    x: int


@pytest.fixture
def source(tmp_path):
    """A file that is read."""
    path = tmp_path / "in.txt"
    path.write_text("a\n")
    return path


@pytest.fixture
def run(source):
    """Run a plan, by default with ``source`` as its input; every computation counts one more."""
    computed = []

    def run(out, known=None, **more):
        def compute(_):
            computed.append(out)
            return Answer(x=len(computed))

        parameters = {"k": [1]} if known is None else known
        job = Job(parameters={**parameters, "format": "raw"}, compute=compute)
        plan = {"schema": schemas.LENS, "inputs": [source], "known": parameters, **more}
        return execute(Plan(result=Answer, output=out, begin=without_model(job), **plan))

    return run


def test_an_equal_run_is_reused(run, tmp_path):
    out, picture = tmp_path / "out.json", tmp_path / "out.png"

    def draw(result, path, *, force):
        assert force or not path.exists() or path.read_text() == str(result.x)
        path.write_text(str(result.x))

    pictures = {picture: draw}
    first, again = run(out, pictures=pictures), run(out, {"k": (1,)}, pictures=pictures)
    assert (first.reused, again.reused) == (False, True)
    assert first.result == again.result == Answer(x=1)
    picture.unlink()
    run(out, pictures=pictures)
    assert picture.read_text() == "1"
    forced = run(out, pictures=pictures, force=True)
    assert (forced.reused, forced.result, picture.read_text()) == (False, Answer(x=2), "2")


def test_another_run_is_refused(run, source, tmp_path):
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    run(out)
    for known, more in (
        ({"k": [1]}, {"schema": schemas.HOOKS}),
        ({"k": [2]}, {}),
        ({"j": 1}, {}),
        ({"k": [1]}, {"inputs": []}),
    ):
        with raises(ArtifactError, "output-exists"):
            run(out, known, **more)
    picture.write_text("mine")
    for beside in ({"pictures": {picture: lambda *_, **__: None}}, {"files": [picture]}):
        with raises(ArtifactError, "output-exists"):
            run(tmp_path / "new.json", **beside)
    source.write_text("b\n")
    with raises(ArtifactError, "output-exists"):
        run(out)
    assert json.loads(out.read_text())["results"] == {"x": 1}


def test_no_output_is_an_input_or_another_output(run, source, tmp_path):
    out = tmp_path / "out.json"
    with raises(UsageError, "output-is-input"):
        run(source, force=True)
    for beside in ({"pictures": {out: lambda *_, **__: None}}, {"files": [out]}):
        with raises(UsageError, "output-named-twice"):
            run(out, force=True, **beside)
    with raises(ArtifactError, "output-is-folder"):
        run(tmp_path, force=True)
