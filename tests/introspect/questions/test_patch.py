"""Patching finds the planted parts and nothing else, exactly; an estimate is what the gradient says; pairs are read as written."""

import json

import numpy as np
import pytest
from errors import raises
from scipy.stats import spearmanr

from circuit.artifacts.prompts.prompts import Prompt, PromptSet
from circuit.errors import DataError, UsageError
from circuit.introspect.patching.cells import cell_choice
from circuit.introspect.patching.effects import draw_patching, patch
from circuit.introspect.patching.prompt_pairs import Pair, align, read_pairs
from circuit.introspect.questions.patch import present
from circuit.methods.uncertainty.means import mean_estimate, mean_estimates
from circuit.methods.uncertainty.ranks import rank_correlation
from circuit.present.terminal import terminal
from circuit.values.prompt_format import RAW
from circuit.values.sites import Site

ALL = "resid_pre,attn_out,mlp_out,heads"
PAIR = Pair("xay.", "xby.", "Q", "Z")  # 5 tokens with the first; the third differs


def asked(model, *, components=ALL, direction="both", position="all", layers="all"):
    return cell_choice(components, direction, position).at(layers, model.n_layers)


def grids(found):
    return {(g.component, g.direction): np.array(g.effect) for g in found.grids}


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_exactly_the_planted_cells_have_an_effect(chain, direction):
    found = patch(chain, [PAIR], asked(chain), form=RAW)
    assert found.pairs[0].clean_difference > 1 + found.pairs[0].corrupt_difference
    expected = {name: np.zeros((3, 5)) for name in ("resid_pre", "attn_out", "mlp_out")}
    expected["resid_pre"][0, 2] = 1  # the word, until head 0.1 has moved it to the last token
    expected["resid_pre"][1:, 4] = 1
    expected["attn_out"][0, 4] = expected["mlp_out"][1, 4] = 1
    expected["heads"] = np.zeros((3, 4))
    expected["heads"][0, 1] = 1
    for name, effects in expected.items():
        np.testing.assert_allclose(grids(found)[name, direction], effects, atol=1e-5)
    assert found.grids[0].columns == ["<s>", "x", "a|b", "y", "."]


def test_a_head_by_itself_is_patched_token_by_token(chain, tmp_path):
    found = patch(chain, [PAIR], asked(chain, components="0.1,heads,0.2"), form=RAW)
    for direction in ("denoising", "noising"):
        effects = grids(found)["head 0.1", direction]
        np.testing.assert_allclose(effects, [[0, 0, 0, 0, 1]], atol=1e-5)
        assert not grids(found)["head 0.2", direction].any()
    estimated = patch(chain, [PAIR], asked(chain, components="0.1"), form=RAW, verify=20)
    assert np.array(estimated.grids[0].effect).argmax() == 4
    draw_patching(found, tmp_path / "p.png")
    text = terminal(present(found))
    assert "1 independent pair: an example" in text
    with raises(UsageError, "component-out-of-range", index=7):
        patch(chain, [PAIR], asked(chain, components="1.7"), form=RAW)
    with raises(UsageError, "unknown-component", component="1.x"):
        asked(chain, components="1.x")


def test_a_layer_of_a_head_by_itself_counts_from_the_end():
    choice = cell_choice("mlp_out,-1.2,mlp_out", "both", "all").at("0", 3)
    assert choice.components == ["mlp_out", "head 2.2"]
    assert choice.layers_of("head 2.2") == [2]


def test_the_source_is_put_where_it_is_asked_and_nowhere_else(llama):
    """All tokens of the stream at once are the other prompt: each cell alone is a full run with that row replaced."""
    import mlx.core as mx

    from circuit.model.patching.patching import Patch, last_logits, patched, states

    (pair,) = align(llama, [Pair("ab", "cd", "x", "y")], RAW)
    site = Site("resid_pre", 1)
    clean = states(llama, pair.clean, [site])[site]
    ids = mx.array(pair.corrupt[None])
    with patched(llama, [Patch(site, mx.array(True), mx.array(clean[None]))]):
        whole = np.array(last_logits(llama, ids))
    np.testing.assert_allclose(
        whole, np.array(last_logits(llama, mx.array(pair.clean[None]))), atol=1e-5
    )
    found = patch(
        llama, [Pair("ab", "cd", "x", "y"), Pair("cd", "ab", "x", "y")], asked(llama), form=RAW
    )
    effects = grids(found)["resid_pre", "denoising"]
    mask = np.array([[[False], [True], [False]]])
    used = next(p for p in found.pairs if p.is_used)
    (one,) = align(llama, [Pair(used.clean, used.corrupt, "x", "y")], RAW)
    source = states(llama, one.clean, [site])[site]
    with patched(llama, [Patch(site, mx.array(mask), mx.array(source[None]))]):
        logits = np.array(last_logits(llama, mx.array(one.corrupt[None])))[0]
    d = logits[one.answer] - logits[one.wrong]
    share = (d - used.corrupt_difference) / (used.clean_difference - used.corrupt_difference)
    assert found.n_excluded == 1
    assert effects[1, 1] == pytest.approx(share, abs=1e-5)


def test_directions_mirror_each_other(llama):
    """Noising one pair is denoising the other with the answers exchanged."""
    pair, mirrored = Pair("ab", "cd", "x", "y"), Pair("cd", "ab", "y", "x")
    found = [patch(llama, [p], asked(llama), form=RAW, alignment="end") for p in (pair, mirrored)]
    for component in ALL.split(","):
        a = grids(found[0])[component, "noising"]
        np.testing.assert_allclose(a, grids(found[1])[component, "denoising"], atol=1e-4)


def test_an_estimate_is_exact_where_nothing_comes_after_but_a_line(identity_llama):
    """With blocks that do nothing, what is added after the last norm's statistics hardly moves them."""
    found = patch(
        identity_llama,
        [Pair("ab", "cd")],
        asked(identity_llama, components="resid_pre"),
        form=RAW,
        verify=3,
    )
    assert found.method == "attribution"
    cells = grids(found)["resid_pre", "denoising"]
    np.testing.assert_allclose(cells[:, :2], 0, atol=1e-6)  # the last token alone is read
    np.testing.assert_allclose(cells[:, 2], cells[0, 2], rtol=1e-4)  # the same at every layer
    assert all(c.effect == pytest.approx(1, abs=1e-4) for c in found.checked if c.column == 2)


def test_attribution_is_the_gradient_and_its_largest_are_patched(llama):
    """A step of ε times the difference changes the score by ε times the estimate."""
    import mlx.core as mx

    from circuit.model.patching.patching import Patch, last_logits, patched, states

    pair = Pair("hello", "jelly", "x", "y")
    (one,) = align(llama, [pair], RAW)
    found = patch(llama, [pair], asked(llama, direction="denoising"), form=RAW, verify=20)
    site, step = Site("mlp_out", 1), 1e-2
    a, b = (states(llama, ids, [site])[site] for ids in (one.clean, one.corrupt))

    def difference(scale):
        mask = mx.array(np.arange(6)[None, :, None] == 5)
        with patched(llama, [Patch(site, mask, mx.array((b + scale * (a - b))[None]))]):
            logits = np.array(last_logits(llama, mx.array(one.corrupt[None])))[0]
        return float(logits[one.answer] - logits[one.wrong])

    gap = found.pairs[0].clean_difference - found.pairs[0].corrupt_difference
    slope = (difference(step) - difference(-step)) / (2 * step) / gap
    assert grids(found)["mlp_out", "denoising"][1, 5] == pytest.approx(slope, rel=2e-2)
    assert len(found.checked) == 20
    real = grids(patch(llama, [pair], asked(llama, direction="denoising"), form=RAW))
    for c in found.checked:
        assert c.effect == pytest.approx(
            real[c.component, c.direction][c.layer, c.column], abs=1e-5
        )
    ranks = spearmanr([c.estimate for c in found.checked], [c.effect for c in found.checked])
    assert found.rank_correlation["denoising"] == pytest.approx(ranks.statistic)


def test_several_pairs_have_a_mean_and_an_interval(chain, tmp_path):
    pairs = [Pair(f"{x}ay.", f"{x}by.", "Q", "Z") for x in "uvwx"] + [Pair("..", "::", "Q", "Z")]
    found = patch(chain, pairs, asked(chain, position="-2,-1"), form=RAW)
    assert (found.n_excluded, found.positions) == (1, [-2, -1])
    attn = next(g for g in found.grids if (g.component, g.direction) == ("attn_out", "noising"))
    assert attn.effect[0][1] == pytest.approx(1, abs=1e-5)
    assert attn.low[0][1] == pytest.approx(1, abs=1e-4)
    draw_patching(found, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_means_of_many_columns_are_those_of_each():
    values = np.random.default_rng(0).standard_normal((12, 3))
    groups = [i // 2 for i in range(12)]
    mean, low, high = mean_estimates(values, groups, seed=4)
    for k in range(3):
        one = mean_estimate(values[:, k], groups, seed=4)
        np.testing.assert_allclose([mean[k], low[k], high[k]], [one.value, one.low, one.high])
    assert mean_estimates(values, ["a"] * 12) is None
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 2, 2], [1, 1, 1]) is None
    assert rank_correlation([1, 2, 3], [9, 8, 1]) == -1


def test_unequal_prompts_need_an_alignment(chain):
    unequal = Pair("xay.", "xxby.", "Q", "Z")
    with raises(DataError, "prompt-lengths-differ", pair=0):
        align(chain, [unequal], RAW)
    found = patch(chain, [unequal], asked(chain), form=RAW, alignment="end")
    assert len(found.positions) == 5
    assert grids(found)["attn_out", "denoising"][0, -1] == pytest.approx(1, abs=0.2)
    with raises(UsageError, "unknown-alignment", alignment="start"):
        align(chain, [unequal], RAW, "start")


def test_pairs_from_files(tmp_path):
    listed = tmp_path / "pairs.json"
    listed.write_text(json.dumps([{"clean": "a ", "corrupt": "b ", "wrong": "z"}]))
    assert read_pairs(None, None, f"@{listed}", answer="q", wrong="w")[0] == [
        Pair("a ", "b ", "q", "z")
    ]
    prompts = [
        Prompt(text=f"{label} {i}", label=label, pair=str(i), group=f"g{i}")
        for i in range(2)
        for label in ("no", "yes")
    ]
    PromptSet(name="p", labels=("no", "yes"), prompts=tuple(prompts)).save(tmp_path / "set.json")
    pairs, given = read_pairs(None, None, str(tmp_path / "set.json"))
    assert given.prompt_set is not None
    assert [(p.clean, p.corrupt, p.group) for p in pairs] == [
        ("yes 0", "no 0", "g0"),
        ("yes 1", "no 1", "g1"),
    ]


def test_what_cannot_be_compared(chain, tmp_path):
    for arguments, code in {
        ("a", None, None): "no-pair",
        ("a", "b", "f.json"): "conflicting-options",
    }.items():
        with raises(UsageError, code):
            read_pairs(*arguments)
    (tmp_path / "bad.json").write_text('[{"clean": "a"}]')
    with raises(DataError, "not-a-pair", entry=0):
        read_pairs(None, None, str(tmp_path / "bad.json"))
    with raises(DataError, "equal-answers", pair=0):
        align(chain, [Pair("ab", "ab")], RAW)
    with raises(DataError, "no-behaviour"):
        patch(chain, [Pair("xby.", "xay.", "Q", "Z")], asked(chain), form=RAW)
    with raises(UsageError, "several-tokens", n_tokens=2):
        align(chain, [Pair("a", "b", "QQ", "Z")], RAW)
    for bad in (
        ("resid", "both", "all", "unknown-component"),
        (ALL, "sideways", "all", "unknown-patching-direction"),
        (ALL, "both", "3", "unknown-position"),
        (ALL, "both", "-1--4", "unknown-position"),
    ):
        with raises(UsageError, bad[3]):
            cell_choice(*bad[:3])
    with raises(UsageError, "position-out-of-range", position=-9):
        patch(chain, [PAIR], asked(chain, position="-9"), form=RAW)
    assert cell_choice(ALL, "both", "-4--2,-1").positions == [-4, -3, -2, -1]
