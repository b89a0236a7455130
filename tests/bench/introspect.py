"""One question costs little more than loading the model; a sweep of ablations runs as batches.

    python tests/bench/introspect.py [--prompts 100]

The logit lens of one prompt beside loading the model and one forward pass (asked: at most 1.3 of its time), and an
ablation of every layer on 100 prompts beside one generation for each prompt and layer (asked: 10 times as fast), on ``tiny``.
"""

import argparse

from common import report

from circuit.introspect.ablation.components import ComponentChoice
from circuit.introspect.inputs.cases import Case
from circuit.introspect.inputs.choices import LayerStrategy
from circuit.introspect.lens.logit_lens import AnalysisConfig, analyze
from circuit.introspect.questions.ablate import ablate
from circuit.model.checkpoint.loading import load_model
from circuit.model.forward.generate import generate
from circuit.model.interventions.ablation import Component, ablated
from circuit.stages.rows.prompting import encode
from circuit.values.prompt_format import RAW
from circuit.values.sampling import Sampling

TOKENS = 4


def main() -> None:
    import mlx.core as mx  # after circuit, which looks for a fast BLAS

    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=100)
    n = parser.parse_args().prompts
    text = "50 + 25 = "

    def plain() -> None:
        model = load_model("tiny")
        mx.eval(model.network(mx.array(encode(model, [text], RAW)[0].ids[None])))

    def lens() -> None:
        analyze(load_model("tiny"), [text], AnalysisConfig(LayerStrategy.ALL), form=RAW)

    report("introspect analyze / loading and one forward pass", lens, plain)
    model = load_model("tiny")
    texts = [f"{10 + i % 80} + {10 + i // 2} = " for i in range(n)]
    cases = [Case(each, "number") for each in texts]
    ablations = ComponentChoice(component="mlp", layers="all").ablations(model)
    encoded = encode(model, texts, RAW)

    def together() -> None:
        ablate(model, cases, ablations, form=RAW, method="zero", max_tokens=TOKENS)

    def one_by_one() -> None:
        for layer in range(model.n_layers):
            with ablated(model, [Component("mlp", layer)], "zero"):
                for prompt in encoded:
                    generate(model, [prompt], Sampling(TOKENS))

    report(f"introspect ablate, {n} prompts / one generation each", together, one_by_one, repeats=3)


if __name__ == "__main__":
    main()
