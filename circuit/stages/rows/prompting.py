"""How a prompt set becomes the prompts of a model: the format, in one place for every stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from circuit.artifacts.prompts.prompts import PromptSet
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import ArtifactError
from circuit.stages.options import FormatOptions
from circuit.values.json_values import parse_json
from circuit.values.prompt_format import PromptFormat

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.prompts.tokens import EncodedPrompt


def choose_format(
    prompt_set: PromptSet, *, chat: bool | None, system: str | None, tools: Path | None
) -> PromptFormat:
    """Take the prompt set's own format, system message and tools, where options name no others.

    A raw prompt has neither a system message nor tools, so those of the set are left out with it.
    """
    use_chat = prompt_set.format == "chat" if chat is None else chat
    own = prompt_set if use_chat else None
    listed = read_tools(tools) if tools is not None else (own.tools if own else None)
    return PromptFormat(
        chat=use_chat,
        system=system if system is not None else (own.system if own else None),
        tools=None if listed is None else tuple(listed),
    )


def format_for(
    prompts: PromptSet | Sequence[str],
    options: FormatOptions,
    *,
    made_in: str | None = None,
    model: "LoadedModel | None" = None,
) -> PromptFormat:
    """Choose the format of prompts to steer: the options', the prompt set's, then ``made_in``.

    ``made_in`` is the format in which the direction was made (``raw``, ``chat``; None: raw). Tools
    of the prompt set that the chat template of ``model`` does not show are left out.
    """
    if not isinstance(prompts, PromptSet):
        known = {"name": "plain", "format": made_in or "raw", "prompts": [{"text": "x"}]}
        prompts = PromptSet.model_validate(known)
    form = choose_format(prompts, chat=options.chat, system=options.system, tools=options.tools)
    return form if model is None else shown_format(model, form, options.tools)


def shown_format(model: "LoadedModel", form: PromptFormat, tools: Path | None) -> PromptFormat:
    """Leave out tools of a prompt set that the chat template does not show; `--tools` stay."""
    from circuit.model.prompts.rendering import with_known_tools

    return with_known_tools(model, form) if tools is None else form


def read_tools(path: Path) -> tuple[dict[str, object], ...]:
    """Read a JSON list of tool schemas, as chat templates take them."""
    form = "see datasets/tools.json for the form"
    try:
        tools = parse_json(path.read_bytes())
    except OSError as error:
        message = f"`{path}` cannot be read: {error.strerror}"
        hint = "--tools names a JSON file"
        raise ArtifactError("read-failed", message, hint=hint, path=str(path)) from error
    except ValueError as error:
        message = f"`{path}` is not JSON: {error}"
        raise ArtifactError("not-json", message, hint=form, path=str(path)) from error
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        message = f"`{path}` is not a list of tool schemas"
        raise ArtifactError("not-tool-schemas", message, hint=form, path=str(path))
    return tuple(dict(tool) for tool in tools)


def encode(
    model: "LoadedModel",
    texts: Sequence[str],
    form: PromptFormat,
    *,
    max_length: int | None = None,
    truncate: str = "left",
) -> "Sequence[EncodedPrompt]":
    """Turn texts into token ids in this format: see ``circuit.model.prompts.tokens``."""
    from circuit.model.prompts.tokens import encode_prompts

    return encode_prompts(model, texts, form, max_length=max_length, truncate=truncate)


def parse_prompts(spec: str) -> PromptSet | list[str]:
    """Read ``a|b``, ``@lines.txt`` or ``@prompts.json``; every space of a prompt is kept.

    A text file has one prompt a line. A prompt set brings its format, labels and groups along.
    """
    if not spec.startswith("@"):
        return spec.split("|")
    path = Path(spec[1:])
    if path.suffix == ".json":
        return read_prompts(path)
    try:
        # Not splitlines(): it also cuts at characters that may stand within a prompt.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        message = f"`{path}` cannot be read as a list of prompts: {reason}"
        hint = "-p takes a|b, @lines.txt or @prompts.json"
        raise ArtifactError("read-failed", message, hint=hint, path=str(path)) from error
    return [line for line in lines if line]


def texts_of(prompts: PromptSet | list[str]) -> list[str]:
    """Return the texts of the prompts, spaces kept."""
    return prompts.texts if isinstance(prompts, PromptSet) else prompts


def prompt_texts(spec: str) -> list[str]:
    """Read the texts of prompts that are given as ``parse_prompts`` takes them."""
    return texts_of(parse_prompts(spec))
