"""Many L2 logistic regressions on the same rows at once, by Newton's method with conjugate gradients.

Problem p (a penalty, a choice of rows, a labelling) minimises over W_p (r, K) and an unpenalised intercept b_p

    Σ_i a_ip · loss(y_ip, x_i W_p + b_p) + ½ λ_p ‖W_p‖² ,   λ = 1/C as in scikit-learn,

with the logistic loss for K = 1 and the softmax loss for K classes. All problems share X, so that one Newton-CG step
is two matrix products for all of them; a problem that has converged leaves the batch. The preconditioner is the
diagonal of S² p̄(1−p̄) + λ, nearly exact because the columns of X = US are orthogonal.

Converged: Newton's decrement promises less than ``tolerance`` nats per row; 1e-9 puts probabilities within 1e-6 of
scikit-learn's, 1e-5 is enough to compare penalties.
"""

from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array

EXACT, ROUGH = 1e-9, 1e-5
MAX_NEWTON, MAX_CG, MAX_HALVINGS = 60, 60, 12


@dataclass
class _Batch:
    """The problems that are still being solved: arrays over rows n, problems P and outputs K."""

    X: Array  # (n, r + 1), last column ones
    Y: Array  # (n, P, K)
    weights: Array  # (n, P, 1)
    ridge: Array  # (r + 1, P, 1)

    def select(self, keep: Array) -> "_Batch":
        return _Batch(self.X, self.Y[:, keep], self.weights[:, keep], self.ridge[:, keep])

    def linear(self, W: Array) -> Array:
        return np.asarray((self.X @ W.reshape(len(W), -1)).reshape(self.Y.shape))

    def transpose(self, R: Array) -> Array:
        flat = self.X.T @ R.reshape(len(R), -1)
        return np.asarray(flat.reshape(self.ridge.shape[0], *R.shape[1:]))

    def objective(self, Z: Array, W: Array) -> Array:
        certain = (
            self.Y if Z.shape[2] > 1 else 1
        )  # softmax counts the true class, the logistic one both
        loss = certain * (_log_sum(Z) if Z.shape[2] > 1 else np.logaddexp(0, Z)) - self.Y * Z
        return np.asarray((self.weights * loss).sum((0, 2)) + 0.5 * (self.ridge * W**2).sum((0, 2)))

    def curvature(self, P: Array, direction: Array) -> Array:
        """Hessian times ``direction`` (r + 1, P, K)."""
        image = P * self.linear(direction)
        image -= P * (image if P.shape[2] == 1 else image.sum(axis=2, keepdims=True))
        return np.asarray(self.transpose(self.weights * image) + self.ridge * direction)


def fit_logistic(
    X: Array,
    Y: Array,
    penalty: Array,
    *,
    weights: Array | None = None,
    start: Array | None = None,
    tolerance: float = EXACT,
) -> Array:
    """Fit every problem; return weights with the intercept as last row, (r + 1, P, K).

    ``X`` (n, r), ``Y`` (n, P, K) in {0, 1} (one column for two classes), ``penalty`` (P,) = 1/C, ``weights`` (n, P)
    of the rows, 1 by default; ``start`` a solution of similar problems. ``X`` sets the precision: float32 is enough for ``ROUGH``.
    """
    n, P, K = Y.shape
    kind = X.dtype
    X = np.hstack([X, np.ones((n, 1), kind)])
    ridge = np.repeat(penalty[None, :, None], X.shape[1], axis=0).astype(kind)
    ridge[-1] = 0
    a = np.ones((n, P, 1), kind) if weights is None else weights[:, :, None].astype(kind)
    batch, active = _Batch(X, Y.astype(kind), a, ridge), np.arange(P)
    solution = np.zeros((X.shape[1], P, K), kind) if start is None else start.copy()
    for _ in range(MAX_NEWTON):
        W, decrement = _newton_step(batch, solution[:, active])
        solution[:, active] = W
        going = decrement > tolerance * n
        if not going.any():
            break
        batch, active = batch.select(going), active[going]
    return solution


def predict(X: Array, W: Array) -> Array:
    """Logits (n, P, K) of rows ``X`` (n, r)."""
    _, P, K = W.shape
    Z = X @ W[:-1].reshape(X.shape[1], P * K) + W[-1].reshape(1, P * K)
    return np.asarray(Z.reshape(len(X), P, K))


def log_probabilities(Z: Array) -> Array:
    """Log-probability of each class (n, P, classes) from logits; one logit means two classes."""
    if Z.shape[2] == 1:
        return np.concatenate([-np.logaddexp(0, Z), -np.logaddexp(0, -Z)], axis=2)
    return np.asarray(Z - _log_sum(Z))


def _log_sum(Z: Array) -> Array:
    top = Z.max(axis=2, keepdims=True)
    return np.asarray(top + np.log(np.exp(Z - top).sum(axis=2, keepdims=True)))


def _newton_step(batch: _Batch, W: Array) -> tuple[Array, Array]:
    """Move every problem once; return its weights and the decrease that was promised."""
    Z = batch.linear(W)
    P = np.exp(log_probabilities(Z))[:, :, -Z.shape[2] :]
    gradient = batch.transpose(batch.weights * (P - batch.Y)) + batch.ridge * W
    step = _conjugate_gradients(batch, P, -gradient)
    promised = -(gradient * step).sum((0, 2)) / 2
    return _line_search(batch, W, Z, step, promised), promised


def _conjugate_gradients(batch: _Batch, P: Array, target: Array) -> Array:
    """Solve Hessian · step = target for all problems, to a tenth: Newton corrects the rest."""
    mean = (batch.weights * P * (1 - P)).mean((0, 2))[None, :, None]
    diagonal = np.einsum("ij,ij->j", batch.X, batch.X)[:, None, None] * mean + batch.ridge + 1e-12
    step, residual = np.zeros_like(target), target.copy()
    z = residual / diagonal
    direction, rho = z.copy(), (residual * z).sum((0, 2))
    enough = 1e-2 * rho
    for _ in range(MAX_CG):
        if (rho <= enough).all():
            break
        image = batch.curvature(P, direction)
        alpha = _ratio(rho, (direction * image).sum((0, 2)))
        step += alpha * direction
        residual -= alpha * image
        z = residual / diagonal
        rho, before = (residual * z).sum((0, 2)), rho
        direction = z + _ratio(rho, before) * direction
    return step


def _ratio(above: Array, below: Array) -> Array:
    ratio = np.divide(above, below, out=np.zeros_like(above), where=below > 1e-300)
    return np.asarray(ratio[None, :, None])


def _line_search(batch: _Batch, W: Array, Z: Array, step: Array, promised: Array) -> Array:
    """Halve the steps that do not bring a quarter of the decrease they promise."""
    image, before = batch.linear(step), batch.objective(Z, W)
    slack = 1e4 * np.finfo(before.dtype).eps
    t = np.ones(len(promised), before.dtype)
    for _ in range(MAX_HALVINGS):
        size = t[None, :, None]
        after = batch.objective(Z + size * image, W + size * step)
        short = after > before - 0.25 * t * promised + slack * np.abs(before)
        if not short.any():
            break
        t[short] /= 2
    return np.asarray(W + t[None, :, None] * step)
