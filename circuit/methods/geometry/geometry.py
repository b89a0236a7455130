"""The shape of the rows of one layer: descriptions, not tests.

    spectrum              λ_i / Σλ of the centred covariance, all components
    participation_ratio   (Σλ)² / Σλ²
    dim_90, dim_95        components for 90 and 95 % of the variance; bounded by min(n − 1, d),
                          which is reported
    two_nn                intrinsic dimension from the ratio of second to first neighbour distance,
                          Facco et al. 2017: slope of −log(1 − F(μ)) on log μ through the origin,
                          without the largest 10 %
    norms                 mean, standard deviation, minimum, median, maximum of the row norms
    centroid_cosines      cosines between class centroids minus their mean (else the common
                          offset makes all of them nearly 1)
    silhouette, fisher    of the labels, Euclidean; tr S_b / tr S_w; each with its mean and 97.5 %
                          quantile over permuted labels, because with n < d neither is 0 by chance
    kmeans_rand           adjusted Rand index of k-means (k = number of classes, 10 starts) against
                          the labels; 0 by chance

Everything is computed from the Gram matrix or the row-space coordinates, so d enters once.
"""

from dataclasses import dataclass

import numpy as np

from circuit.methods.arrays import Array
from circuit.methods.linear.rowspace import row_coordinates
from circuit.methods.linear.threads import single_threaded
from circuit.methods.uncertainty.splits import permuted_labels


@dataclass(frozen=True)
class Shape:
    """Label-free geometry of the rows of one layer."""

    spectrum: Array  # (r,) fractions of variance, falling
    participation_ratio: float
    dim_90: int
    dim_95: int
    max_dim: int  # min(n - 1, d): no count of components can be larger
    two_nn: float | None  # None with fewer than 10 distinct rows
    norms: dict[str, float]

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file."""
        return {
            "spectrum": [round(float(x), 8) for x in self.spectrum],
            "participation_ratio": round(self.participation_ratio, 6),
            "dim_90": self.dim_90,
            "dim_95": self.dim_95,
            "max_dim": self.max_dim,
            "two_nn": None if self.two_nn is None else round(self.two_nn, 4),
            "norms": {name: round(value, 6) for name, value in self.norms.items()},
        }


@single_threaded
def shape(H: Array, coordinates: Array | None = None) -> Shape:
    """Describe rows ``H`` (n, d).

    ``coordinates`` are those in their row space, not standardised, if already computed.
    """
    if coordinates is None:
        coordinates = row_coordinates(H, standardise=False)
    variances = (coordinates**2).sum(axis=0)
    total = variances.sum()
    spectrum = variances / total if total else variances
    return Shape(
        spectrum=spectrum,
        participation_ratio=float(1 / (spectrum**2).sum()) if total else 0.0,
        dim_90=components_for(spectrum, 0.90),
        dim_95=components_for(spectrum, 0.95),
        max_dim=min(len(H) - 1, H.shape[1]),
        two_nn=two_nn(squared_distances(coordinates)),
        norms=norm_profile(H),
    )


def components_for(spectrum: Array, share: float) -> int:
    """Return the number of components that explain ``share`` of the variance."""
    if not len(spectrum):
        return 0
    return int(np.searchsorted(np.cumsum(spectrum), share - 1e-9) + 1)


def norm_profile(H: Array) -> dict[str, float]:
    """Mean, spread and range of the row norms."""
    norms = np.linalg.norm(np.asarray(H, dtype=np.float64), axis=1)
    return {
        "mean": float(norms.mean()),
        "sd": float(norms.std()),
        "min": float(norms.min()),
        "median": float(np.median(norms)),
        "max": float(norms.max()),
    }


def squared_distances(X: Array) -> Array:
    """Squared Euclidean distances between rows, (n, n), zero on the diagonal."""
    squares = (X**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * (X @ X.T)
    np.fill_diagonal(distances, 0)
    return np.asarray(np.maximum(distances, 0))


def two_nn(distances: Array) -> float | None:
    """Estimate the intrinsic dimension from squared distances (n, n), without repeated rows."""
    D = distances.copy()
    np.fill_diagonal(D, np.inf)
    rounding = 1e-10 * float(distances.max(initial=0))
    repeats = np.triu(distances <= rounding, k=1).any(axis=0)
    D = D[~repeats][:, ~repeats]
    if len(D) < 10:
        return None
    first, second = np.sqrt(np.partition(D, 1, axis=1)[:, :2].T)
    log_mu = np.sort(np.log(second / first))[: int(0.9 * len(D))]
    rank = -np.log1p(-np.arange(1, len(log_mu) + 1) / len(D))
    spread = float(log_mu @ log_mu)
    return float(log_mu @ rank / spread) if spread > 0 else None


@dataclass(frozen=True)
class Separation:
    """How the classes are arranged in the rows of one layer."""

    centroid_cosines: Array  # (n_classes, n_classes)
    silhouette: float
    silhouette_chance: tuple[float, float]  # mean, 97.5 % quantile on permuted labels
    fisher: float
    fisher_chance: tuple[float, float]
    kmeans_rand: float

    def as_dict(self) -> dict[str, object]:
        """Return what goes into a file."""
        return {
            "centroid_cosines": np.round(self.centroid_cosines, 6).tolist(),
            "silhouette": round(self.silhouette, 6),
            "silhouette_chance": [round(x, 6) for x in self.silhouette_chance],
            "fisher_ratio": round(self.fisher, 6),
            "fisher_ratio_chance": [round(x, 6) for x in self.fisher_chance],
            "kmeans_adjusted_rand": round(self.kmeans_rand, 6),
        }


@single_threaded
def separation(
    X: Array, y: Array, groups: Array, *, seed: int = 0, n_shuffles: int = 20
) -> Separation:
    """Describe the classes ``y`` (n,) in the rows ``X``, which may be row-space coordinates."""
    y = np.unique(y, return_inverse=True)[1]
    shuffles = permuted_labels(y, groups, np.random.default_rng(seed), size=n_shuffles)
    distances = np.sqrt(squared_distances(X))
    by_chance = [(silhouette(distances, s), fisher_ratio(X, s)) for s in shuffles]
    silhouettes, fishers = np.array(by_chance).T
    return Separation(
        centroid_cosines=centroid_cosines(X, y),
        silhouette=silhouette(distances, y),
        silhouette_chance=_chance(silhouettes),
        fisher=fisher_ratio(X, y),
        fisher_chance=_chance(fishers),
        kmeans_rand=kmeans_rand(X, y, seed=seed),
    )


def _chance(values: Array) -> tuple[float, float]:
    return float(values.mean()), float(np.percentile(values, 97.5))


def _centroids(X: Array, y: Array) -> Array:
    members = (y[:, None] == np.unique(y)).astype(np.float64)
    return np.asarray((members / members.sum(axis=0)).T @ X)


def centroid_cosines(X: Array, y: Array) -> Array:
    """Return cosines of the class centroids minus the mean centroid; two classes give −1."""
    centroids = _centroids(X, y)
    centroids = centroids - centroids.mean(axis=0)
    lengths = np.linalg.norm(centroids, axis=1, keepdims=True)
    unit = np.divide(centroids, lengths, out=np.zeros_like(centroids), where=lengths > 0)
    return np.asarray(unit @ unit.T)


def silhouette(distances: Array, y: Array) -> float:
    """Return the mean of (b − a) / max(a, b): a to the own class, b to the nearest other one.

    0 where each row is a class of its own.
    """
    from sklearn.metrics import silhouette_score

    if len(np.unique(y)) == len(y):
        return 0.0
    return float(silhouette_score(distances, y, metric="precomputed"))


def fisher_ratio(X: Array, y: Array) -> float:
    """Variance between the classes over variance within, tr S_b / tr S_w."""
    sizes = np.bincount(np.unique(y, return_inverse=True)[1])
    mean = X.mean(axis=0)
    total = float((X**2).sum() - len(X) * mean @ mean)
    between = float(sizes @ ((_centroids(X, y) - mean) ** 2).sum(axis=1))
    within = total - between
    return between / within if within > 1e-12 * total else 0.0


def kmeans_rand(X: Array, y: Array, *, seed: int) -> float:
    """Adjusted Rand index of a k-means clustering against the labels."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    k = len(np.unique(y))
    if not X.shape[1] or len(np.unique(X.round(9), axis=0)) < k:
        return 0.0  # fewer distinct rows than clusters
    clusters = KMeans(k, n_init=10, random_state=seed).fit_predict(X)
    return float(adjusted_rand_score(y, clusters))
