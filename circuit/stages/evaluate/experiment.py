"""What an evaluation measures: questions under experimental arms, and how they are answered."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from circuit.artifacts.prompts.question_file import Question, Questions
from circuit.errors import UsageError
from circuit.methods.text.criteria import verdict
from circuit.stages.evaluate.request import EvaluateRequest
from circuit.stages.steering.controls import random_controls
from circuit.stages.steering.intervention import Intervention
from circuit.stages.steering.vectors import described
from circuit.values.prompt_format import PromptFormat
from circuit.values.sampling import Sampling

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel
    from circuit.model.interventions.steering import Steering

UNSTEERED, TOGETHER = "unsteered", "all together"
ANSWERS = 5  # a question, where neither the command nor the file says how many


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How often each question is asked, how answers are made, and by what they are judged."""

    n_per_question: int | None = None
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=1.0))
    criteria: tuple[str, ...] = ()
    together: bool = False
    controls: int = 0
    n_boot: int = 1000

    @classmethod
    def of(cls, request: EvaluateRequest) -> "EvaluationSettings":
        """Read the settings of a request."""
        return cls(
            n_per_question=request.n_per_question,
            sampling=Sampling(request.max_tokens, request.temperature, seed=request.seed.seed),
            criteria=tuple(request.criterion or ()),
            together=request.together,
            controls=request.controls,
        )

    def count(self, question: Question) -> int:
        """Return how many answers a question gets."""
        if self.n_per_question is not None:
            return self.n_per_question
        each = question.samples_per_paraphrase
        return ANSWERS if each is None else each * len(question.paraphrases)

    def parameters(self) -> dict[str, object]:
        """Return every setting, for the manifest."""
        others = {key: value for key, value in vars(self).items() if key != "sampling"}
        return {**others, **asdict(self.sampling)}

    def check(self, questions: Questions) -> None:
        """Raise what judging the answers would raise, and for answers that cannot differ."""
        for question in questions.asked:
            for criterion in self.criteria:
                verdict(criterion, "", expected=question.expected)
            several = self.count(question) > len(question.paraphrases)
            if self.sampling.temperature == 0 and several:
                message = f"at temperature 0 all answers to `{question.id}` would be alike"
                hint = "use --n-per-question 1, or a --temperature"
                raise UsageError("answers-alike", message, hint=hint, question=question.id)


@dataclass(frozen=True, eq=False)
class ExperimentalArm:
    """One experimental arm: its name, its interventions, and the vector that it controls for."""

    name: str
    interventions: tuple[Intervention, ...] = ()
    control_of: str | None = None

    @property
    def steerings(self) -> "list[Steering]":
        """What acts on the model."""
        return [steering for each in self.interventions for steering in each.at()]


@dataclass(frozen=True, eq=False)
class QuestionInArm:
    """One question under one experimental arm, and the rows of its answers."""

    arm: ExperimentalArm
    question: Question
    rows: range


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """A model, vectors, questions with their format, and settings."""

    model: "LoadedModel"
    vectors: Sequence[Intervention]
    questions: Questions
    form: PromptFormat
    settings: EvaluationSettings

    def parameters(self) -> dict[str, object]:
        """Return every choice that the answers depend on."""
        return {
            **self.settings.parameters(),
            "format": asdict(self.form),
            "vectors": [described(vector) for vector in self.vectors],
        }

    def arms(self) -> list[ExperimentalArm]:
        """List the unsteered model, each vector, all of them, and the controls of each."""
        own = [ExperimentalArm(vector.name, (vector,)) for vector in self.vectors]
        if self.settings.together:
            own.append(ExperimentalArm(TOGETHER, tuple(self.vectors)))
        controls = [control for arm in own for control in self._controls(arm)]
        return [ExperimentalArm(UNSTEERED), *own, *controls]

    def _controls(self, arm: ExperimentalArm) -> Iterator[ExperimentalArm]:
        """Replace the directions by random ones."""
        rng = np.random.default_rng(self.settings.sampling.seed)
        for number in range(1, self.settings.controls + 1):
            random = tuple(random_controls(each, 1, rng)[0] for each in arm.interventions)
            yield ExperimentalArm(f"{arm.name}: random {number}", random, arm.name)

    def planned(self) -> list[QuestionInArm]:
        """List every question under every arm, with the rows of its answers."""
        found, start = [], 0
        for arm in self.arms():
            for question in self.questions.asked:
                rows = range(start, start + self.settings.count(question))
                found.append(QuestionInArm(arm, question, rows))
                start = rows.stop
        return found
