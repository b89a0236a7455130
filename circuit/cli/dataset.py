"""``circuit dataset``: make, read, check and divide prompt sets."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from circuit.cli import console, dataset_text
from circuit.cli.options import Force, Json, Seed

app = typer.Typer(
    help="Make, read, check and divide prompt sets.", no_args_is_help=True, rich_markup_mode=None
)

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A prompt set, a template file, or a built-in set.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="The prompt set to write.")]


Column = str | None
TextColumn = Annotated[Column, typer.Option(help="Column of the prompts.", show_default="text")]
LabelColumn = Annotated[Column, typer.Option(help="Column of the labels.", show_default="label")]
GroupColumn = Annotated[
    Column, typer.Option(help="What splits keep together.", show_default="group")
]
PairColumn = Annotated[Column, typer.Option(help="What joins contrast pairs.", show_default="pair")]
CategoryColumn = Annotated[
    Column, typer.Option(help="Column of the categories.", show_default="category")
]


@app.command()
def create(
    output: Output,
    set_name: Annotated[
        str, typer.Option("--set", help="A built-in set, or a template file.")
    ] = "tool_calling",
    per_tool: Annotated[
        int | None, typer.Option(min=1, help="Prompts per tool.", show_default="25")
    ] = None,
    no_tool: Annotated[
        int | None, typer.Option(min=0, help="Prompts that need no tool.", show_default="100")
    ] = None,
    edge_cases: Annotated[
        bool, typer.Option("--edge-cases/--no-edge-cases", help="Ambiguous and multi-tool prompts.")
    ] = True,
    size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Prompts per class, or pairs (sets without tools).", show_default="100"
        ),
    ] = None,
    seed: Seed = 42,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw a labelled prompt set from templates.

    \b
    Examples:
      circuit dataset create -o more_prompts.json --per-tool 10 --no-tool 40
      circuit dataset create -o pairs.json --set arithmetic_format --size 20
    """
    from circuit.stages.dataset import create as dataset

    prompts = dataset.create(
        output,
        set_name=set_name,
        per_tool=per_tool,
        no_tool=no_tool,
        size=size,
        edge_cases=edge_cases,
        seed=seed,
        force=force,
    )
    data = dataset.summary(prompts)
    text = f"{dataset_text.summary(data)}\n\nSaved to: {output}"
    console.result({**data, "output": str(output)}, text, as_json=as_json)


@app.command()
def sets(as_json: Json = False) -> None:
    """List the built-in prompt sets, concepts and probes: wherever a prompt set is read here, their names will do.

    Of two of one name the set is meant, then the concept.

    \b
    Examples:
      circuit dataset sets
    """
    from circuit.stages.dataset import create as dataset

    data = dataset.builtin()
    header = ["set", "kind", "format", "templates", "tools", "labels"]
    rows = [
        [
            each["name"],
            each["kind"],
            each["format"],
            str(each["templates"]),
            str(each["tools"]),
            ", ".join(each["labels"]),
        ]
        for each in data
    ]
    described = "\n".join(f"{each['name']}: {each['description']}" for each in data)
    console.result(data, f"{console.table(header, rows)}\n\n{described}", as_json=as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the built-in prompt sets, as `dataset sets` does.

    \b
    Examples:
      circuit dataset list
    """
    sets(as_json=as_json)


@app.command()
def show(
    file: File,
    samples: Annotated[int, typer.Option(min=0, help="How many prompts to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Print what a prompt set holds, and some of its prompts.

    \b
    Examples:
      circuit dataset show prompts.json --samples 5
      circuit dataset show imperative
    """
    from circuit.stages.dataset import create as dataset

    prompts = dataset.load(file)
    data, shown = dataset.summary(prompts), dataset.sample(prompts, samples)
    title = f"Dataset: {data['name']} (v{data['version']})"
    lines = ["", "Sample prompts:", *map(dataset_text.sample, shown)] if shown else []
    text = "\n".join([title, *dataset_text.counts(data), *lines])
    console.result({**data, "samples": shown}, text, as_json=as_json)


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A JSON, JSONL, CSV or TSV file.")],
    output: Output,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    pair_column: PairColumn = None,
    category_column: CategoryColumn = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels in order; of two, the second is the positive class.")
    ] = None,
    prompt_format: Annotated[
        Literal["raw", "chat"] | None, typer.Option("--format", show_default="the file's, or raw")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the set.", show_default="the file's")
    ] = None,
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Keep the first of equal rows.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a prompt set of a JSON, JSONL, CSV or TSV file.

    Columns without an option of their own keep their names, or become metadata.

    \b
    Examples:
      circuit dataset import prompts.json -o imported.json
    """
    from circuit.stages.dataset import create as dataset
    from circuit.stages.dataset import import_table as dataset_import

    columns = {"text": text_column, "label": label_column, "group": group_column}
    columns |= {"pair": pair_column, "category": category_column}
    prompts = dataset_import.import_prompts(
        file,
        output,
        columns={field: column for field, column in columns.items() if column is not None},
        labels=labels and [label.strip() for label in labels.split(",")],
        prompt_format=prompt_format,
        name=name,
        drop_duplicates=drop_duplicates,
        force=force,
    )
    data = dataset.summary(prompts)
    if len(prompts.labels) == 2:
        console.note(f"The positive class is `{prompts.labels[1]}`; --labels changes that.")
    text = f"{dataset_text.summary(data)}\n\nSaved to: {output}"
    console.result({**data, "output": str(output)}, text, as_json=as_json)


@app.command()
def split(
    file: File,
    train: Annotated[Path, typer.Option(help="The larger part to write.")],
    test: Annotated[Path, typer.Option(help="The held-out part to write.")],
    test_fraction: Annotated[float, typer.Option(help="Share of the prompts to hold out.")] = 0.3,
    seed: Seed = 42,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Divide a prompt set into two parts that share no group, pair or text.

    \b
    Examples:
      circuit dataset split prompts.json --train train.json --test test.json
    """
    from circuit.stages.dataset import create as dataset
    from circuit.stages.dataset import split as dataset_split

    parts = dataset_split.split(
        file, train, test, test_fraction=test_fraction, seed=seed, force=force
    )
    data = {
        name: {**dataset.summary(part), "output": str(path)}
        for name, part, path in zip(("train", "test"), parts, (train, test), strict=True)
    }
    header = ["part", "prompts", "groups", *parts[0].labels, "file"]
    rows = [
        [
            name,
            *map(str, (each["prompts"], each["groups"], *each["labels"].values())),
            each["output"],
        ]
        for name, each in data.items()
    ]
    console.result(data, console.table(header, rows), as_json=as_json)


@app.command()
def check(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Prompt sets, template files, folders of them, or built-in sets.",
        ),
    ],
    bound: Annotated[
        float,
        typer.Option(min=0.5, max=1.0, help="AUROC that a baseline without a model may reach."),
    ] = 0.60,
    write: Annotated[bool, typer.Option("--write", help="Put the verdict into the file.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is wrong with a prompt set, and whether words or surface alone solve it; exits with 1 if it is not clean.

    \b
    Examples:
      circuit dataset check tool_decision
    """
    from circuit.stages.dataset import verdict as dataset_verdict

    meant = dataset_verdict.files_of(files)
    checked = [dataset_verdict.check(path, bound=bound, write=write) for path in meant]
    data = [each.as_dict() for each in checked]
    blocks = [dataset_text.checked(document) for document in data]
    if len(data) > 1:
        blocks.append(dataset_text.verdicts(data))
    console.result(data, "\n\n".join(blocks), as_json=as_json)
    if not all(each.verdict.clean for each in checked):
        raise typer.Exit(1)
