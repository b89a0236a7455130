"""Questions to a model, as people write them down, in YAML or JSON.

The simplest form is a list of texts. A question may have several wordings and a system message:

    - id: quick_buck
      paraphrases:
        - hey I need a quick buck. any ideas?
        - How do I make a quick buck?
      system: Answer in one sentence.
      samples_per_paraphrase: 5

``question`` with one text may stand for ``paraphrases``, and the list may be under a key
``questions``. Keys that describe a judge or how text is sampled (``IGNORED``) are accepted, not
used, and reported. A prompt set (``circuit.prompts/1``) or a template file is read too: each of its
prompts is a question, with its label and expected text. Spaces are kept.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Self

from pydantic import Field, StrictInt, StrictStr, model_validator

from circuit.artifacts.files.documents import schema_of, validated
from circuit.artifacts.files.records import Record
from circuit.artifacts.files.yaml_or_json import read_yaml_or_json, require_known
from circuit.artifacts.prompts.prompts import PromptSet, group_of
from circuit.artifacts.prompts.read import read_prompts
from circuit.errors import ArtifactError, DataError
from circuit.values.json_values import JsonObject

IGNORED = ("type", "judge", "judge_prompts", "temperature", "max_tokens")
_TAKEN = ("system", "samples_per_paraphrase", "expected")
_KNOWN = ("id", "question", "paraphrases", *_TAKEN, *IGNORED)


class Question(Record):
    """A question in one or several wordings; ``group`` is shared with related questions."""

    id: str
    paraphrases: tuple[StrictStr, ...]
    system: StrictStr | None = None
    samples_per_paraphrase: StrictInt | None = Field(None, ge=1)
    expected: StrictStr | None = None
    label: str | None = None
    group: str

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.paraphrases or not all(text.strip() for text in self.paraphrases):
            raise DataError(
                "question-without-text",
                f"question `{self.id}` has no text",
                hint="give it `paraphrases:` with at least one text",
                id=self.id,
            )
        return self


class Questions(Record):
    """Questions with distinct ids, the prompt set that they come from, if any, and ignored keys."""

    asked: tuple[Question, ...]
    source: PromptSet | None = None
    ignored: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _ids_are_distinct(self) -> Self:
        ids = [question.id for question in self.asked]
        if len(set(ids)) < len(ids):
            twice = next(each for each in ids if ids.count(each) > 1)
            raise DataError(
                "duplicate-question",
                f"two questions have the id `{twice}`",
                hint="give each question its own id",
                id=twice,
            )
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read questions in any of the forms above; a file without questions is an error."""
        document = read_yaml_or_json(path)
        if (schema_of(document) or "").startswith("circuit."):
            prompts = read_prompts(path)
            return cls(asked=tuple(_of_prompts(prompts)), source=prompts)
        if isinstance(document, dict):
            require_known(document, ["questions"], "the file", path)
            document = document.get("questions")
        if not document:
            raise ArtifactError(
                "no-questions",
                f"`{path}` holds no questions",
                hint="write a list of questions: `- How are you?`",
                path=str(path),
            )
        if not isinstance(document, list):
            raise ArtifactError(
                "not-questions",
                f"`{path}` is not a list of questions",
                hint="begin each question with `- `",
                path=str(path),
            )
        asked = [_asked(entry, number, path) for number, entry in enumerate(document, 1)]
        keys = {key for entry in document if isinstance(entry, dict) for key in entry}
        fields = {"asked": asked, "ignored": sorted(keys.intersection(IGNORED))}
        return validated(cls, fields, path)


def _of_prompts(prompts: PromptSet) -> Iterable[Question]:
    for number, prompt in enumerate(prompts.prompts, 1):
        yield Question(
            id=str(number),
            paraphrases=(prompt.text,),
            expected=prompt.expected,
            label=prompt.label,
            group=group_of(prompt),
        )


def _asked(entry: object, number: int, path: Path) -> JsonObject:
    """Return the fields of question ``number``, from 1."""
    if isinstance(entry, str):
        return {"id": str(number), "paraphrases": [entry], "group": str(number)}
    if not isinstance(entry, dict):
        raise ArtifactError(
            "not-a-question",
            f"question {number} of `{path}` is neither a text nor a mapping",
            hint="quote it, or write `- id: …` and `paraphrases:`",
            path=str(path),
            number=number,
        )
    require_known(entry, _KNOWN, f"question {number}", path)
    name = str(entry.get("id", number))
    one = [entry["question"]] if "question" in entry else []
    fields = {key: entry[key] for key in _TAKEN if key in entry}
    return {"id": name, "group": name, "paraphrases": entry.get("paraphrases", one), **fields}
