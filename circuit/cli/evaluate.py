"""``circuit evaluate``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.evaluation_text import evaluation_text
from circuit.cli.options import (
    Adapter,
    AllowOtherModel,
    Chat,
    Dtype,
    Force,
    Json,
    MaxTokens,
    Model,
    RemoteCode,
    Revision,
    Seed,
    System,
    Temperature,
)
from circuit.values.sampling import Sampling


def evaluate(
    model: Model,
    questions: Annotated[
        Path,
        typer.Option("--questions", "-q", help="YAML or JSON: a list of questions, or a set."),
    ],
    steering_config: Annotated[
        Path | None,
        typer.Option(
            "--steering-config",
            "--steering_config_path",
            "-s",
            help="YAML with `vectors:` [default: none, the model as it is].",
        ),
    ] = None,
    n_per_question: Annotated[
        int | None,
        typer.Option(
            "--n-per-question",
            "--n_per_question",
            min=1,
            help="Answers to each question [default: the file's samples_per_paraphrase, or 5].",
        ),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="Answer also under all vectors at once.")
    ] = False,
    criterion: Annotated[
        list[str] | None,
        typer.Option(
            "--criterion",
            help="Count answers that meet it, as in circuit steer; the option again for several.",
        ),
    ] = None,
    controls: Annotated[
        int, typer.Option("--controls", min=0, help="Random directions of the same size.")
    ] = 0,
    max_tokens: MaxTokens = 50,
    temperature: Temperature = 1.0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Save to NAME.json; NAME.csv writes a table as well."),
    ] = None,
    chat: Chat = None,
    system: System = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    allow_other_model: AllowOtherModel = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Answer questions under each steering vector of a file, beside the model as it is, and measure the answers.

    Coefficient 1 adds a vector as it is: one whole difference of its two prompts. With `normalize: true` the
    vector has length 1; `rule: norm` (or another rule of circuit steer) says otherwise. A run that was killed goes on.

    \b
    Examples:
      circuit evaluate -m tiny --questions questions.yaml --n-per-question 1 --max-tokens 4
      circuit evaluate -m tiny --questions questions.yaml --steering-config steering.yaml --n-per-question 2 --max-tokens 4 --criterion positive -o evaluation.csv
    """
    from circuit.stages.evaluate.run import Choices
    from circuit.stages.legacy import ModelOptions

    choices = Choices(
        n_per_question,
        Sampling(max_tokens, temperature, seed=seed),
        tuple(criterion or ()),
        together,
        controls,
    )
    results = _evaluate(
        ModelOptions(model, revision, adapter, dtype, trust_remote_code),
        questions,
        steering_config,
        choices,
        {"chat": chat, "system": system},
        output,
        allow_other=allow_other_model,
        force=force,
    )
    console.result(results, evaluation_text(results), as_json=as_json)


def _evaluate(
    options: Any,
    questions: Path,
    steering_config: Path | None,
    choices: Any,
    form: dict[str, Any],
    output: Path | None,
    *,
    allow_other: bool,
    force: bool,
) -> Any:
    from circuit.stages.evaluate.request import Files
    from circuit.stages.evaluate.run import evaluate

    files = Files.read(questions, steering_config)
    files.check(choices)
    if files.questions.ignored:
        console.note(f"not used: {', '.join(files.questions.ignored)} (of `{questions}`)")
    console.note(f"Loading model: {options.id}")
    job = files.on(options.load(), choices, **form, allow_other=allow_other)
    is_table = output is not None and output.suffix == ".csv"
    results, reused = evaluate(
        job,
        output.with_suffix("") if output is not None and is_table else output,
        csv=output if is_table else None,
        force=force,
        track=console.track,
    )
    if reused:
        console.note("this run is there already: nothing was generated again (--force repeats it)")
    return results
