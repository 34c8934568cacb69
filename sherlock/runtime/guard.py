"""`guard`: the same graph, verified and speculative."""

import asyncio
import copy
import importlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Self
from weakref import WeakKeyDictionary

from langchain_core.runnables import RunnableConfig
from langgraph._internal._config import ensure_config
from langgraph._internal._constants import CONF, CONFIG_KEY_TASK_ID
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from sherlock import background
from sherlock.errors import PlanError
from sherlock.graph import WorkflowGraph
from sherlock.interpose import calls
from sherlock.interpose.nodes import full_name, interpose
from sherlock.loading import opened_graph
from sherlock.models.prices import Prices
from sherlock.placement.plan import Plan
from sherlock.runtime.chunks import Form
from sherlock.runtime.events import Event, RunReport
from sherlock.runtime.inline import InlineRun
from sherlock.runtime.learner import Learner
from sherlock.runtime.levels import levels_below, step_of
from sherlock.runtime.nested import plain_within
from sherlock.runtime.places import Attached, Place, places_of, uncached
from sherlock.runtime.policy import Policy
from sherlock.runtime.run import Run
from sherlock.runtime.speculation import Decision, depth_allowed

_EAGER = "sherlock_eager"
_REPORTS = 256
"""How many runs' reports a guard keeps."""


def guard(
    graph: Any,
    plan: Plan | None = None,
    *,
    domain: Any = None,
    policy: Policy | Mapping[str, Any] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> "GuardedGraph":
    """The same graph, with the outputs of some nodes verified while the run goes on, and rolled back when rejected.

    `graph`: a `StateGraph` builder, a compiled graph, or a factory; it is not changed. `plan` says which verifier is
    attached to which node, on top of what the code declares (`sherlock.verified`). `policy`: how speculation is
    limited; before the plan's own. `on_event` is called with each event, on the run's event loop. Of a guarded graph,
    and of guarded graphs within this one, the placements are taken over.

    Raises `PlanMismatch` when the plan is for another graph, `GraphError` when `graph` is none, `VerifierNotFound` when
    a verifier is not installed.
    """
    if domain is not None:
        raise PlanError("a domain cannot be used yet: plan with the analysis of this graph, and pass the plan")
    compiled, inherited = plain_within(_compiled(graph))
    return GuardedGraph.of(compiled, Guard(compiled, plan, policy, on_event, inherited))


class Guard:
    """What all runs of one guarded graph share: placements, policy, and what was learned."""

    def __init__(
        self,
        graph: CompiledStateGraph[Any, Any, Any, Any],
        plan: Plan | None,
        policy: Policy | Mapping[str, Any] | None,
        on_event: Callable[[Event], None] | None,
        inherited: Mapping[str, Attached] | None = None,
    ) -> None:
        self.plan = plan
        self.places = places_of(graph, plan, inherited)
        self.policy = Policy.of(policy, plan.policy if plan else None)
        self.on_event = on_event
        self.prices = Prices()
        placed = [node for node, place in self.places.items() if place.attached is not None]
        self.learner = Learner(plan, placed)
        self._in_flight: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
        self.is_idle = not any(place.is_watched for place in self.places.values())
        self._concerning = {step_of(node) for node, place in self.places.items() if place.is_watched}
        self._workflow = WorkflowGraph.of(graph) if placed else None
        self._levels: dict[str, Any] = {node: self._levels_below(node) for node in placed}
        self.timed = frozenset(placed).union(*(level for levels in self._levels.values() for level in levels))
        """The nodes whose latency decides how far a run goes on past a verdict that is awaited."""
        self._reports: OrderedDict[str, RunReport] = OrderedDict()
        self.placed = placed
        self.nodes = {} if self.is_idle else _wrapped(graph, placed, None)
        if not self.is_idle:
            calls.install()
            importlib.import_module("rapidfuzz.distance")  # or the first verdict with a correction waits for that

    @property
    def in_flight(self) -> asyncio.Semaphore:
        """Limits how many verifiers run at once, on the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._in_flight:
            self._in_flight[loop] = asyncio.Semaphore(self.policy.max_verifiers_in_flight)
        return self._in_flight[loop]

    def concerns(self, name: str) -> bool:
        """Whether a node of the outermost graph may have to be run again, or held; "*": whether any may."""
        return name == "*" or full_name("", name) in self._concerning

    def depth_allowed(self, place: Place, spent_waste: float) -> Decision:
        """How far a run may go on past an output of the node before its verdict."""
        assert place.attached is not None
        assert self._workflow is not None
        return depth_allowed(
            place.node,
            policy=self.policy,
            learner=self.learner,
            levels=self._levels[place.node],
            speculate=place.attached.speculate,
            spent_waste=spent_waste,
        )

    def _levels_below(self, node: str) -> Any:
        assert self._workflow is not None
        return levels_below(self._workflow, node, self.policy.max_depth)

    def keep(self, report: RunReport) -> None:
        """Keep the report of a run; old ones go."""
        self._reports[report.run_id] = report
        while len(self._reports) > _REPORTS:
            self._reports.popitem(last=False)

    def report(self, run_id: str | None) -> RunReport | None:
        """The report of a run, or of the last one that has ended."""
        if run_id is not None:
            return self._reports.get(run_id)
        return next(reversed(self._reports.values()), None)


class GuardedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled LangGraph graph whose runs are verified; made by `guard`, and used like the graph it was made from."""

    guard: Guard

    @classmethod
    def of(cls, graph: CompiledStateGraph[Any, Any, Any, Any], guard: Guard) -> Self:
        """A guarded copy of `graph`."""
        twin = copy.copy(graph)
        twin.__class__ = cls
        assert isinstance(twin, cls)
        twin.guard = guard
        return twin

    def report(self, run_id: str | None = None) -> RunReport | None:
        """What happened in a run, by default the last that has ended; None when that is not known (any more)."""
        return self.guard.report(run_id)

    def copy(self, update: dict[str, Any] | None = None) -> Self:
        """A copy with other attributes; it shares what was learned."""
        twin = copy.copy(self)
        for name, value in (update or {}).items():
            setattr(twin, name, value)
        return twin

    def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:  # noqa: A002
        """As LangGraph's `astream`; chunks are given out when they are committed."""
        merged = ensure_config(self.config, config)
        if self.guard.is_idle:
            return super().astream(input, config, **options)
        if CONFIG_KEY_TASK_ID in merged[CONF]:
            return InlineRun(self).stream(input, config, options)
        form, rest = self._form(options)
        return Run(self, input, merged, form, rest, eager=rest.pop(_EAGER, False)).stream()

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Any:  # noqa: A002
        """As LangGraph's `ainvoke`."""
        return await super().ainvoke(input, config, **options, **self._takes_all(config))

    def _takes_all(self, config: RunnableConfig | None) -> dict[str, Any]:
        nested = CONFIG_KEY_TASK_ID in ensure_config(config)[CONF]
        return {} if self.guard.is_idle or nested else {_EAGER: True}

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:  # noqa: A002
        """As LangGraph's `stream`. The nodes run on an event loop in a thread of the library's own."""
        if self.guard.is_idle:
            return super().stream(input, config, **options)
        return self._pulled(input, ensure_config(config), options)

    def _pulled(self, input: Any, config: RunnableConfig, options: Mapping[str, Any]) -> Iterator[Any]:  # noqa: A002
        chunks = self.astream(input, config, **options)
        try:
            while True:
                try:
                    yield background.run(_next(chunks))
                except StopAsyncIteration:
                    return
        finally:
            background.run(_closed(chunks))

    def _form(self, options: Mapping[str, Any]) -> tuple[Form, dict[str, Any]]:
        rest = dict(options)
        mode = rest.pop("stream_mode", None)
        form = Form(
            stream_mode=self.stream_mode if mode is None else mode,
            subgraphs=rest.pop("subgraphs", False),
            version=rest.pop("version", "v1"),
        )
        return form, rest

    def base_checkpointer(self, config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
        """The user's checkpointer for a run with this config."""
        return self._resolve_checkpointer(config)

    def unguarded(self, checkpointer: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The plain graph behind this one, its nodes as they are."""
        twin = self._plain(self.nodes)
        twin.checkpointer = checkpointer
        return twin

    def attempt_of(self, checkpointer: Any, store: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The plain graph behind this one, its nodes hooked, for one attempt."""
        twin = self._plain(self.guard.nodes)
        twin.checkpointer, twin.store = checkpointer, store
        twin.config = None  # the run's config has it already
        return twin

    def inline(self, hook: InlineRun) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The plain graph behind this one, for a run inside another graph that `hook` stands round."""
        return self._plain(_wrapped(self, self.guard.placed, hook))

    def _plain(self, nodes: Mapping[str, Any]) -> CompiledStateGraph[Any, Any, Any, Any]:
        twin = copy.copy(self)
        twin.__class__ = CompiledStateGraph  # type: ignore[assignment]
        twin.nodes = dict(nodes)
        twin.cache_policy = None
        return twin


def _compiled(graph: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The compiled graph behind whatever the user calls a graph."""
    if isinstance(graph, CompiledStateGraph):
        return graph
    return background.run(_opened(graph))


async def _opened(graph: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
    # Never left: what a factory holds open is needed as long as the guarded graph.
    return await opened_graph(graph).__aenter__()


def _wrapped(
    graph: CompiledStateGraph[Any, Any, Any, Any], placed: list[str], hook: InlineRun | None
) -> dict[str, Any]:
    twin = interpose(graph, hook)
    uncached(twin, placed)
    return dict(twin.nodes)


async def _next(chunks: AsyncIterator[Any]) -> Any:
    return await anext(chunks)


async def _closed(chunks: AsyncIterator[Any]) -> None:
    await chunks.aclose()  # type: ignore[attr-defined]
