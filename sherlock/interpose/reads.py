"""Which state keys a node reads: as declared, else as its source shows, else unknown.

The answer must never leave a key out: what is kept after a correction upstream is decided by it. So it is read off
the source only where every use of the state is a constant subscript (or `.get`, or a field of a pydantic or dataclass
state), and the source is shown to be that of the code that runs by compiling it again. Anything else is unknown. Reads
are never tracked at run time, as C code and f-strings read past any tracker.
"""

import ast
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from langchain_core.runnables.config import run_in_executor
from langgraph._internal._runnable import RunnableCallable
from langgraph.pregel._read import PregelNode

from sherlock.errors import GraphError
from sherlock.interpose.reads_escapes import refuse_other_ways, refuse_returned_runnables
from sherlock.interpose.reads_source import Unknown, source_of, state_fields, unwrapped
from sherlock.interpose.reads_uses import Uses

_INJECTED = {"config", "runtime", "store", "writer"}
"""What LangGraph may hand to a node beside the state: none of it carries the value of a channel."""


def reads_of(node: PregelNode) -> frozenset[str] | None:
    """The state keys that a node reads, or None: unknown, take all of its input schema.

    Declared reads (`metadata={"sherlock": {"reads": [...]}}`, or `__sherlock_reads__` on the function) are taken at
    their word and cut down to the node's input channels. Else the source of the function is analysed. With a frozen
    set S returned by analysis, no change of another key of the input changes what the node does, with these
    exceptions: a value that the state's schema refuses; state that the node kept from an earlier call; and an installed
    library, or an object that is not within reach of its names, that digs the state out of LangGraph's internals.

    The answer is about the node's function and its channels: routers on its outgoing edges read for themselves, and
    a task started by `Send` has its packet for input, which its caller must take as read whole.

    Raises GraphError if the declaration is not a collection of strings.
    """
    declared = _declared(node)
    if declared is not None:
        return declared & frozenset(node.channels) if isinstance(node.channels, list) else declared
    if not isinstance(node.channels, list):
        return None
    try:
        keys = _found(node)
    except (Unknown, RecursionError):
        return None
    # A key that is no channel can only come in a packet sent by `Send`.
    return keys if keys <= frozenset(node.channels) else None


def _declared(node: PregelNode) -> frozenset[str] | None:
    settings = (node.metadata or {}).get("sherlock")
    reads = settings.get("reads") if isinstance(settings, Mapping) else None
    callables = [getattr(node.bound, "func", None), getattr(node.bound, "afunc", None)]
    while reads is None and callables:
        function = callables.pop(0)
        reads = getattr(function, "__sherlock_reads__", None)
        if isinstance(function, functools.partial):
            callables.append(function.func)
    if reads is None:
        return None
    if isinstance(reads, str) or not isinstance(reads, Iterable):
        raise GraphError(f"The reads declared for a node are {reads!r}; give a list of state keys.")
    keys = frozenset(reads)
    if not all(isinstance(key, str) for key in keys):
        raise GraphError(f"The reads declared for a node are {reads!r}; every state key must be a string.")
    return keys


def _found(node: PregelNode) -> frozenset[str]:
    bound = node.bound
    if type(bound) is not RunnableCallable or bound.explode_args or bound.func_accepts.keys() - _INJECTED:
        raise Unknown("not a plain function of the state")
    fields = state_fields(node.mapper)
    keys: frozenset[str] = frozenset()
    for function in _functions(bound):
        keys |= _analysed(function, bound, fields)
    return keys


def _functions(bound: RunnableCallable) -> Iterator[Callable[..., Any]]:
    """The node's function or, where it was given both, its sync and async ones."""
    if bound.func is not None:
        yield bound.func
    afunc: Any = bound.afunc
    in_thread = (
        isinstance(afunc, functools.partial)
        and afunc.func is run_in_executor
        and len(afunc.args) == 2
        and afunc.args[1] is bound.func
        and not afunc.keywords
    )
    if afunc is not None and not in_thread:
        yield afunc


def _analysed(target: Callable[..., Any], bound: RunnableCallable, fields: frozenset[str] | None) -> frozenset[str]:
    function, position = unwrapped(target)
    code = function.__code__
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        raise Unknown("a generator")
    positional = code.co_varnames[: code.co_argcount]
    named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if position >= len(positional) or bound.func_accepts.keys() - set(named):
        raise Unknown("the state or an injected value has no parameter of its own")
    source = source_of(function)
    arguments = [*source.args.posonlyargs, *source.args.args]
    refuse_other_ways(function, target)
    uses = Uses(
        state=arguments[position].arg,
        injected=frozenset(named[:position] + named[position + 1 :]) & {"config", "runtime"},
        fields=fields,
    )
    body = [source.body] if isinstance(source, ast.Lambda) else source.body
    for part in body:
        uses.visit(part)
    if bound.recurse:
        refuse_returned_runnables(function, source)
    return frozenset(uses.keys)
