"""Where the marks of an effect are kept: beside its task, or where that leaves no checkpoint, beside one around it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONF, CONFIG_KEY_CHECKPOINT_MAP, CONFIG_KEY_CHECKPOINT_NS
from langgraph.pregel import Pregel

from sherlock.interpose.checkpoints import container
from sherlock.interpose.nodes import Visit, full_name, show_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """`config` addresses the checkpoint that the task `task_id` starts from.

    `namespaces`: those of the subgraphs that lead there, outermost first. `root`: the checkpoint of the outermost
    graph that its superstep starts from.
    """

    config: RunnableConfig
    task_id: str
    namespaces: tuple[str, ...]
    root: str


def anchor_of(visit: Visit, config: RunnableConfig, saved: int) -> Anchor:
    """The anchor of a task. `config`: the run's; `saved`: how many of the graphs around it keep checkpoints.

    In a subgraph that keeps none, tasks have other ids each time it runs. There the anchor is the task around it, and
    the place within takes part in the id.
    """
    conf = visit.config[CONF]
    task_ns = conf[CONFIG_KEY_CHECKPOINT_NS]
    for _ in visit.address[saved:]:
        task_ns, _ = container(task_ns)
    ns, task_id = container(task_ns)
    if within := visit.address[saved:]:
        task_id = str(uuid5(UUID(task_id), show_address(within)))
    checkpoints: Mapping[str, str] = conf[CONFIG_KEY_CHECKPOINT_MAP]
    asked = {key: value for key, value in config[CONF].items() if not key.startswith("__")}
    asked |= {"checkpoint_ns": ns, "checkpoint_id": checkpoints[ns]}
    return Anchor(
        config={**config, "configurable": asked},
        task_id=task_id,
        namespaces=_around(ns),
        root=checkpoints[""],
    )


def saved_levels(nodes: Mapping[str, Any], node: str) -> int:
    """How many of the graphs around a node keep checkpoints, the outermost included: up to one that was told not to."""
    levels, prefix = 1, ""
    while True:
        for name, inner in nodes.items():
            full = full_name(prefix, name)
            if node.startswith(f"{full}/") and isinstance(inner.bound, Pregel):
                break
        else:
            return levels
        if inner.bound.checkpointer is False:
            return levels
        levels, prefix, nodes = levels + 1, full, inner.bound.nodes


def keeps_checkpoints(nodes: Mapping[str, Any], container: str) -> bool:
    """Whether the subgraph at this node does."""
    return saved_levels(nodes, f"{container}/") == container.replace("//", "").count("/") + 2


def _around(ns: str) -> tuple[str, ...]:
    """A namespace and those it stands in, outermost first, without the outermost graph's."""
    found: list[str] = []
    while ns:
        found.insert(0, ns)
        ns, _ = container(ns)
    return tuple(found)
