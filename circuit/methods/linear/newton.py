"""Many L2 logistic regressions on the same rows at once: Newton's method, conjugate gradients.

Problem p (a penalty, a choice of rows, a labelling) minimises over w_pk and an unpenalised
intercept b_pk

    Σ_i a_ip · loss(y_ip, x_i · w_p + b_p) + ½ λ_p ‖w_p‖² ,   λ = 1/C as in scikit-learn,

with the logistic loss for K = 1 and the softmax loss for K classes. w = Xᵀα lies in the row space,
and so do gradients and steps, so that everything is computed on α with the inner product
⟨Xᵀα, Xᵀβ⟩ = αᵀX Xᵀβ (``products``):

    gradient   ρ = a(p − y) + λα ,  Σ a(p − y)
    Hessian    δ, β ↦ a p(1−p)(X Xᵀδ + β) + λδ ,  Σ a p(1−p)(X Xᵀδ + β)

One step of the conjugate gradients is one product with X Xᵀ for all problems; no decomposition is
needed. A problem that has converged leaves the batch: when Newton's decrement predicts a gain below
``tolerance`` nats per row. 1e-9 gives probabilities within 1e-5 of scikit-learn's; 1e-5 is enough
to compare penalties.
"""

from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.linear.products import Products

EXACT, ROUGH = 1e-9, 1e-5
MAX_NEWTON, MAX_CG, MAX_HALVINGS = 60, 100, 12
TINY = 1e-30
SOLVED = 1e-12  # nats per row still to gain


@dataclass
class _State:
    """Current solutions, or a step: coefficients and logits (P, K, n), intercepts (P, K, 1)."""

    alpha: Array
    bias: Array
    image: Array  # X Xᵀα, without the intercept

    def moved(self, step: "_State", size: Array) -> "_State":
        return _State(
            self.alpha + size * step.alpha,
            self.bias + size * step.bias,
            self.image + size * step.image,
        )

    def select(self, keep: Array) -> "_State":
        return _State(self.alpha[keep], self.bias[keep], self.image[keep])


@dataclass
class _Batch:
    """The problems that are still being solved: arrays over problems P, outputs K and rows n."""

    gram: Products
    Y: Array  # (P, K, n)
    weights: Array  # (P, 1, n)
    ridge: Array  # (P, 1, 1)
    size: float  # mean eigenvalue of X Xᵀ

    def select(self, keep: Array) -> "_Batch":
        return _Batch(self.gram, self.Y[keep], self.weights[keep], self.ridge[keep], self.size)

    def product(self, V: Array) -> Array:
        """V X Xᵀ for each problem and output."""
        return self.gram.of(V.reshape(-1, V.shape[2])).reshape(V.shape)

    def objective(self, at: _State) -> Array:
        Z = at.image + at.bias
        several = Z.shape[1] > 1
        # Softmax counts the true class, the logistic loss both.
        loss = self.Y * _log_sum(Z, 1) if several else _softplus(Z)
        size = (at.alpha * at.image).sum((1, 2))
        return np.asarray(
            (self.weights * (loss - self.Y * Z)).sum((1, 2)) + 0.5 * self.ridge[:, 0, 0] * size
        )

    def probabilities(self, at: _State) -> Array:
        Z = at.image + at.bias
        if Z.shape[1] == 1:
            return np.asarray(np.exp(-_softplus(-Z)))
        return np.asarray(np.exp(Z - _log_sum(Z, 1)))


def fit_logistic(
    inside: Products,
    Y: Array,
    penalty: Array,
    *,
    weights: Array | None = None,
    start: Array | None = None,
    tolerance: float = EXACT,
) -> Array:
    """Fit every problem; return α with the intercept as last row, (n + 1, P, K).

    ``inside`` are the products of the n rows, ``Y`` (n, P, K) in {0, 1} (one column for two
    classes), ``penalty`` (P,) = 1/C, ``weights`` (n, P) of the rows, 1 by default; ``start`` is a
    solution of similar problems.
    """
    n, P, K = Y.shape
    targets = np.ascontiguousarray(Y.transpose(1, 2, 0), dtype=np.float64)
    a = np.ones((P, 1, n)) if weights is None else weights.T[:, None, :].astype(np.float64)
    batch = _Batch(inside, targets, a, penalty[:, None, None].astype(np.float64), inside.size)
    alpha = np.zeros((P, K, n)) if start is None else start[:-1].transpose(1, 2, 0)
    bias = np.zeros((P, K, 1)) if start is None else start[-1][:, :, None]
    found = np.concatenate([alpha, bias], axis=2)
    at, active = _State(alpha, bias, batch.product(alpha).astype(np.float64)), np.arange(P)
    for _ in range(MAX_NEWTON):
        at, decrement = _newton_step(batch, at)
        found[active] = np.concatenate([at.alpha, at.bias], axis=2)
        going = decrement > tolerance * n
        if not going.any():
            break
        batch, at, active = batch.select(going), at.select(going), active[going]
    return np.ascontiguousarray(found.transpose(2, 0, 1))


def predict(outside: Products, W: Array) -> Array:
    """Logits (m, P, K) of rows from their products with the training rows."""
    n, P, K = len(W) - 1, *W.shape[1:]
    Z = outside.of(W[:-1].reshape(n, P * K).T).T.astype(np.float64) + W[-1].reshape(1, P * K)
    return np.asarray(Z.reshape(-1, P, K))


def log_probabilities(Z: Array) -> Array:
    """Log-probability of each class (n, P, classes) from logits; one logit means two classes."""
    if Z.shape[2] == 1:
        return np.concatenate([-_softplus(Z), -_softplus(-Z)], axis=2)
    return np.asarray(Z - _log_sum(Z, 2))


def _softplus(Z: Array) -> Array:
    """Return log(1 + exp Z); twice as fast as logaddexp."""
    return np.asarray(np.log1p(np.exp(-np.abs(Z))) + np.maximum(Z, 0))


def _log_sum(Z: Array, axis: int) -> Array:
    top = Z.max(axis=axis, keepdims=True)
    return np.asarray(top + np.log(np.exp(Z - top).sum(axis=axis, keepdims=True)))


def _newton_step(batch: _Batch, at: _State) -> tuple[_State, Array]:
    """Move every problem once; return where it is and the decrease that was predicted."""
    p = batch.probabilities(at)
    error = batch.weights * (p - batch.Y)
    slope, slope_bias = error + batch.ridge * at.alpha, error.sum(axis=2, keepdims=True)
    step = _conjugate_gradients(batch, p, -slope, -slope_bias)
    predicted = -(slope * step.image + slope_bias * step.bias / slope.shape[2]).sum((1, 2)) / 2
    return _line_search(batch, at, step, predicted), predicted


def _conjugate_gradients(batch: _Batch, p: Array, residual: Array, residual_bias: Array) -> _State:
    """Solve Hessian · step = residual for all problems, to a sixth: Newton corrects the rest.

    Preconditioned by λ, a lower bound of the Hessian: so no step is longer than 1, and the
    component in the null space of X Xᵀ, which affects rounding only, cannot grow. Intercepts are
    scaled to an eigenvalue among the others. ⟨r, r⟩ = rᵀX Xᵀr is the squared length of the gradient
    in w.
    """
    kind = batch.gram.dtype
    p, r, r_bias = p.astype(kind), residual.astype(kind), residual_bias.astype(kind)
    ridge, a = batch.ridge.astype(kind), batch.weights.astype(kind)
    curvature = (a * p * (1 - p)).sum(axis=2, keepdims=True) + kind.type(TINY)
    curvature /= 1 + curvature / r.shape[2] * batch.size / ridge
    step, step_bias = np.zeros_like(r), np.zeros_like(r_bias)
    z, image, z_bias = r / ridge, batch.product(r) / ridge, r_bias / curvature
    v, v_bias, v_image = z, z_bias, image
    rho = _inner(r, image, r_bias, z_bias)
    enough = np.maximum(3e-2 * rho, SOLVED * r.shape[2])
    for _ in range(MAX_CG):
        if (rho <= enough).all():
            break
        bent = p * (v_image + v_bias)
        bent = a * (bent - p * (bent if p.shape[1] == 1 else bent.sum(axis=1, keepdims=True)))
        turned, turned_bias = bent + ridge * v, bent.sum(axis=2, keepdims=True)
        # A solved problem waits for the others: continuing below rounding would diverge.
        left = np.where(rho > enough, rho, 0)
        length = _ratio(left, _inner(turned, v_image, turned_bias, v_bias))
        step, step_bias = step + length * v, step_bias + length * v_bias
        r, r_bias = r - length * turned, r_bias - length * turned_bias
        z, image, z_bias = r / ridge, batch.product(r) / ridge, r_bias / curvature
        rho, before = _inner(r, image, r_bias, z_bias), rho
        more = _ratio(left, before) * _ratio(rho, before)
        v, v_bias, v_image = z + more * v, z_bias + more * v_bias, image + more * v_image
    exact = step.astype(np.float64), step_bias.astype(np.float64)
    return _State(*exact, batch.product(step).astype(np.float64))


def _inner(a: Array, image: Array, bias: Array, other_bias: Array) -> Array:
    return np.asarray(np.einsum("pkn,pkn->p", a, image) + np.einsum("pkn,pkn->p", bias, other_bias))


def _ratio(above: Array, below: Array) -> Array:
    ratio = np.divide(above, below, out=np.zeros_like(above), where=below > TINY)
    return np.asarray(ratio[:, None, None])


def _line_search(batch: _Batch, at: _State, step: _State, predicted: Array) -> _State:
    """Halve the steps that achieve less than a quarter of the predicted decrease."""
    before = batch.objective(at)
    slack = 1e-12 if batch.gram.dtype == np.float64 else 1e-6  # of rounding in the products
    t = np.ones(len(predicted))
    for _ in range(MAX_HALVINGS):
        there = at.moved(step, t[:, None, None])
        short = batch.objective(there) > before - 0.25 * t * predicted + slack * np.abs(before)
        if not short.any():
            break
        t[short] /= 2
    return at.moved(step, t[:, None, None])
