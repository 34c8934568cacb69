"""What a run without the guard has left on a thread: results that nobody has verified.

When LangGraph resumes a superstep it takes the results that were stored for its tasks as they are. Those of placed
nodes count only where the mark of a guarded run says that they have been verified.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import WRITES_IDX_MAP, BaseCheckpointSaver, CheckpointTuple, PendingWrite
from langgraph.types import Command, Send, StateSnapshot

from sherlock.interpose.nodes import full_name
from sherlock.runtime.gate_marks import VERIFIED, mark_id, marks
from sherlock.runtime.places import Place

if TYPE_CHECKING:
    from sherlock.runtime.run import Run

_DONE_FOR_GOOD = ("irreversible", "compensable")
_TASKS = "__pregel_tasks"
_BRANCH = "branch:to:"
_ROOT = "__root__"


@dataclass(slots=True)
class Untrusted:
    """`tasks`: the ids of those to be executed again. `adopted`: those of them that are not, for they have effects,
    with what they returned: that is verified in place of a new result.
    """

    tasks: set[str] = field(default_factory=set)
    adopted: dict[str, Any] = field(default_factory=dict)


async def untrusted(run: "Run", saved: CheckpointTuple) -> Untrusted:
    """The tasks of the superstep in progress, in subgraphs too, with results of placed nodes that nobody has verified.

    A subgraph that has ended runs again from its beginning, unless a node in it has an effect: then what it came to is
    taken as part of the thread's history.
    """
    found = Untrusted()
    resumes = run.value is None or isinstance(run.value, Command)
    placed = any(place.attached is not None for place in run.places.values())
    if not resumes or not placed:
        return found  # a new input discards what is unfinished
    view = run.gate.view()
    snapshot = await run.graph.unguarded(view).aget_state(run.config, subgraphs=True)
    await _look(snapshot, saved, "", run, view, found)
    return found


async def _look(
    snapshot: StateSnapshot,
    saved: CheckpointTuple,
    prefix: str,
    run: "Run",
    view: BaseCheckpointSaver[Any],
    found: Untrusted,
) -> None:
    known = marks(saved)
    for task in snapshot.tasks:
        name = full_name(prefix, task.name)
        if isinstance(task.state, StateSnapshot) and (inner := await view.aget_tuple(task.state.config)) is not None:
            await _look(task.state, inner, name, run, view, found)
        place = run.places.get(name)
        inner_places = [p for full, p in run.places.items() if full.startswith(f"{name}/")]
        output = [w for w in saved.pending_writes or () if w[0] == task.id and w[1] not in WRITES_IDX_MAP]
        if not output or mark_id(task.id, VERIFIED) in known:
            continue
        if any(p.attached for p in inner_places) and not any(p.effects in _DONE_FOR_GOOD for p in inner_places):
            found.tasks.add(task.id)  # it has ended: all of it runs again
        if place is None or place.attached is None:
            continue
        found.tasks.add(task.id)
        if place.effects in _DONE_FOR_GOOD:
            found.adopted[task.id] = _returned(output, place)


def _returned(output: list[PendingWrite], place: Place) -> Any:
    """What a node must have returned to leave these writes, its edges apart: they are followed again."""
    parts: list[dict[str, Any]] = []
    for _, channel, value in output:
        if channel == _ROOT:
            return value
        if channel == _TASKS or channel.startswith(_BRANCH):
            continue
        if not parts or channel in parts[-1]:
            parts.append({})
        parts[-1][channel] = value
    goto = [] if place.has_router else _destinations(output)
    if goto:
        return [*(Command(update=part) for part in parts), Command(goto=goto)]
    if len(parts) > 1:
        return [Command(update=part) for part in parts]
    return parts[0] if parts else None


def _destinations(output: list[PendingWrite]) -> list[str | Send]:
    """Where a `Command` sent the run; the node's own edges lead there anyway, and once."""
    return [
        value if isinstance(value, Send) else channel.removeprefix(_BRANCH)
        for _, channel, value in output
        if channel.startswith(_BRANCH) or isinstance(value, Send)
    ]
