"""select: the planted direction is chosen, under its bounds, and the file says how many were tried."""

import json

import numpy as np
import pytest
from checkpoints import unit_vector
from errors import raises
from sweeping import NEUTRAL, planted, prompt_set

from circuit.artifacts.manifest.manifest import Run
from circuit.artifacts.steering_files.files import Direction, read_directions, write_directions
from circuit.errors import DataError, UsageError
from circuit.stages.options import DirectionOptions, ModelOptions, ReadoutOptions
from circuit.stages.steering.readout import Readout
from circuit.stages.sweep.request import SelectionOutput, SelectRequest
from circuit.stages.sweep.select import SELECT, chosen_path
from circuit.stages.sweep.selection import Selection, best_of, check_bounds, select
from circuit.values.prompt_format import RAW


@pytest.fixture(scope="module")
def at(identity_llama):
    return planted(identity_llama)


def other(model):
    return Direction("r", "resid_post", 0, unit_vector(model.d_model, 3), 1.0, "pair")


def selection(model, at, **changed):
    fields = {"kl": 0.02, "shares": (1.0,), "max_depth": 1.0, "n_boot": 100, **changed}
    return Selection(
        directions=[other(model), at],
        validation=prompt_set(name="val"),
        readout=Readout(("Y",)),
        form=RAW,
        neutral=NEUTRAL,
        **fields,
    )


def test_the_planted_direction_is_selected_under_the_bound(identity_llama, at):
    result = select(identity_llama, selection(identity_llama, at, shares=(0.5, 1.0)))
    assert result.chosen.name == "yes"
    assert result.configs_tried == len(result.candidates) == 4
    assert all(each.kl <= 0.02 * 1.05 for each in result.candidates if each.allowed)


def test_deep_layers_are_not_chosen_and_nothing_allowed_is_an_error(identity_llama, at):
    shallow = select(identity_llama, selection(identity_llama, at, max_depth=0.3))
    assert shallow.chosen.layer == 0
    with raises(DataError, "no-candidate", n=0):
        best_of([], 1.0)


@pytest.mark.parametrize(
    ("kl", "shares", "depth"), [(0.0, (1.0,), 0.8), (1.0, (2.0,), 0.8), (1.0, (1.0,), 0.0)]
)
def test_bounds_that_bound_nothing_are_refused(kl, shares, depth):
    with raises(UsageError, "out-of-range"):
        check_bounds(kl, shares, depth)


def test_the_chosen_direction_is_written_and_says_how_many_were_tried(identity_llama, at, tmp_path):
    write_directions(
        tmp_path / "d",
        [other(identity_llama), at],
        parameters={},
        inputs=[],
        run=Run.since(0.0),
        model=identity_llama.identity,
    )
    prompt_set(name="val").save(tmp_path / "val.json")
    out = tmp_path / "selection.json"
    request = SelectRequest(
        model=ModelOptions(model=identity_llama.id),
        validation=tmp_path / "val.json",
        output=SelectionOutput(output=out),
        directions=DirectionOptions(direction=[f"{tmp_path / 'd.safetensors'},name=yes"]),
        readout=ReadoutOptions(positive_answers="Y"),
        strengths="1",
        kl=0.02,
    )
    first, again = SELECT.run(request), SELECT.run(request)
    assert (first.reused, again.reused) == (False, True)
    assert first.result == again.result
    (chosen,) = read_directions(chosen_path(out))
    about = chosen.extra["selection"]
    assert about["configs_tried"] == 1
    assert about["validation_sha256"]
    assert np.array_equal(chosen.vector, at.vector)
    document = json.loads(out.read_text())
    assert [ref["path"] for ref in document["outputs"]] == [
        "selection.direction.safetensors",
        "selection.direction.json",
    ]
