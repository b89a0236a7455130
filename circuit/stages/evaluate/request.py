"""The request of ``circuit evaluate``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from circuit.stages.options import TEMPLATE, ModelOptions, SeedOptions, chat_option
from circuit.values.requests import group, option


@dataclass(frozen=True, kw_only=True)
class TableOutput:
    """Where the results are kept."""

    output: Path | None = option(
        "--output", "-o", help="Save to NAME.json; NAME.csv writes a table as well.", default=None
    )
    force: bool = option("--force", help="Replace output that exists.", default=False)


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    r"""Answer questions unsteered and under each steering vector of a file; measure the answers.

    Coefficient 1 adds a vector at its natural length: one whole difference of its two prompts. With
    `normalize: true` the vector has length 1; `rule: norm` (or another rule of circuit steer)
    chooses another unit. A run that was killed resumes.

    Examples:
      circuit evaluate -m tiny --questions questions.yaml --n-per-question 1 --max-tokens 4
      circuit evaluate -m tiny --questions questions.yaml --steering-config steering.yaml \
        --n-per-question 2 --max-tokens 4 --criterion positive -o evaluation.csv
    """

    COMMAND: ClassVar[str] = "circuit.stages.evaluate.run:EVALUATE"

    model: ModelOptions = group(ModelOptions)
    questions: Path = option(
        "--questions", "-q", help="YAML or JSON: a list of questions, or a set.", unnamed=True
    )
    steering_config: Path | None = option(
        "--steering-config",
        "--steering_config_path",
        "-s",
        help="YAML with `vectors:`.",
        default=None,
        shown_default="none, the unsteered model",
    )
    n_per_question: int | None = option(
        "--n-per-question",
        "--n_per_question",
        help="Answers to each question.",
        default=None,
        minimum=1,
        shown_default="the file's samples_per_paraphrase, or 5",
    )
    together: bool = option(
        "--together", help="Answer also under all vectors at once.", default=False
    )
    criterion: list[str] | None = option(
        "--criterion",
        help="Count answers that meet it, as in circuit steer; again for several.",
        default=None,
    )
    controls: int = option(
        "--controls", help="Random directions of the same size.", default=0, minimum=0
    )
    max_tokens: int = option(
        "--max-tokens", "-n", help="Tokens to generate at most.", default=50, minimum=1
    )
    temperature: float = option("--temperature", help="0 is greedy.", default=1.0, minimum=0)
    output: TableOutput = group(TableOutput)
    chat: bool | None = chat_option(
        "the prompt set's, or chat if there is a template", help=TEMPLATE
    )
    system: str | None = option("--system", help="System message (with --chat).", default=None)
    seed: SeedOptions = group(SeedOptions)
    allow_other_model: bool = option(
        "--allow-other-model", help="Use a direction of another model.", default=False
    )
