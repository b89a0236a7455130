"""The requests of ``circuit dataset``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from circuit.stages.options import SeedOptions
from circuit.values.requests import argument, group, option

FILE = "A prompt set, a template file, or a built-in set."


@dataclass(frozen=True, kw_only=True)
class PromptSetOutput:
    """The prompt set that is written."""

    output: Path = option("--output", "-o", help="The prompt set to write.")
    force: bool = option("--force", help="Replace output that exists.", default=False)


@dataclass(frozen=True, kw_only=True)
class CreateRequest:
    """Draw a labelled prompt set from templates.

    Examples:
      circuit dataset create -o more_prompts.json --per-tool 10 --no-tool 40
      circuit dataset create -o pairs.json --set arithmetic_format --size 20
    """

    COMMAND: ClassVar[str] = "circuit.stages.dataset.create:CREATE"

    output: PromptSetOutput = group(PromptSetOutput)
    set_name: str = option(
        "--set", help="A built-in set, or a template file.", default="tool_calling", unnamed=True
    )
    per_tool: int | None = option(
        "--per-tool", help="Prompts per tool.", default=None, minimum=1, shown_default="25"
    )
    no_tool: int | None = option(
        "--no-tool",
        help="Prompts that need no tool.",
        default=None,
        minimum=0,
        shown_default="100",
    )
    edge_cases: bool = option(
        "--edge-cases/--no-edge-cases", help="Ambiguous and multi-tool prompts.", default=True
    )
    size: int | None = option(
        "--size",
        help="Prompts per class, or pairs (sets without tools).",
        default=None,
        minimum=1,
        shown_default="100",
    )
    seed: SeedOptions = group(SeedOptions, seed=42)


@dataclass(frozen=True, kw_only=True)
class SetsRequest:
    """List the built-in prompt sets, concepts and probes; their names are read like files.

    Where a set and a concept have one name, it names the set.

    Examples:
      circuit dataset sets
    """

    COMMAND: ClassVar[str] = "circuit.stages.dataset.describe:SETS"


@dataclass(frozen=True, kw_only=True)
class ListRequest:
    """List the built-in prompt sets, as `dataset sets` does.

    Examples:
      circuit dataset list
    """

    COMMAND: ClassVar[str] = "circuit.stages.dataset.describe:SETS"


@dataclass(frozen=True, kw_only=True)
class ShowRequest:
    """Print the counts of a prompt set, and some of its prompts.

    Examples:
      circuit dataset show prompts.json --samples 5
      circuit dataset show imperative
    """

    COMMAND: ClassVar[str] = "circuit.stages.dataset.describe:SHOW"

    file: Path = argument(help=FILE)
    samples: int = option("--samples", help="How many prompts to show.", default=10, minimum=0)


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """Make a prompt set of a JSON, JSONL, CSV or TSV file.

    Columns without an option of their own keep their names, or become metadata.

    Examples:
      circuit dataset import prompts.json -o imported.json
    """

    COMMAND: ClassVar[str] = "circuit.stages.dataset.import_table:IMPORT"

    file: Path = argument(help="A JSON, JSONL, CSV or TSV file.")
    output: PromptSetOutput = group(PromptSetOutput)
    text_column: str | None = option(
        "--text-column", help="Column of the prompts.", default=None, shown_default="text"
    )
    label_column: str | None = option(
        "--label-column", help="Column of the labels.", default=None, shown_default="label"
    )
    group_column: str | None = option(
        "--group-column", help="What splits keep together.", default=None, shown_default="group"
    )
    pair_column: str | None = option(
        "--pair-column", help="What joins contrast pairs.", default=None, shown_default="pair"
    )
    category_column: str | None = option(
        "--category-column",
        help="Column of the categories.",
        default=None,
        shown_default="category",
    )
    labels: str | None = option(
        "--labels",
        help="Labels in order; of two, the second is the positive class.",
        default=None,
    )
    prompt_format: Literal["raw", "chat"] | None = option(
        "--format",
        help="Raw text or the user's turn of a chat.",
        default=None,
        shown_default="the file's, or raw",
    )
    name: str | None = option(
        "--name", help="Name of the set.", default=None, shown_default="the file's"
    )
    drop_duplicates: bool = option(
        "--drop-duplicates", help="Keep the first of equal rows.", default=False
    )

    @property
    def columns(self) -> dict[str, str]:
        """The column of each field that has one of another name."""
        named = {
            "text": self.text_column,
            "label": self.label_column,
            "group": self.group_column,
            "pair": self.pair_column,
            "category": self.category_column,
        }
        return {field: column for field, column in named.items() if column is not None}


@dataclass(frozen=True, kw_only=True)
class SplitRequest:
    """Divide a prompt set into two parts that share no group, pair or text.

    Examples:
      circuit dataset split prompts.json --train train.json --test test.json
    """

    COMMAND: ClassVar[str] = "circuit.stages.dataset.split:SPLIT"

    file: Path = argument(help=FILE)
    train: Path = option("--train", help="The larger part to write.")
    test: Path = option("--test", help="The held-out part to write.")
    test_fraction: float = option(
        "--test-fraction", help="Share of the prompts to hold out.", default=0.3
    )
    seed: SeedOptions = group(SeedOptions, seed=42)
    force: bool = option("--force", help="Replace output that exists.", default=False)


@dataclass(frozen=True, kw_only=True)
class CheckRequest:
    """Report problems of a prompt set, and whether words alone solve it; exits with 1 if not clean.

    Examples:
      circuit dataset check tool_decision
    """

    COMMAND: ClassVar[str] = "circuit.stages.dataset.verdict:CHECK"

    files: list[str] = argument(
        help="Prompt sets, template files, folders of them, or built-in sets."
    )
    bound: float = option(
        "--bound",
        help="AUROC that a baseline without a model may reach.",
        default=0.60,
        minimum=0.5,
        maximum=1.0,
    )
    write: bool = option("--write", help="Put the verdict into the file.", default=False)
