"""directions show: quality, provenance, and the tokens of a direction."""

from dataclasses import replace

import numpy as np
from errors import raises
from planted_directions import saved, vector

from circuit.artifacts.directions.direction import Direction
from circuit.errors import ModelError, UsageError
from circuit.stages.directions.show import show_directions
from circuit.stages.directions.tokens import promoted_tokens


def test_show_has_quality_and_provenance(fitted, tmp_path):
    results, chosen = show_directions(fitted / "d", layers="-1")
    assert len(chosen) == 7
    first = results.directions[0]
    assert (first.name, first.recommended) == ("tool_vs_no_tool", True)
    assert first.quality["auroc"][0] > 0.9
    assert results.provenance["made from"].startswith("a.json (")
    assert "method mean_diff" in results.provenance["choices"]
    named, _ = show_directions(fitted / "d.json", name="category:email")
    assert [each.layer for each in named.directions] == [0, 1]
    with raises(UsageError, "unknown-direction", name="tol"):
        show_directions(fitted / "d", name="tol")
    plain, _ = show_directions(saved(tmp_path / "one.npz", vector(16, 0)))
    assert plain.directions[0].quality == {}
    assert plain.provenance["model"] == "planted"


def test_the_row_of_the_head_promotes_its_own_token(llama):
    from mlx.utils import tree_flatten

    head = np.array(dict(tree_flatten(llama.network.parameters()))["lm_head.weight"])
    row = head[65] - head.mean(axis=0)
    identity = llama.identity
    direction = Direction(
        name="a",
        site="resid_post",
        layer=1,
        norm=1.0,
        model=identity,
        vector=(row / np.linalg.norm(row)).astype(np.float32),
        format="raw",
    )
    found = promoted_tokens(llama, direction, top=3)
    assert found.promoted[0].id == 65
    first = found.promoted[0]
    assert first.difference > found.random[1] > 0
    assert first.low <= first.difference <= first.high
    turned = replace(direction, vector=-direction.vector)
    assert promoted_tokens(llama, turned, top=3).suppressed[0].id == 65
    foreign = replace(direction, model=replace(identity, weights_sha256="0"))
    with raises(ModelError, "other-model"):
        promoted_tokens(llama, foreign)


def test_the_step_is_the_linearised_effect_up_to_the_third_order(llama):
    from circuit.model.gradients.tail_difference import tail_difference

    rng = np.random.default_rng(2)
    h = rng.normal(size=(4, 32)).astype(np.float32)
    v = vector(32, 3).astype(np.float32)
    size = np.linalg.norm(h, axis=1, keepdims=True)
    small, large = (tail_difference(llama, h, c * size * v) / c for c in (0.02, 0.1))
    np.testing.assert_allclose(large, small, atol=0.03 * np.abs(small).max())
    np.testing.assert_allclose(small.mean(axis=1), 0, atol=1e-4)
