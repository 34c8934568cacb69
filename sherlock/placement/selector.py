"""Which verifier for which prompt: a policy over verifiers, learned from utilities, aware of their cost.

Utility of verifier v on case t: `U[t, v] = P[t, v] - lambda * C[t, v]` (arXiv:2511.00330, section 6). The paper
maximises `sum A log f`, which is linear in the logits and has no maximum. Here the policy f is fitted to the
distributions that would be best if straying from the prior had a price, by a convex programme with one optimum:

    min  mean_t CE(q_t, f(x_t)) + rho ||W - W0||^2,     q_t = softmax(log pi0 + U_t / tau),     f = softmax(X W)

q_t maximises `f.U - tau KL(f || pi0)`; pi0 favours the best static verifier of the case's category, and W0 has its
logits: without evidence the policy is the table per category. tau and rho are chosen by inner cross-validation, and the
policy is used only where nested cross-validation shows that it beats the prior; else the prior is.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sherlock.estimate import Estimate, signed_mean
from sherlock.placement.promise import parts_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

TAUS = (0.03, 0.2)
RHOS = (0.003, 0.03)
PARTS = 4
MEMORY = 5
"""Cases' worth of all categories together that the mean utility of one category is shrunk by."""
STRAY = 0.1
"""What the prior leaves to all verifiers together, in even shares."""


@dataclass(frozen=True)
class Policy:
    """Logits linear in category and features. `weights`: a line for each category, then for each feature."""

    categories: tuple[str, ...]
    centre: "Matrix"
    spread: "Matrix"
    weights: "Matrix"
    usual: int

    def choose(self, features: Sequence[float], category: str = "") -> int:
        """The column of the verifier to use; that of the best static one for a category that was never seen."""
        import numpy as np

        return self.choose_all(np.array([features], dtype=float), [category])[0]

    def choose_all(self, features: "Matrix", categories: Sequence[str]) -> list[int]:
        """One choice for each line of `features`."""
        import numpy as np

        best = np.argmax(self.design(features, categories) @ self.weights, axis=1).tolist()
        pairs = zip(best, categories, strict=True)
        return [pick if category in self.categories else self.usual for pick, category in pairs]

    def design(self, features: "Matrix", categories: Sequence[str]) -> "Matrix":
        """A line for each case: which category it is of, and its features in standard units."""
        import numpy as np

        member = np.array([[category == each for each in self.categories] for category in categories], dtype=float)
        return np.hstack([member, (features - self.centre) / self.spread])


@dataclass(frozen=True)
class Selector:
    """What to use, and what the learned policy was worth over the prior in nested cross-validation."""

    policy: Policy
    prior: Policy
    skill: Estimate

    @property
    def learned(self) -> bool:
        """Whether the learned policy beats the prior for certain, so that it is used."""
        return self.skill.low > 0

    def choose(self, features: Sequence[float], category: str = "") -> int:
        """The column of the verifier to use."""
        return (self.policy if self.learned else self.prior).choose(features, category)


def utility(performance: "Matrix", cost: "Matrix", willingness: float) -> "Matrix":
    """`P - lambda C`; `willingness` is lambda, in score per unit of cost."""
    return performance - willingness * cost


def fit_selector(
    features: "Matrix",
    utilities: "Matrix",
    categories: Sequence[str] | None = None,
    *,
    seed: int = 0,
    taus: Sequence[float] = TAUS,
    rhos: Sequence[float] = RHOS,
) -> Selector:
    """Fit a selector. `features`: a line for each case; `utilities`: a line for each case, a column for each verifier.

    Raises ValueError for shapes that do not fit, figures that are not finite, or fewer than `2 * PARTS` cases.
    """
    import numpy as np

    cases = len(utilities)
    given = list(categories) if categories is not None else [""] * cases
    if features.ndim != 2 or utilities.ndim != 2 or not len(features) == cases == len(given):
        raise ValueError(
            f"{len(features)} lines of features, {cases} of utilities, {len(given)} categories: give one for each case"
        )
    if cases < 2 * PARTS or not (np.isfinite(features).all() and np.isfinite(utilities).all()):
        raise ValueError(f"{cases} cases with figures that must be finite; a selector needs at least {2 * PARTS}")
    data = _Data(features, utilities, tuple(given))
    gains = np.zeros(cases)
    for part in parts_of(cases, parts=PARTS, seed=seed):
        inside, held_out = data.without(part), data.only(part)
        tuned = _tuned(inside, taus, rhos, seed)
        gains[list(part)] = held_out.earned(tuned) - held_out.earned(_prior(inside))
    return Selector(policy=_tuned(data, taus, rhos, seed), prior=_prior(data), skill=signed_mean(gains.tolist()))


@dataclass(frozen=True)
class _Data:
    features: "Matrix"
    utilities: "Matrix"
    categories: tuple[str, ...]

    def only(self, cases: Iterable[int]) -> "_Data":
        kept = list(cases)
        return _Data(self.features[kept], self.utilities[kept], tuple(self.categories[case] for case in kept))

    def without(self, cases: Iterable[int]) -> "_Data":
        gone = set(cases)
        return self.only(case for case in range(len(self.categories)) if case not in gone)

    def earned(self, policy: Policy) -> "Matrix":
        """The utility that a policy has on each case."""
        picks = policy.choose_all(self.features, self.categories)
        return self.utilities[range(len(picks)), picks]


def _prior(data: _Data) -> Policy:
    """The best static verifier of each category; a small category leans on all cases."""
    import numpy as np

    usual = data.utilities.mean(axis=0)
    names = tuple(sorted(set(data.categories)))
    logits = []
    for name in names:
        own = data.utilities[[category == name for category in data.categories]]
        mean = (own.sum(axis=0) + MEMORY * usual) / (len(own) + MEMORY)
        share = np.full(len(usual), STRAY / len(usual))
        share[int(np.argmax(mean))] += 1 - STRAY
        logits.append(np.log(share))
    spread = data.features.std(axis=0)
    flat = np.zeros((data.features.shape[1], len(usual)))
    return Policy(
        categories=names,
        centre=data.features.mean(axis=0),
        spread=np.where(spread > 0, spread, 1.0),
        weights=np.vstack([np.array(logits), flat]),
        usual=int(np.argmax(usual)),
    )


def _tuned(data: _Data, taus: Sequence[float], rhos: Sequence[float], seed: int) -> Policy:
    """The policy with the tau and rho that earn most on held-out cases; of equals the one nearest to the prior."""
    parts = parts_of(len(data.categories), parts=PARTS, seed=seed + 1)
    splits = [(data.without(part), data.only(part)) for part in parts]

    def earned(tau: float, rho: float) -> float:
        return sum(float(held_out.earned(_fitted(inside, tau, rho)).sum()) for inside, held_out in splits)

    pairs = sorted(itertools.product(taus, rhos), reverse=True)
    best = max(pairs, key=lambda pair: round(earned(*pair), 9))
    return _fitted(data, *best)


def _fitted(data: _Data, tau: float, rho: float) -> Policy:
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import log_softmax, softmax

    prior = _prior(data)
    design = prior.design(data.features, data.categories)
    member = design[:, : len(prior.categories)]
    wanted = softmax(member @ prior.weights[: len(prior.categories)] + data.utilities / tau, axis=1)
    shape, cases = prior.weights.shape, len(design)

    def loss(flat: "Matrix") -> "tuple[float, Matrix]":
        weights = flat.reshape(shape)
        logits = log_softmax(design @ weights, axis=1)
        away = weights - prior.weights
        value = -float((wanted * logits).sum()) / cases + rho * float((away**2).sum())
        gradient = design.T @ (np.exp(logits) - wanted) / cases + 2 * rho * away
        return value, gradient.ravel()

    # L-BFGS-B ends in the same place, but its threaded BLAS makes it 7 to 20 times as slow on matrices this small.
    found = minimize(loss, prior.weights.ravel(), jac=True, method="TNC", options={"maxfun": 1000})
    assert math.isfinite(found.fun)
    return Policy(
        categories=prior.categories,
        centre=prior.centre,
        spread=prior.spread,
        weights=found.x.reshape(shape),
        usual=prior.usual,
    )
