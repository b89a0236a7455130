"""Commands that do something by themselves and also have verbs: ``circuit directions``, ``circuit steer``."""

from typing import Any

from typer.core import TyperGroup


class WorksWithoutAVerb(TyperGroup):
    """A group whose own options are those of its work: before a verb none of them is required."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Require the group's own options only where no verb comes first, misspelt ones included."""
        ctx.resilient_parsing = bool(args) and not args[0].startswith("-")
        try:
            return super().parse_args(ctx, args)
        finally:
            ctx.resilient_parsing = False
