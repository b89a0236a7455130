"""Groups of options that several commands share; each option is described once, here.

A request contains groups as fields (``circuit.values.requests``). Nothing heavy is imported before
a group is used.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuit.values.requests import option

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

REVISION = "Branch, tag or commit of a model on the hub."
DTYPE = (
    "Dtype of the weights: auto (the checkpoint's on a GPU, float32 on a CPU), checkpoint, "
    "float32, bfloat16, float16."
)
TEMPLATE = "Use the model's chat template, or the text as it is."
LAYERS = "all | 0,4,8 | 8-13 | -1 | every:4 | 50%."
# numpy and scikit-learn both take these.
LARGEST_SEED = 2**32 - 1


def chat_option(
    otherwise: str = "the prompt set's, or raw",
    help: str = "A user's turn, or the text as it is.",  # noqa: A002
) -> Any:
    """Declare whether prompts are chat or raw; None is what ``otherwise`` says."""
    return option("--chat/--raw", help=help, default=None, shown_default=otherwise)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and in which form."""

    model: str = option("--model", "-m", help="Hub id, checkpoint folder, GGUF file, or tiny.")
    dtype: str = option("--dtype", help=DTYPE, default="auto")
    revision: str | None = option("--revision", help=REVISION, default=None)
    adapter: Path | None = option(
        "--adapter", help="Folder of a LoRA adapter (mlx-lm or PEFT).", default=None
    )
    trust_remote_code: bool = option(
        "--trust-remote-code", help="Let the checkpoint run its own Python code.", default=False
    )

    def load(self, *, tensor_parallel: bool = False, weights: bool = True) -> "LoadedModel":
        """Load the model: see ``circuit.model.checkpoint.loading``."""
        from circuit.model.checkpoint.loading import load_model
        from circuit.model.machine.runtime import require_mlx

        require_mlx()
        return load_model(
            self.model,
            revision=self.revision,
            adapter=self.adapter,
            dtype=self.dtype,
            trust_remote_code=self.trust_remote_code,
            tensor_parallel=tensor_parallel,
            weights=weights,
        )


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where the results are kept."""

    output: Path | None = option(
        "--output", "-o", help="Write the results to this JSON file.", default=None
    )
    force: bool = option("--force", help="Replace output that exists.", default=False)


@dataclass(frozen=True, kw_only=True)
class ArchiveOutputOptions:
    """Where an archive and its manifest are written."""

    output: Path = option("--output", "-o", help="Stem of the archive and its manifest.")
    force: bool = option("--force", help="Replace output that exists.", default=False)


@dataclass(frozen=True, kw_only=True)
class SeedOptions:
    """The seed of everything random."""

    seed: int = option(
        "--seed",
        help="Seed of everything random; recorded.",
        default=0,
        minimum=0,
        maximum=LARGEST_SEED,
    )


@dataclass(frozen=True, kw_only=True)
class FormatOptions:
    """How texts become prompts; ``chat`` None is the prompt set's own format, or raw text."""

    chat: bool | None = chat_option(help=TEMPLATE)
    system: str | None = option("--system", help="System message (with --chat).", default=None)
    tools: Path | None = option(
        "--tools", help="JSON list of tool schemas (with --chat).", default=None
    )


@dataclass(frozen=True, kw_only=True)
class PromptsOptions:
    """Prompts that are written on the command line or in a file."""

    prompts: str = option("--prompts", "--prompt", "-p", help="a|b, @lines.txt or @prompts.json.")
    chat: bool | None = chat_option()


@dataclass(frozen=True, kw_only=True)
class ArchiveOptions:
    """An archive of activations, and which of its arrays are read."""

    activations: Path = option("--activations", "-a", help="Archive of activations, from collect.")
    layers: str = option("--layers", "--layer", help=LAYERS, default="all")
    site: str | None = option("--site", help="One site of the archive.", default=None)
    position: str | None = option("--position", help="One position of the archive.", default=None)


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """How rows are labelled, and how probes of them are cross-validated."""

    labels: str = option(
        "--labels",
        help="prompts, or what the model did: model, model:CRITERION (see collect).",
        default="prompts",
    )
    folds: int = option(
        "--folds", help="Folds of the cross-validation, by group.", default=5, minimum=2
    )


@dataclass(frozen=True, kw_only=True)
class DirectionOptions:
    """Which directions act."""

    direction: list[str] | None = option(
        "--direction",
        "-d",
        help="Steering file of circuit or another program, or "
        "FILE,name=NAME,layer=LAYERS,weight=W,plane=NAME; several act together.",
        default=None,
    )
    layer: str | None = option(
        "--layer",
        "-l",
        help="Block to steer after, or several: 3, 50%, 2-4, all.",
        default=None,
        shown_default="the file's, or 50%",
    )
    name: str | None = option("--name", help="One direction of the file.", default=None)
    allow_other_model: bool = option(
        "--allow-other-model", help="Use a direction of another model.", default=False
    )


@dataclass(frozen=True, kw_only=True)
class ActionOptions:
    """How directions act."""

    rule: str = option(
        "--rule",
        help="What coefficient 1 is: norm (the token's own), raw (the distance of the classes), "
        "projection (from the negative mean to the positive), median-norm, kl:1.0 (nats on "
        "neutral prompts).",
        default="norm",
    )
    operator: str = option(
        "--operator", help="add, preserve, affine, clamp, ablate or angular.", default="add"
    )
    scope: str = option(
        "--scope",
        help="Tokens that are steered: all, prompt, generated or last:K.",
        default="all",
    )


@dataclass(frozen=True, kw_only=True)
class ReadoutOptions:
    """What is measured of the model after each prompt."""

    positive_answers: str | None = option(
        "--positive-answers", help='Spellings of the positive answer: "Yes| yes|YES".', default=None
    )
    negative_answers: str | None = option(
        "--negative-answers",
        help="Spellings of the negative answer.",
        default=None,
        shown_default="everything else",
    )
    criterion: str | None = option(
        "--criterion",
        help="Judge what the model writes instead: function_call, refusal, positive, negative, "
        "number, expected, regex:PATTERN, or a text.",
        default=None,
    )
    max_tokens: int = option(
        "--max-tokens", "-n", help="Tokens to write (with --criterion).", default=20, minimum=1
    )
    prefill: str = option(
        "--prefill",
        help="Beginning of the answer, after which the model is read.",
        default="",
    )


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How text is generated; temperature 0 is greedy."""

    max_tokens: int = option(
        "--max-tokens", "-n", help="Tokens to generate at most.", default=50, minimum=1
    )
    temperature: float = option("--temperature", help="0 is greedy.", default=0.0, minimum=0)
    top_p: float = option(
        "--top-p",
        help="Sample from the most likely tokens whose probabilities add up to p (0: off).",
        default=0.0,
        minimum=0,
        maximum=1,
    )
    top_k: int = option(
        "--top-k", help="Sample from the k most likely tokens (0: off).", default=0, minimum=0
    )
    min_p: float = option(
        "--min-p",
        help="Smallest probability, as a share of the most likely token's (0: off).",
        default=0.0,
        minimum=0,
        maximum=1,
    )
    repetition_penalty: float | None = option(
        "--repetition-penalty",
        help="Repetition penalty; above 1 discourages repetition.",
        default=None,
        minimum=0,
    )
