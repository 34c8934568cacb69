"""Runs one case in one way, and says what it scored, took and cost."""

import asyncio
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph.graph.state import CompiledStateGraph

from sherlock.budget import Budget
from sherlock.cases import Case
from sherlock.errors import CasesError, LimitReached
from sherlock.interpose.calls import CallScope, Meter, ModelCall
from sherlock.models.prices import Prices
from sherlock.runtime.events import Event, RunFinished, RunReport
from sherlock.runtime.stubbed import running
from sherlock.runtime.turns import drive
from sherlock.runtime.validation import Way
from sherlock.scorers import ResolvedScorer
from sherlock.usage import NO_USAGE, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A run of the case at position `case`. `reports`: of its guarded invocations. `error`: what it raised."""

    case: int
    repeat: int
    way: Way
    score: float = 0.0
    error: str | None = None
    unanswered: str | None = None
    t_exec_s: float = 0.0
    t_vrf_s: float = 0.0
    usage: Usage = NO_USAGE
    reports: tuple[RunReport, ...] = ()


@dataclass(kw_only=True)
class Runner:
    """Runs cases on `graphs`, one for each way, within `budget`. `take` is to be told of each event of a guard."""

    graphs: Mapping[Way, CompiledStateGraph[Any, Any, Any, Any]]
    scorer: ResolvedScorer
    prices: Prices
    budget: Budget
    config: Mapping[str, Any]
    context: Any = None
    _reports: list[RunReport] = field(default_factory=list)
    _calls: list[ModelCall] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Keep the reports of guarded runs."""
        if isinstance(event, RunFinished):
            self._reports.append(event.report)

    async def run(self, index: int, case: Case, repeat: int, way: Way) -> Ran:
        """Run a case to its end. A run that raises scores 0.

        Raises `LimitReached`, and `CasesError` for what is wrong with the scorer or with a reference.
        """
        self.budget.check()
        self._reports, self._calls = [], []
        ran = Ran(case=index, repeat=repeat, way=way)
        with Meter(before_call=self.budget.before_call, on_call=self._count).open(), running(case):
            return await self._metered(ran, case)

    async def _metered(self, ran: Ran, case: Case) -> Ran:
        scope = CallScope(price=self.prices.usd)  # of routers, and of everything where nothing is guarded
        try:
            with scope.active():
                driven = await self._within_time(self.graphs[ran.way], case)
        except (LimitReached, CasesError):
            raise
        except Exception as error:  # noqa: BLE001  (whatever the user's graph raises is how this run ends)
            self._raise_limit()
            told = str(error).partition("\n")[0]
            return dataclasses.replace(ran, error=f"{type(error).__name__}: {told}", **self._spent(scope))
        finally:
            scope.close()
        self._raise_limit()
        ran = dataclasses.replace(
            ran, unanswered=driven.unanswered, **self._spent(scope), **self._times(driven.seconds)
        )
        if driven.unanswered is not None:
            return ran
        return dataclasses.replace(ran, score=await self.scorer.score(driven.output, case))

    async def _within_time(self, graph: CompiledStateGraph[Any, Any, Any, Any], case: Case) -> Any:
        """Drive the case, but not past the limit on seconds."""
        limit = self.budget.limits.seconds
        left = None if limit is None else max(0.0, self.budget.started + limit - time.monotonic())
        try:
            async with asyncio.timeout(left) as clock:
                return await drive(graph, case, config=self.config, context=self.context)
        except TimeoutError:
            if clock.expired():
                self.budget.check()
            raise

    def _raise_limit(self) -> None:
        """The graph may have taken it for an error of the model server."""
        if self.budget.reached is not None:
            raise LimitReached(self.budget.reached)

    def _count(self, call: ModelCall) -> None:
        if not call.replayed:
            self.budget.spend(call.usage)
        self._calls.append(call)

    def _spent(self, scope: CallScope) -> dict[str, Any]:
        """What the run has used, work that was thrown away and calls outside all nodes included."""
        told = sum((r.usage.nodes + r.usage.verifiers for r in self._reports), scope.usage)
        metered = (dataclasses.replace(call.usage, wh=self.prices.wh(call.model, call.usage)) for call in self._calls)
        seen = sum(metered, NO_USAGE)
        wh = seen.wh if seen.calls >= told.calls else None  # nobody saw what a verifier spent elsewhere
        return {"usage": dataclasses.replace(told, wh=wh), "reports": tuple(self._reports)}

    def _times(self, seconds: float) -> dict[str, Any]:
        if not self._reports:  # nothing was guarded
            return {"t_exec_s": seconds, "t_vrf_s": seconds}
        return {
            "t_exec_s": sum(report.t_exec_s for report in self._reports),
            "t_vrf_s": sum(report.t_vrf_s for report in self._reports),
        }
