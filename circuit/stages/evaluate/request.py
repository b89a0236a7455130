"""The files of an evaluation, read and checked before there is a model: questions, and vectors."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuit.artifacts.prompts.question_file import Questions
from circuit.artifacts.steering_files.config import SteeringConfig
from circuit.stages.evaluate.run import Choices, Evaluation, check_choices
from circuit.stages.rows.prompting import choose_format
from circuit.stages.steering.vectors import check_config, vectors_of
from circuit.values.prompt_format import PromptFormat


@dataclass(frozen=True)
class Files:
    """What the files say, and where they lie."""

    questions: Questions
    questions_path: Path
    config: SteeringConfig | None
    config_path: Path | None

    @classmethod
    def read(cls, questions: Path, config: Path | None) -> "Files":
        """Read both files; raise for what is wrong in them."""
        found = None if config is None else SteeringConfig.load(config)
        return cls(Questions.load(questions), questions, found, config)

    @property
    def paths(self) -> list[Path]:
        """Every file that is read, for the manifest."""
        if self.config is None or self.config_path is None:
            return [self.questions_path]
        held = self.config.files(self.config_path).values()
        return list(dict.fromkeys([self.questions_path, self.config_path, *held]))

    def check(self, choices: Choices) -> None:
        """Raise what can be known without a model."""
        check_choices(self.questions, choices)
        if self.config is not None and self.config_path is not None:
            check_config(self.config, self.config_path)

    def on(
        self,
        model: Any,
        choices: Choices,
        *,
        chat: bool | None,
        system: str | None,
        allow_other: bool = False,
    ) -> Evaluation:
        """Bring the model in: make its vectors, and choose the format in which it is asked."""
        form = self._format(model, chat, system)
        vectors = (
            []
            if self.config is None or self.config_path is None
            else vectors_of(model, self.config, self.config_path, form, allow_other=allow_other)
        )
        return Evaluation(model, vectors, self.questions, form, choices, self.paths)

    def _format(self, model: Any, chat: bool | None, system: str | None) -> PromptFormat:
        """Take a prompt set's own format; other questions are a user's, where there is a chat template."""
        if self.questions.source is not None:
            return choose_format(self.questions.source, chat=chat, system=system, tools=None)
        use_chat = bool(model.tokenizer.has_chat_template) if chat is None else chat
        return replace(PromptFormat(chat=use_chat), system=system)
