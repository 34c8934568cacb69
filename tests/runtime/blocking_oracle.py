"""What blocking verification means, as plainly as it can be said: the oracle that guarded runs are compared with.

Every placed node is followed by its verifier, and by what becomes of a rejection, before anything else can see its
output. LangGraph does the rest.
"""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph._internal._constants import CONFIG_KEY_SCRATCHPAD
from langgraph.pregel._algo import LazyAtomicCounter
from scripted_verifier import Placed

from sherlock import OutputRejected, Subject, Verdict, VerifierError
from sherlock.equivalence import same_meaning
from sherlock.interpose.nodes import Visit, hooked, interpose
from sherlock.lens import read_text, write_text


def _ask_from_the_first(visit: Visit) -> None:
    """A node that is repeated asks its questions anew, so that answers given already answer them."""
    configurable = visit.config["configurable"]
    asked = dataclasses.replace(configurable[CONFIG_KEY_SCRATCHPAD], interrupt_counter=LazyAtomicCounter())
    visit.config["configurable"] = {**configurable, CONFIG_KEY_SCRATCHPAD: asked}


@dataclass
class Checked:
    """A verification that came to an end at `at`, and the update that flows on from it."""

    node: str
    output: Any
    flagged: bool


@dataclass
class BlockingHook:
    """Verifies each placed node in place. `open`: a verifier that fails leaves the output as it is."""

    placements: Mapping[str, Placed]
    open: bool = False
    checked: list[Checked] = field(default_factory=list)

    async def around(self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        output = await run(value)
        placed = self.placements.get(visit.node)
        if placed is None:
            return output
        flows_on, flagged = await self._judged(visit, placed, value, output, run)
        self.checked.append(Checked(visit.node, flows_on, flagged))
        return flows_on

    @contextlib.contextmanager
    def routing(self, visit: Visit) -> Iterator[None]:
        yield

    async def _judged(self, visit: Visit, placed: Placed, value: Any, output: Any, run: Any) -> tuple[Any, bool]:
        """The update that flows on, and whether nobody vouches for it."""
        verdict = await self._ask(placed, value, output)
        if verdict is None:
            return output, True
        if verdict.accepted:
            return output, False
        if placed.on_reject == "raise":
            raise OutputRejected("rejected", node=placed.node, rationale=verdict.rationale, verdict=verdict)
        if placed.on_reject == "flag":
            return output, True
        if placed.on_reject == "correct" and verdict.corrected is not None:
            return corrected(output, verdict.corrected), False
        _ask_from_the_first(visit)
        again = await run(value)
        second = await self._ask(placed, value, again)
        if second is None or not second.accepted:
            if second is not None and placed.on_reject == "correct" and second.corrected is not None:
                return corrected(again, second.corrected), False
            return again, True
        return again, False

    async def _ask(self, placed: Placed, value: Any, output: Any) -> Verdict | None:
        subject = Subject(node=placed.node, inputs=value, text=read_text(output), output=output)
        try:
            return await placed.verifier.verify(subject)
        except Exception as error:
            if self.open:
                return None
            raise VerifierError(str(error)) from error


def corrected(output: Any, correction: Any) -> Any:
    """The output with its correction in place; the output itself, if that says the same."""
    update = write_text(output, correction) if isinstance(correction, str) else correction
    before, after = read_text(output), read_text(update)
    category = Subject(text=before, output=output).category
    return output if before == after or same_meaning(before, after, category) else update


class BlockingGraph:
    """A graph under blocking verification: `ainvoke`, `astream`, and whatever else the graph has."""

    def __init__(self, graph: Any, placements: Mapping[str, Placed], *, open: bool = False) -> None:  # noqa: A002
        self.graph = interpose(graph)
        self.hook = BlockingHook(placements, open)

    async def ainvoke(self, *args: Any, **options: Any) -> Any:
        with hooked(self.hook):
            return await self.graph.ainvoke(*args, **options)

    async def astream(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        with hooked(self.hook):
            async for chunk in self.graph.astream(*args, **options):
                yield chunk

    def __getattr__(self, name: str) -> Any:
        return getattr(self.graph, name)


async def blocking_oracle(graph: Any, placements: Mapping[str, Placed], inputs: Any) -> tuple[Any, list[Checked]]:
    """The final state under blocking verification, and the verifications in the order of their ends."""
    agent = BlockingGraph(graph, placements)
    return await agent.ainvoke(inputs), agent.hook.checked
