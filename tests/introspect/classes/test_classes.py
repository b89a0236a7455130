"""The Python examples of the introspection document, with another model and its layers."""

import asyncio

import numpy as np
import pytest
from errors import raises

from circuit.errors import UsageError


def test_the_analyzer():
    from circuit.introspect import AnalysisConfig, LayerStrategy, ModelAnalyzer

    async def main():
        async with ModelAnalyzer.from_pretrained("tiny") as analyzer:
            result = await analyzer.analyze("The capital of France is")

            print(f"Predicted: {result.predicted_token}")
            print(f"Probability: {result.predicted_probability:.4f}")

            for layer in result.layer_predictions:
                print(f"Layer {layer.layer_idx}: {layer.top_token} ({layer.top_probability:.4f})")

            for config in (
                AnalysisConfig(layer_strategy=LayerStrategy.ALL),
                AnalysisConfig(layer_strategy=LayerStrategy.EVENLY_SPACED, layer_step=4),
                AnalysisConfig(layer_strategy=LayerStrategy.FIRST_LAST),
                AnalysisConfig(layer_strategy=LayerStrategy.CUSTOM, custom_layers=[0, 2, 4, 5]),
            ):
                result = await analyzer.analyze("The answer is", config)
                assert result.captured_layers[-1] == 5

            config = AnalysisConfig(track_tokens=["9", " 9", "7"])
            result = await analyzer.analyze("50 + 25 = ", config)
            for evo in result.token_evolutions:
                print(f"\nToken '{evo.token}':")
                for layer, prob in evo.layer_probabilities.items():
                    rank = evo.layer_ranks.get(layer)
                    print(f"  Layer {layer}: prob={prob:.4f}, rank={rank}")
                if evo.emergence_layer:
                    print(f"  -> Becomes top-1 at layer {evo.emergence_layer}")

            for pred in result.layer_predictions:
                print(f"Layer {pred.layer_idx}:")
                print(f"  Entropy: {pred.entropy:.3f}")
                print(f"  Is confident: {pred.is_confident}")

            if result.max_kl_transition:
                t = result.max_kl_transition
                print(f"Max KL divergence: {t.kl_divergence:.3f}")
                print(f"  Between layers {t.from_layer} -> {t.to_layer}")
            if result.decision_layer is not None:
                print(f"Decision made at layer: {result.decision_layer}")
            assert analyzer.model_info.family == "llama"
            assert analyzer.config.embedding_scale == pytest.approx(1, abs=1e-4)
            for name in ("prompt", "tokens", "num_layers", "final_prediction", "predicted_token"):
                assert getattr(result, name)

        async with ModelAnalyzer.from_pretrained("tiny", embedding_scale=33.94) as analyzer:
            scaled = await analyzer.analyze("50 + 25 = ")
        assert scaled.final_prediction != result.final_prediction

    asyncio.run(main())


def test_an_analyzer_outside_its_context():
    from circuit.introspect import ModelAnalyzer

    analyzer = ModelAnalyzer.from_pretrained("tiny")
    with raises(UsageError, "model-not-loaded"):
        asyncio.run(analyzer.analyze("x"))
    with raises(UsageError, "model-not-loaded"):
        analyzer.model_info  # noqa: B018


def test_the_hooks(capsys):
    import mlx.core as mx
    from mlx_lm import load

    from circuit.introspect import CaptureConfig, LogitLens, ModelHooks, PositionSelection
    from circuit.model.checkpoint.files import find_folder

    model, tokenizer = load(str(find_folder("tiny")))

    hooks = ModelHooks(model)
    hooks.configure(
        CaptureConfig(
            layers=[0, 2, 5],
            capture_hidden_states=True,
            capture_attention_weights=True,
            positions=PositionSelection.LAST,
        )
    )

    input_ids = mx.array(tokenizer.encode("50 + 25 = "))[None, :]
    logits = hooks.forward(input_ids)

    for layer_idx, hidden in hooks.state.hidden_states.items():
        print(f"Layer {layer_idx}: shape {hidden.shape}")
    assert list(hooks.state.hidden_states) == [0, 2, 5]
    assert hooks.state.hidden_states[2].shape == (1, 1, 160)
    weights = np.array(hooks.state.attention_weights[5])
    assert weights.shape[1] == 1
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)

    lens = LogitLens(hooks, tokenizer)
    lens.print_evolution(position=-1, top_k=5)
    assert "Layer  5:" in capsys.readouterr().out
    best = int(mx.argmax(logits[0, -1]))
    assert lens.evolution(top_k=1)[5][0][0] == tokenizer.decode([best])
    with raises(UsageError, "layer-out-of-range", layer=16, n_layers=6):
        hooks.configure(CaptureConfig(layers=[0, 16]))


def test_the_ablation_study(capsys):
    from circuit.introspect import AblationConfig, AblationStudy, ComponentType

    study = AblationStudy.from_pretrained("tiny")

    def criterion(output: str) -> bool:
        return "75" in output

    result = study.run_layer_sweep(
        prompt="50 + 25 = ",
        criterion=criterion,
        component=ComponentType.MLP,
        layers=range(3),
        config=AblationConfig(max_new_tokens=4, raw=True),
    )
    study.print_sweep_summary(result)
    assert [trial.name for trial in result.trials] == ["L0", "L1", "L2"]
    assert result.criteria == ["criterion"]
    assert "nats per token" in capsys.readouterr().out

    config = AblationConfig(max_new_tokens=15, raw=True)
    original = study.ablate_and_generate("50 + 25 = ", layers=[], config=config)
    ablated = study.ablate_and_generate("50 + 25 = ", layers=[0, 1], config=config)
    assert original != ablated
    assert original.startswith("75")


def test_names_are_listed_and_others_are_none():
    import circuit.introspect as introspect

    assert set(introspect.__all__) <= set(dir(introspect))
    for name in introspect.__all__:
        assert getattr(introspect, name)
    with pytest.raises(AttributeError, match="no attribute 'Analyser'"):
        introspect.Analyser  # noqa: B018
