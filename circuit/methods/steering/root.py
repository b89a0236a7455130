"""Find c > 0 with f(c) = target for a positive, roughly growing f: regula falsi in logarithms.

With u = log c and g(u) = log f(c) − log target, a power law f ∝ c^k is a straight line, on which
the secant is exact. For a divergence, f ≈ ½ c² F at small c, so the first step assumes k = 2, and
is exact where that holds.

    1. from a start, follow the line of slope 2 (then of the last two points) by a factor of at most
       8, doubling or halving c where a step fell short, until two points bracket the target or a
       bound is reached
    2. inside the bracket take the secant's root. An endpoint that stays for a second time counts
       half (Illinois, Dowell & Jarratt 1971), so that a curve does not hold it forever. Take the
       middle in log c where the secant leaves the bracket, an endpoint is 0, or the last step left
       more than half of the bracket

Every value is evaluated once and kept. f = 0 lies below every target; a value that is negative
beyond rounding, NaN or infinite is an error and is never clamped. Where f jumps over the target
(greedy text turns into another text at some c) no c reaches it, and the status says so.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Literal

from circuit.errors import DataError

Function = Callable[[float], float]
Search = Generator[float, float, "Root"]  # yields each c that is wanted, is sent f(c)
Status = Literal["converged", "below", "above", "unresolved"]
FARTHEST = math.log(8)
NARROW = 5e-3  # a bracket this narrow in log c holds a jump


@dataclass(frozen=True)
class Root:
    """A c, its value f(c), the status, and every (c, f(c)) in the order of evaluation.

    ``below``: f stays below the target up to the upper bound; ``above``: f is above the target down
    to the lower bound; ``unresolved``: f passes the target within a bracket in which no step met
    it, and c is the end where f is below the target.
    """

    c: float
    value: float
    status: Status
    history: tuple[tuple[float, float], ...]

    @property
    def converged(self) -> bool:
        """Whether the value is within the tolerance of the target."""
        return self.status == "converged"


@dataclass
class _State:
    """The target, the evaluations so far, and how many are left."""

    target: float
    tolerance: float
    left: int
    history: list[tuple[float, float]] = field(default_factory=list)

    def at(self, u: float) -> Generator[float, float, float]:
        """Ask for f at e^u and return g: −∞ where f is 0."""
        c = math.exp(u)
        value = float((yield c))
        if not math.isfinite(value) or value < -1e-6:
            raise DataError(
                "invalid-value",
                f"the value at strength {c:.4g} is {value:g}, so no strength can be found",
                hint="use a smaller upper bound of the strength, or --dtype float32",
                strength=c,
                value=value,
            )
        self.left -= 1
        self.history.append((c, value))
        return math.log(value / self.target) if value > 0 else -math.inf

    def hits(self, g: float) -> bool:
        """Whether f is within the tolerance of the target."""
        return math.isfinite(g) and abs(math.expm1(g)) <= self.tolerance

    def ended(self, status: Status) -> Root:
        """Return the evaluated c whose value is nearest to the target."""
        c, value = min(self.history, key=lambda point: abs(point[1] - self.target))
        return Root(c, value, status, tuple(self.history))


def solve(
    f: Function,
    target: float,
    *,
    start: float = 0.4,
    bounds: tuple[float, float] = (2**-10, 2**6),
    tolerance: float = 0.05,
    evaluations: int = 12,
) -> Root:
    """Find c between ``bounds`` with f(c) within ``tolerance`` of ``target``, relative."""
    steps = search(target, start=start, bounds=bounds, tolerance=tolerance, evaluations=evaluations)
    try:
        c = next(steps)
        while True:
            c = steps.send(f(c))
    except StopIteration as done:
        found: Root = done.value
        return found


def search(
    target: float,
    *,
    start: float = 0.4,
    bounds: tuple[float, float] = (2**-10, 2**6),
    tolerance: float = 0.05,
    evaluations: int = 12,
) -> Search:
    """Search as ``solve`` does, for a caller that evaluates f itself."""
    if not 0 < target < math.inf or not 0 < bounds[0] < bounds[1] < math.inf:
        raise DataError(
            "invalid-bounds",
            "the target and the search bounds must be positive, lower < upper, "
            f"got target {target:g} and bounds {bounds[0]:g} to {bounds[1]:g}",
            target=target,
            bounds=bounds,
        )
    low, high = map(math.log, bounds)
    state = _State(target, tolerance, evaluations)
    u = min(max(math.log(start), low), high)
    points = [(u, (yield from state.at(u)))]
    while not state.hits(points[-1][1]):
        u, g = points[-1]
        if len(points) > 1 and (g > 0) != (points[-2][1] > 0):
            return (yield from _bracketed_root(state, *sorted(points[-2:])))
        if u == (high if g < 0 else low):
            return state.ended("below" if g < 0 else "above")
        if not state.left:
            return state.ended("unresolved")
        u = min(max(u + _stride(points), low), high)
        points.append((u, (yield from state.at(u))))
    return state.ended("converged")


def _stride(points: list[tuple[float, float]]) -> float:
    """Return the step in log c towards the target: along a slope, by a factor of 8 at most.

    Where a whole step fell short, the curve bends away from the target: then the factor is at least
    2, and 8 on a plateau.
    """
    (u, g), slope, least = points[-1], 2.0, 0.0
    if len(points) > 1:
        before, g_before = points[-2]
        least = 0.0 if abs(u - before) > FARTHEST - 1e-9 else math.log(2)
        steep = (g - g_before) / (u - before) if math.isfinite(g_before) else 0.0
        slope = steep if steep > 0.1 else slope
        least = FARTHEST if steep < 0.02 and math.isfinite(g_before) else least
    far = abs(g) / slope if math.isfinite(g) else math.inf
    return math.copysign(min(max(far, least), FARTHEST), -g)


def _bracketed_root(state: _State, a: tuple[float, float], b: tuple[float, float]) -> Search:
    """Find the root between ``a`` and ``b``, points on each side of the target, a.c < b.c."""
    weight, stayed, halve = {"a": 1.0, "b": 1.0}, "", False
    while state.left and b[0] - a[0] > NARROW:
        width = b[0] - a[0]
        u = (a[0] + b[0]) / 2 if halve else _secant_root(a, b, weight["a"], weight["b"])
        g = yield from state.at(u)
        if state.hits(g):
            return state.ended("converged")
        # The endpoint on the other side of the target stays.
        replaced, kept = ("a", "b") if (g > 0) == (a[1] > 0) else ("b", "a")
        a, b = ((u, g), b) if replaced == "a" else (a, (u, g))
        weight[replaced] = 1.0
        weight[kept] = weight[kept] / 2 if stayed == kept else 1.0
        stayed, halve = kept, b[0] - a[0] > width / 2
    c = math.exp(min(a, b, key=lambda end: end[1])[0])
    return Root(c, dict(state.history)[c], "unresolved", tuple(state.history))


def _secant_root(
    a: tuple[float, float], b: tuple[float, float], weight_a: float, weight_b: float
) -> float:
    """Return the root of the secant with weighted ends, else the middle of the bracket."""
    ga, gb = a[1] * weight_a, b[1] * weight_b
    middle = (a[0] + b[0]) / 2
    if not math.isfinite(ga) or not math.isfinite(gb) or abs(gb - ga) < 1e-6:
        return middle
    u = (a[0] * gb - b[0] * ga) / (gb - ga)
    margin = 0.02 * (b[0] - a[0])
    return u if a[0] + margin < u < b[0] - margin else middle
