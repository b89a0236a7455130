"""Strength rules: what coefficient 1 of an intervention is (h: residual, v: unit direction).

    norm          h' = h + c · v · ‖h‖, the token's own norm (the default)
    raw           c times the direction's natural length, ‖μ⁺ − μ⁻‖
    projection    c = 1 moves the mean of the negative class, along v, to that of the positive one
    median-norm   c times the median ‖h‖ at that layer, over the tokens of neutral prompts but the
                  first
    kl:X          rule ``norm``, with c in units of the c* at which the KL divergence on neutral
                  prompts is X nats (``circuit.stages.steering.strength``)

A rule is one entry of ``RULES``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from circuit.artifacts.directions.direction import Direction
from circuit.errors import UsageError
from circuit.stages.options import ActionOptions
from circuit.stages.steering.intervention import Intervention, Term
from circuit.stages.steering.neutral import neutral_prompts
from circuit.stages.steering.rollouts import prepared
from circuit.stages.steering.strength import calibrated
from circuit.values.prompt_format import PromptFormat
from circuit.values.sites import Site

if TYPE_CHECKING:
    from circuit.model.checkpoint.loading import LoadedModel

Resolve = Callable[["LoadedModel", Intervention, PromptFormat, float], Intervention]


@dataclass(frozen=True)
class StrengthRule:
    """How the units and the factor of an intervention are found; by default coefficient 1 is ‖h‖.

    ``unit`` is the length of coefficient 1, known from the direction alone. ``resolve`` needs the
    model, the format of neutral prompts, and the number after the colon (0 where there is none).
    """

    unit: Callable[[Direction], float] | None = None
    resolve: Resolve | None = None
    example: str = ""  # how a rule with a number is written
    fits_fractions: bool = False  # for operators whose coefficient is a fraction, not a length
    calibrates: bool = False


# Methods whose vector is a difference of means: its natural length is the distance along it.
_MEANS = ("mean_diff", "mean_centered", "pair", "single")


def _along(direction: Direction) -> float:
    """Return how far the class means lie apart along a direction."""
    along = direction.extra.get("along")
    if along is None and direction.method in _MEANS:
        along = direction.norm
    if along is None:
        message = f"direction `{direction.name}` has no class distance, which `projection` needs"
        hint = "fit it with `circuit directions`, or use --rule raw"
        raise UsageError("no-class-distance", message, hint=hint, direction=direction.name)
    return float(along)


def _median_norm(
    model: "LoadedModel",
    intervention: Intervention,
    form: PromptFormat,
    number: float,  # noqa: ARG001
) -> Intervention:
    from circuit.model.forward.norms import median_norms

    sites = [Site(term.direction.site, term.direction.layer) for term in intervention.terms]
    norms = median_norms(model, neutral_prompts(model, form), list(dict.fromkeys(sites)))
    return _with_units(intervention, [norms[site] for site in sites])


def _iso_kl(
    model: "LoadedModel", intervention: Intervention, form: PromptFormat, number: float
) -> Intervention:
    neutral = prepared(model, neutral_prompts(model, form))
    return calibrated(model, intervention, neutral, number)


def _with_units(intervention: Intervention, units: Iterable[float]) -> Intervention:
    terms = zip(intervention.terms, units, strict=True)
    return replace(intervention, terms=tuple(replace(term, unit=unit) for term, unit in terms))


RULES = {
    "norm": StrengthRule(fits_fractions=True),
    "raw": StrengthRule(unit=lambda direction: direction.norm),
    "projection": StrengthRule(unit=_along),
    "median-norm": StrengthRule(resolve=_median_norm),
    "kl": StrengthRule(resolve=_iso_kl, example="kl:1.0", calibrates=True),
}


def find_rule(text: str) -> tuple[StrengthRule, float]:
    """Return the rule that ``text`` names, and the number after its colon (0: it takes none)."""
    name, colon, number = text.partition(":")
    rule = RULES.get(name)
    if rule is None or (colon and not rule.example):
        known = ", ".join(each.example or key for key, each in RULES.items())
        message = f"unknown strength rule `{text}`"
        raise UsageError("unknown-rule", message, hint=f"use one of: {known}", rule=text)
    return rule, _positive(number, text, rule.example) if rule.example else 0.0


def _positive(number: str, rule: str, example: str) -> float:
    try:
        found = float(number)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        message = f"strength rule `{rule}` needs a positive number"
        hint = f"write for example {example}"
        raise UsageError("rule-without-number", message, hint=hint, rule=rule)
    return found


def check_action(action: ActionOptions, coefficients: Sequence[float] = ()) -> None:
    """Raise ``UsageError`` for unknown rules, operators, scopes and unsuitable coefficients."""
    from circuit.model.forward.scopes import parse_scope
    from circuit.model.interventions.operators import find_operator

    for coefficient in (0.0, *coefficients):
        operator = find_operator(action.operator, coefficient)
    parse_scope(action.scope)
    rule, _ = find_rule(action.rule)
    if operator.takes_fraction and not rule.fits_fractions:
        message = (
            f"operator `{action.operator}` takes a fraction; `--rule {action.rule}` does not apply"
        )
        raise UsageError("option-not-applicable", message, hint="leave out --rule")


def check_uncalibrated(rule: str) -> None:
    """Raise ``UsageError`` for a rule that calibrates, where the strength is what is looked for."""
    if find_rule(rule)[0].calibrates:
        message = f"`--rule {rule}` sets the strength, which this command looks for itself"
        hint = "give the divergence with --kl, and leave out --rule"
        raise UsageError("option-not-applicable", message, hint=hint, rule=rule)


def resolve(
    model: "LoadedModel", terms: Sequence[Term], action: ActionOptions, form: PromptFormat
) -> Intervention:
    """Return the intervention with its units and factor; ``form`` is the format of neutral prompts.

    Raises ``UsageError`` where a direction lacks what the rule needs.
    """
    check_action(action)
    rule, number = find_rule(action.rule)
    found = Intervention(tuple(terms), action)
    if rule.unit is not None:
        found = _with_units(found, [rule.unit(term.direction) for term in terms])
    return found if rule.resolve is None else rule.resolve(model, found, form, number)
