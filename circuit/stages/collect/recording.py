"""What a collection records, in the spelling of the command line."""

from collections.abc import Sequence
from dataclasses import dataclass

from circuit.artifacts.archive.dtypes import float_spelling
from circuit.artifacts.prompts.prompts import PromptSet
from circuit.stages.collect.answers import AnswerOptions, check_criteria


@dataclass(frozen=True)
class Recording:
    """What to record.

    ``batch_tokens`` None is measured; ``answers`` None records none.
    """

    layers: str = "all"
    sites: str = "resid_post"
    positions: str | Sequence[str] = "last"
    max_length: int | None = None
    truncate: str = "left"
    batch_tokens: int | None = None
    share_prefix: bool = True
    dtype: str = "float32"
    answers: AnswerOptions | None = None

    def check(self, prompts: PromptSet) -> None:
        """Raise what can be known to be wrong before a model is loaded."""
        from circuit.model.prompts.positions import parse_positions
        from circuit.model.prompts.tokens import check_side

        float_spelling(self.dtype)
        check_side(self.truncate)
        parse_positions(self.positions)
        if self.answers is not None:
            check_criteria(prompts, self.answers)
