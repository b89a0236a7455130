"""specificity and table: finished sweeps on each other's prompts, and side by side."""

import json
import shutil
from dataclasses import replace

import pytest
from errors import raises

from circuit.errors import ArtifactError, CircuitError, UsageError
from circuit.model.checkpoint.files import find_folder
from circuit.stages.options import ModelOptions, OutputOptions
from circuit.stages.sweep.request import SpecificityRequest, TableRequest
from circuit.stages.sweep.result import ControlSlopes, read_sweep
from circuit.stages.sweep.specificity import SPECIFICITY
from circuit.stages.sweep.table import TABLE, named_sweeps, with_family_p


def request(sweeps, *, model="tiny", out=None):
    return SpecificityRequest(
        model=ModelOptions(model=model), sweeps=sweeps, output=OutputOptions(output=out)
    )


def test_every_direction_runs_on_every_test_set(workspace):
    sweep = workspace / "sweep.json"
    found = SPECIFICITY.run(request([f"a={sweep}", f"b={sweep}"])).result
    _, measured = read_sweep(sweep)
    assert found.names == ["a", "b"]
    for row in found.slopes:
        for value, low, high in row:
            assert value == pytest.approx(measured.slope, abs=1e-4)
            assert low <= value <= high


def test_another_chat_template_is_another_specificity(workspace, tmp_path):
    folder = shutil.copytree(find_folder("tiny"), tmp_path / "tiny")
    sweeps = [f"{name}={workspace / 'sweep.json'}" for name in "ab"]
    out = tmp_path / "specificity.json"
    SPECIFICITY.run(request(sweeps, model=str(folder), out=out))
    assert SPECIFICITY.run(request(sweeps, model=str(folder), out=out)).reused
    config = folder / "tokenizer_config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, "chat_template": "{{ messages[0].content }}!"}))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(CircuitError, match="holds something else"):
        SPECIFICITY.run(request(sweeps, model=str(folder), out=out))


def test_what_cannot_be_compared_is_refused(workspace, llama_folder, tmp_path):
    sweep = workspace / "sweep.json"
    with raises(UsageError, "too-few-sweeps", n=1):
        SPECIFICITY.plan(request([str(sweep)]))
    with raises(UsageError, "other-model"):
        SPECIFICITY.run(request([f"a={sweep}", f"b={sweep}"], model=str(llama_folder)))
    alone = shutil.copy(sweep, tmp_path / "sweep.json")
    with raises(ArtifactError, "input-changed"):
        SPECIFICITY.run(request([f"a={alone}", f"b={sweep}"]))


def test_sweeps_are_named_after_their_file_or_folder():
    found = named_sweeps(["runs/happy/sweep.json", "calm.json", "x=runs/sweep.json"])
    assert list(found) == ["happy", "calm", "x"]
    with raises(UsageError, "duplicate-name", name="calm"):
        named_sweeps(["calm.json", "calm.json"])


def test_several_sweeps_are_one_table_and_one_picture(workspace, tmp_path):
    sweeps, plots = [f"{name}={workspace / 'sweep.json'}" for name in "ab"], tmp_path / "many"
    first, again = (TABLE.run(TableRequest(sweeps=sweeps, plots=plots)) for _ in range(2))
    assert (first.reused, again.reused) == (False, True)
    assert first.result == again.result
    assert (plots / "steering.png").is_file()
    (figure,) = json.loads((plots / "plots.json").read_text())["results"]["figures"]
    assert figure["caption"]
    (table,) = [part for part in TABLE.present(first.result).parts if hasattr(part, "rows")]
    assert [row[0] for row in table.rows] == ["a", "b"]
    assert "m" not in TABLE.data(first.result)["a"]


def test_the_p_of_a_table_is_over_all_its_sweeps(workspace):
    """Two sweeps whose slopes lie between their random ones and those of the other, on the scale of each."""
    (_, own), steep = read_sweep(workspace / "sweep.json"), [2.0, -2.0, *[0.1] * 18]
    flat = ControlSlopes(
        n=20,
        kind="random",
        same="norm",
        slopes=[0.1] * 20,
        slope_p95=0.1,
        perm_p=1 / 21,
        curves=[],
        kl_p95=[],
    )
    first = replace(own, slope=1.0, random=flat, shuffled=flat)
    second = replace(first, random=replace(flat, slopes=steep, perm_p=3 / 21))
    found = with_family_p({"first": first, "second": second})
    assert found["first"].random.p_all == pytest.approx(1 / 21)
    assert found["second"].random.p_all == pytest.approx(3 / 21)
    assert [each.shuffled.p for each in found.values()] == [pytest.approx(1 / 21)] * 2
    assert with_family_p({"first": first})["first"].random.p_all == first.random.perm_p
