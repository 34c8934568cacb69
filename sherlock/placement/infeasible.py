"""Says why no plan keeps an SLO: which limit stands in the way, what it would have to be, and what can be reached."""

from dataclasses import dataclass, replace

from sherlock.placement.solver import GOALS, Solution, Solver

_GOALS = {
    "max_usd": "usd",
    "max_wh": "wh",
    "max_latency_s": "latency_s",
    "max_verifier_calls": "calls",
    "max_verifiers": "verifiers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A limit that alone stands in the way. `needed`: what it would have to be; None if that is unknown."""

    name: str
    limit: float
    needed: float | None

    def __str__(self) -> str:
        needed = "an amount that is unknown" if self.needed is None else f"{self.needed:.4g}"
        return f"{self.name} {self.limit:.4g} would have to be {needed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """No plan keeps the SLO.

    `binding`: the limits of which any one, moved alone, would make a plan possible; none if several have to move.
    `nearest`: the plan that keeps all limits but the least score, and comes nearest to that; the empty plan if running
    the workflow alone is too slow.
    """

    binding: tuple[Binding, ...]
    nearest: Solution
    why: str


def explain(solver: Solver) -> Infeasible:
    """Lift each limit of a question that has no answer in turn."""
    lifted = [_lifted(solver, name) for name in solver.slo.asked() if name in _GOALS]
    within = replace(solver, least_gain=None).plans(1, GOALS["accuracy"])
    if within and solver.least_gain is not None:
        asked = solver.least_gain if solver.slo.min_accuracy is None else solver.slo.min_accuracy
        needed = asked - solver.least_gain + within[0].figures.gain
        lifted.append(Binding(name="min_accuracy", limit=asked, needed=needed))
    binding = tuple(each for each in lifted if each is not None)
    if not within:
        return Infeasible(binding=binding, nearest=solver.solution({}), why=_too_slow(solver))
    return Infeasible(binding=binding, nearest=within[0], why=f"{_told(binding)}; {_shown(within[0])}")


def _lifted(solver: Solver, name: str) -> Binding | None:
    """What one limit would have to be; None if moving it alone does not help."""
    goal = _GOALS[name]
    least = replace(solver, slo=replace(solver.slo, **{name: None})).least(goal)
    limit = getattr(solver.slo, name)
    return None if least is None else Binding(name=name, limit=limit, needed=getattr(least.figures, goal))


def _too_slow(solver: Solver) -> str:
    """Only latency can stand in the way of the empty plan."""
    alone = max(solver.case.workload.finish_s.values(), default=0.0)
    return (
        f"no plan keeps max_latency_s {solver.slo.max_latency_s:.4g}: without any verifier the workflow itself takes "
        f"{alone:.3g} s on average, and in one run of twenty longer"
    )


def _told(binding: tuple[Binding, ...]) -> str:
    if not binding:
        return "no plan keeps all limits, and moving one of them alone would not help"
    return f"no plan keeps all limits: {', or '.join(map(str, binding))}"


def _shown(nearest: Solution) -> str:
    figures = nearest.figures
    placed = ", ".join(row.place for row in nearest.chosen.values()) or "no verifier at all"
    usd = "at an unknown price" if figures.usd is None else f"for ${figures.usd:.4g} a run"
    return f"the nearest that can be reached is {placed}, which gains {figures.gain:.3g} {usd}"
