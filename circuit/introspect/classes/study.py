"""Ablation from Python: ``AblationStudy`` over ``ablate``.

study = AblationStudy.from_pretrained("tiny")
result = study.run_layer_sweep(
    prompt="…", criterion=lambda text: "…" in text, component=ComponentType.MLP, layers=range(3)
)
study.print_sweep_summary(result)
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import circuit.model  # noqa: F401  # a fast BLAS before MLX is imported
from circuit.introspect.ablation.components import Ablation, components_of, layer_ablations
from circuit.introspect.inputs.cases import Case
from circuit.introspect.questions.ablate import AblateResult, ablate
from circuit.stages.options import ModelOptions
from circuit.stages.rows.prompt_input import PromptInput

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

Criterion = str | Callable[[str], bool]


class ComponentType(StrEnum):
    """What is ablated in a block."""

    MLP = "mlp"
    ATTENTION = "attention"
    BOTH = "both"


@dataclass(frozen=True)
class AblationConfig:
    """How answers are made and what replaces a component: its mean, a resample, or zero.

    ``raw`` None uses the model's chat template where it has one.
    """

    max_new_tokens: int = 60
    component: ComponentType = ComponentType.BOTH
    method: str = "mean"
    raw: bool | None = None
    seed: int = 0


class AblationStudy:
    """Ablates components of a loaded model and reads its answers."""

    def __init__(self, model: "LoadedModel") -> None:
        self.model = model

    @classmethod
    def from_pretrained(
        cls, model_id: str, *, revision: str | None = None, dtype: str = "auto"
    ) -> Self:
        """Load a model: a hub id, a folder, or ``tiny``."""
        return cls(ModelOptions(model=model_id, revision=revision, dtype=dtype).load())

    def run_layer_sweep(
        self,
        prompt: str | Sequence[str],
        criterion: Criterion,
        *,
        component: ComponentType = ComponentType.BOTH,
        layers: Iterable[int] | None = None,
        config: AblationConfig | None = None,
    ) -> AblateResult:
        """Ablate the component in one layer after the other."""
        at = range(self.model.n_layers) if layers is None else layers
        ablations = layer_ablations(component.value, at)
        return self._study(prompt, criterion, ablations, config or AblationConfig())

    def ablate_and_generate(
        self,
        prompt: str,
        *,
        layers: Sequence[int],
        component: ComponentType | None = None,
        config: AblationConfig | None = None,
    ) -> str:
        """Return the answer with the component ablated in all ``layers``, or unmodified."""
        chosen = config or AblationConfig()
        kind = chosen.component if component is None else component
        ablations = [Ablation("all", components_of(kind.value, layers))] if layers else []
        study = self._study(prompt, "regex:", ablations, chosen)
        return study.trials[0].outputs[0] if study.trials else study.baseline[0]

    def print_sweep_summary(self, study: AblateResult) -> None:
        """Print the share of prompts that still pass, and what each ablation costs."""
        for trial in study.trials:
            passed = "no prompt passed" if trial.rate is None else f"{trial.rate:.2f} still pass"
            known = [each for each in trial.delta if each is not None]
            cost = f", {sum(known) / len(known):+.3f} nats per token" if known else ""
            print(f"{trial.name:>8}: {passed}{cost}")  # noqa: T201

    def _study(
        self,
        prompt: str | Sequence[str],
        criterion: Criterion,
        ablations: Sequence[Ablation],
        config: AblationConfig,
    ) -> AblateResult:
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        return ablate(
            self.model,
            [Case(text, criterion) for text in texts],
            ablations,
            form=PromptInput(texts).form(
                None if config.raw is None else not config.raw,
                default=bool(self.model.tokenizer.has_chat_template),
            ),
            method=config.method,
            max_tokens=config.max_new_tokens,
            seed=config.seed,
        )
