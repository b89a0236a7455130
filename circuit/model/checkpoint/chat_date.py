"""The date that a chat template is told: one for all runs, unless ``CIRCUIT_DATE`` names another.

Templates such as Llama 3's write today's date into the prompt (``strftime_now``), so that the same
command gives other states on another day, and shards of two days would join. The date is part of
the tokenizer's identity where the template asks for it: recorded in the manifest, and compared on
reuse, resume and join.
"""

import json
import os
from datetime import date, datetime, time

from circuit.errors import UsageError

DEFAULT = "2026-01-01"


def date_of(template: object) -> str | None:
    """Return the date as YYYY-MM-DD where a chat template asks for it, else None."""
    return chat_date().date().isoformat() if "strftime_now" in json.dumps(template) else None


class _Clock:
    """What ``datetime`` is to transformers' chat templates: ``strftime_now`` asks it only."""

    @staticmethod
    def now() -> datetime:
        return chat_date()


def use_chat_date() -> None:
    """Tell chat templates this date; a function that is given to a template becomes its name."""
    from transformers.utils import chat_template_utils

    chat_template_utils.datetime = _Clock


def chat_date() -> datetime:
    """Return midnight of the date; raise ``UsageError`` for one that is none."""
    text = os.environ.get("CIRCUIT_DATE", DEFAULT)
    try:
        return datetime.combine(date.fromisoformat(text), time())
    except ValueError as error:
        raise UsageError(
            "not-a-date",
            f"`CIRCUIT_DATE` is `{text}`, which is not a date",
            hint="write it as YYYY-MM-DD, or unset it",
            value=text,
        ) from error
