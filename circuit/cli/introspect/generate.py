"""``circuit introspect generate``."""

from typing import Annotated, Any

import typer

from circuit.cli import console
from circuit.cli.options import (
    Adapter,
    Dtype,
    Force,
    Json,
    MaxTokens,
    Model,
    RawOrTemplate,
    RemoteCode,
    Revision,
    SaveJson,
    Seed,
)
from circuit.values.sampling import Sampling


def command(
    model: Model,
    prompt: Annotated[
        str,
        typer.Option("--prompt", "--prompts", "-p", help="a|b, @lines.txt or @prompts.json."),
    ],
    max_tokens: MaxTokens = 10,
    temperature: Annotated[
        float, typer.Option("--temperature", "-t", min=0, help="0 is greedy.")
    ] = 0.0,
    compare_format: Annotated[
        bool,
        typer.Option(
            "--compare-format", help="Ask with and without a blank at the end, raw and as chat."
        ),
    ] = False,
    show_tokens: Annotated[
        bool, typer.Option("--show-tokens", help="Show every token of the answers.")
    ] = False,
    expected: Annotated[
        str | None,
        typer.Option(
            "--expected",
            help="What the answer is: one text, or a|b [default: the set's, or the value of a sum].",
        ),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            "--criterion",
            "-c",
            help="What counts as the answer instead: number, function_call, regex:PATTERN, or a text.",
        ),
    ] = None,
    raw: RawOrTemplate = None,
    output: SaveJson = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    revision: Revision = None,
    adapter: Adapter = None,
    trust_remote_code: RemoteCode = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Let the model answer, in several formats, and see at which token the answer begins.

    \b
    Examples:
      circuit introspect generate -m tiny -p "2 + 2 =" --compare-format --show-tokens
      circuit introspect generate -m tiny -p "50 + 25 = |31 + 4 = " --raw --expected "75|35" -n 4 -o answers.json
    """
    from circuit.cli.generation_text import generation_text
    from circuit.introspect.output.saved import refuse_existing, save
    from circuit.introspect.questions.generate import expected_texts, generate_answers
    from circuit.stages.legacy import ModelOptions
    from circuit.stages.rows.prompt_input import read_prompt_input

    given = read_prompt_input(prompt)
    expected_texts(given, expected, criterion)
    how = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed, "raw": raw}
    asked = {"compare_format": compare_format, "expected": expected, "criterion": criterion}
    parameters = {"prompts": given.texts, **how, **asked}
    files: dict[str, Any] = {"inputs": given.inputs, "force": force}
    refuse_existing([(output, "answers")], parameters, **files)
    console.note(f"Loading model: {model}")
    loaded = ModelOptions(model, revision, adapter, dtype, trust_remote_code).load()
    found = generate_answers(
        loaded,
        given,
        Sampling(max_tokens, temperature, seed=seed),
        raw=raw,
        compare_format=compare_format,
        expected=expected,
        criterion=criterion,
    )
    results: dict[str, Any] = {"model": loaded.id, **found.as_dict()}
    if output is not None:
        save(output, "answers", results, parameters=parameters, model=loaded, **files)
    text = generation_text(results, show_tokens=show_tokens)
    console.result(results, text, as_json=as_json)
