"""What moved between two models: nothing, a planted step; and what cannot be compared."""

import json

import mlx.core as mx
import numpy as np
import pytest
from checkpoints import write_checkpoint
from errors import raises
from other_tokenizer import rewrite_tokenizer

from circuit.errors import ModelError, UsageError
from circuit.introspect.compare.two_models import LoadingOptions
from circuit.introspect.questions.activation_diff import activation_diff, counterpart, present
from circuit.methods.geometry.cka_interval import cka_estimate
from circuit.present.terminal import terminal
from circuit.stages.options import ModelOptions
from circuit.stages.rows.prompt_input import PromptInput

GIVEN = PromptInput(["Hello", "1 + 1 = ", "abc", "xyz?", "ab c"])


def options(*folders):
    return tuple(ModelOptions(model=str(folder)) for folder in folders)


def test_a_model_has_not_moved_from_itself(llama_folder):
    found = activation_diff(options(llama_folder, llama_folder), GIVEN)
    assert [each.layer for each in found.layers] == [0, 1, 2]
    for each in found.layers:
        assert each.cosine == each.centred_cosine == each.norm_ratio == [1, 1, 1]
        assert each.moved == [0, 0, 0]
        assert each.cka[0] == pytest.approx(1)
    assert found.other_tokens == []
    assert "~" not in terminal(present(found))


def test_a_block_that_writes_twice_as_much_moves_what_follows(llama_folder, tmp_path):
    """A doubled ``down_proj`` of block 1 leaves block 0 alone."""
    folder = write_checkpoint(tmp_path / "tuned")
    weights = mx.load(str(folder / "model.safetensors"))
    weights["model.layers.1.mlp.down_proj.weight"] *= 2
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    found = activation_diff(options(llama_folder, folder), GIVEN).layers
    assert found[0].moved == [0, 0, 0]
    for each in found[1:]:
        value, low, high = each.moved
        assert 0 < low < value < high
        assert each.cosine[0] < 1


def test_every_row_doubled_has_the_same_geometry(tmp_path):
    """Blocks that do nothing and an embedding twice as long: norms double, angles stay."""
    folders = [write_checkpoint(tmp_path / n, identity_blocks=True) for n in ("a", "b")]
    weights = mx.load(str(folders[1] / "model.safetensors"))
    weights["model.embed_tokens.weight"] *= 2
    mx.save_safetensors(str(folders[1] / "model.safetensors"), weights, metadata={"format": "mlx"})
    given = PromptInput(["a", "b", "c", "d", "e"])
    for each in activation_diff(options(*folders), given).layers:
        assert each.norm_ratio == pytest.approx([2, 2, 2], abs=1e-4)
        assert each.moved == pytest.approx([1, 1, 1], abs=1e-4)
        assert each.cosine[0] == pytest.approx(1, abs=1e-4)
        assert each.cka == pytest.approx([1, 1, 1], abs=1e-4)


def test_other_depth_width_and_tokenizer(llama_folder, tmp_path):
    wide = write_checkpoint(tmp_path / "wide", num_hidden_layers=6, hidden_size=48)
    rewrite_tokenizer(wide)
    found = activation_diff(options(llama_folder, wide), GIVEN)
    assert [each.other_layer for each in found.layers] == [1, 3, 5]
    assert all(each.cosine is None and each.cka is not None for each in found.layers)
    assert not found.same_vocabulary
    assert [GIVEN.texts[i] for i in found.other_tokens] == ["abc", "ab c"]
    assert found.cosines is None
    assert [counterpart(k, 3, 6) for k in range(3)] == [1, 3, 5]
    narrow = write_checkpoint(tmp_path / "deep", num_hidden_layers=6)
    text = terminal(present(activation_diff(options(llama_folder, narrow), GIVEN)))
    assert "0 ~ 1" in text
    assert "at the same relative depth" in text
    assert "Moved most" not in text
    assert [counterpart(k, 6, 3) for k in range(6)] == [0, 0, 1, 1, 1, 2]


def test_few_prompts_have_no_interval(llama_folder):
    (one, *_) = activation_diff(options(llama_folder, llama_folder), PromptInput(["a"])).layers
    assert (one.cosine, one.cka, one.centred_cosine) == ([1, None, None], None, None)


def test_cka_interval_holds_the_truth():
    """Half the variance is shared: the interval of a sample holds the value of a large one."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((8, 12))

    def sample(n):
        shared = rng.standard_normal((n, 8))
        noise = rng.standard_normal((2, n, 12)) * 2
        return shared @ mix + noise[0], shared @ mix[:, ::-1] + noise[1]

    truth = cka_estimate(*sample(3000), ["one"] * 3000)[0]
    hits = []
    for _ in range(30):
        a, b = sample(60)
        value, low, high = cka_estimate(a, b, [str(i) for i in range(60)])
        hits.append(low <= truth <= high)
        assert low <= value <= high
    assert np.mean(hits) >= 0.8
    assert cka_estimate(a[:3], b[:3], list("abc")) is None
    assert cka_estimate(a, b, ["one"] * 60)[1:] == [None, None]


def test_layers_that_there_are_not(llama_folder):
    with pytest.raises(UsageError, match="out of range"):
        activation_diff(options(llama_folder, llama_folder), GIVEN, layers="3")


def test_an_adapter_moves_the_block_that_it_is_on(llama_folder, tmp_path):
    """A LoRA of rank 1 on the last block's q_proj; with its second factor at zero it is refused."""
    rng = np.random.default_rng(0)
    names = {"lora_a": (32, 1), "lora_b": (1, 32)}
    config = {"num_layers": 1, "fine_tune_type": "lora"}
    config["lora_parameters"] = {
        "rank": 1,
        "scale": 4.0,
        "dropout": 0.0,
        "keys": ["self_attn.q_proj"],
    }
    for name, size in (("off", 0.0), ("on", 1.0)):
        adapter = tmp_path / name
        adapter.mkdir()
        weights = {
            f"model.layers.2.self_attn.q_proj.{part}": mx.array(
                rng.standard_normal(shape).astype(np.float32) * (size if part == "lora_b" else 1)
            )
            for part, shape in names.items()
        }
        mx.save_safetensors(str(adapter / "adapters.safetensors"), weights)
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        pair = LoadingOptions(adapter=adapter).two_models(str(llama_folder), None, name="-f")
        if not size:
            with raises(ModelError, "adapter-without-effect"):
                activation_diff(pair, GIVEN)
            continue
        found = activation_diff(pair, GIVEN)
        assert found.models[1].name.endswith(f" + {name}")
        moved = [each.moved[0] for each in found.layers]
        assert moved[:2] == [0, 0]
        assert moved[2] > 0
