"""A billing run that can be killed at any moment: look up, charge and receipt for three customers, one summary.

As a script it takes jobs from its standard input, one JSON object a line, and does each in a process of its own that it
forks: a real process, which SIGKILL ends, without the seconds that imports take. It answers with how that ended.

The world is a file. A call to the payment provider is a line in it, appended and synced; it refuses nothing.
"""

import asyncio
import json
import operator
import os
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.func import task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

import sherlock
from sherlock import Plan, Verdict

CUSTOMERS = {"ann": 10, "bob": 20, "cyd": 10}
INPUT = {"customers": list(CUSTOMERS)}


class Customer(TypedDict, total=False):
    name: str
    amount: str
    charge: str


class Sent(TypedDict, total=False):
    receipts: Annotated[list, operator.add]


class CustomerState(Customer, Sent):
    pass


class Billing(Sent, total=False):
    customers: list
    summary: str


class World:
    """The payment provider's log, and the moments at which this process is to die."""

    def __init__(self, log: str, moment: tuple[str, int] | None, trace: str | None) -> None:
        self.log = log
        self.moment = moment
        self.trace = trace
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def at(self, moment: str) -> None:
        """Something may go wrong here."""
        with self._lock:  # some nodes are in threads
            self._seen[moment] += 1
            number = self._seen[moment]
        if self.trace:
            _append(self.trace, {"moment": [moment, number]})
        if self.moment == (moment, number):
            os.kill(os.getpid(), signal.SIGKILL)

    def send(self, what: str, key: str | None) -> str:
        """The effect."""
        self.at(f"before a {what.split(maxsplit=1)[0]}")
        _append(self.log, {"what": what, "key": key})
        self.at(f"after a {what.split(maxsplit=1)[0]}")
        return f"{what}, sent"

    def find(self, key: str) -> str | None:
        """What the provider knows under a key."""
        return next((f"{call['what']}, sent" for call in calls(self.log) if call["key"] == key), None)

    def watch(self, saver: Any) -> Any:
        """Let the world know of everything that is stored."""
        for name in ("put", "aput", "put_writes", "aput_writes"):
            setattr(saver, name, _watched(getattr(saver, name), self))
        return saver


def calls(log: str) -> list[dict[str, Any]]:
    """What the provider was told, in order."""
    return [json.loads(line) for line in Path(log).read_text().splitlines()] if Path(log).exists() else []


def guarded(world: World, saver: Any, *, reconciles: bool) -> Any:
    """The run under the guard. One look-up in three is wrong at first, and so is the summary."""

    class Checks:
        name = "checks"

        async def verify(self, subject: Any) -> Verdict:
            await asyncio.sleep(0.002)
            world.at(f"verifying {subject.node}")
            wanted = subject.text
            if subject.node == "customer/look_up":
                wanted = f"owes {CUSTOMERS[subject.inputs['name']]} euros"
            elif subject.node == "summarise":
                wanted = summary(subject.inputs)
            return Verdict(True) if subject.text == wanted else Verdict(False, corrected=wanted)

    def told(event: Any) -> None:
        if isinstance(event, sherlock.RolledBack):
            world.at("in a rollback")

    async def charge(state: CustomerState) -> CustomerState:
        return {"charge": world.send(f"charge {state['name']} {state['amount']}", sherlock.effect_key())}

    def receipt(state: CustomerState) -> CustomerState:  # in a thread
        return {"receipts": [world.send(f"receipt {state['name']} {state['charge']}", sherlock.effect_key())]}

    def found(field: str) -> Any:
        def reconcile(key: str, inputs: Any) -> Any:
            known = world.find(key)
            if known is None:
                return None
            return {field: [known]} if field == "receipts" else {field: known}

        return reconcile if reconciles else None

    graph = billing(
        sherlock.effects("irreversible", reconcile=found("charge"))(charge),
        sherlock.effects("irreversible", reconcile=found("receipts"))(receipt),
    )
    checks = Checks()
    plan = Plan.attach({"customer/look_up": checks, "customer/charge": checks, "summarise": checks})
    return sherlock.guard(graph.compile(checkpointer=saver), plan, on_event=told)


def plain(world: World, saver: Any) -> Any:
    """The run as LangGraph recommends it: a task for each call."""

    @task
    async def call(what: str) -> str:
        return world.send(what, None)

    async def charge(state: CustomerState) -> CustomerState:
        return {"charge": await call(f"charge {state['name']} {state['amount']}")}

    async def receipt(state: CustomerState) -> CustomerState:
        return {"receipts": [await call(f"receipt {state['name']} {state['charge']}")]}

    return billing(charge, receipt, slip="").compile(checkpointer=saver)


def billing(charge: Any, receipt: Any, *, slip: str = "bob") -> StateGraph:
    async def look_up(state: CustomerState) -> CustomerState:
        amount = 99 if state["name"] == slip else CUSTOMERS[state["name"]]
        return {"amount": f"owes {amount} euros"}

    inner = StateGraph(CustomerState, output_schema=Sent)
    inner.add_node("look_up", look_up)
    inner.add_node("charge", charge)
    inner.add_node("receipt", receipt)
    inner.add_edge(START, "look_up")
    inner.add_edge("look_up", "charge")
    inner.add_edge("charge", "receipt")
    builder = StateGraph(Billing)
    builder.add_node("customer", inner.compile())
    builder.add_node("summarise", lambda state: {"summary": summary(state) if not slip else "nothing was sent"})
    builder.add_conditional_edges(
        START, lambda state: [Send("customer", {"name": name}) for name in state["customers"]], ["customer"]
    )
    builder.add_edge("customer", "summarise")
    builder.add_edge("summarise", END)
    return builder


def summary(state: Any) -> str:
    return f"{len(state['receipts'])} receipts for {len(state['customers'])} customers"


async def work(job: dict[str, Any]) -> Any:
    """Begin the run, or go on with it; a person answers what the run asks. The final state."""
    from savers import Store

    world = World(job["log"], tuple(job["moment"]) if job.get("moment") else None, job.get("trace"))
    async with Store(job["kind"], job["where"]).open() as saver:
        await _no_sync(saver)
        world.watch(saver)
        graph = plain(world, saver) if job.get("plain") else guarded(world, saver, reconciles=job["reconciles"])
        config = {"configurable": {"thread_id": job["thread"]}}
        value: Any = None if await _begun(saver, config) else INPUT
        while True:
            state = await graph.ainvoke(value, config, durability=job.get("durability", "async"))
            if "__interrupt__" not in state:
                return state
            value = Command(resume={asked.id: _answer(world, asked.value) for asked in state["__interrupt__"]})


def _answer(world: World, asked: dict[str, Any]) -> Any:
    """A person who looks into the provider's books."""
    known = world.find(asked["key"])
    if known is None:
        return "run"
    return {"update": {"receipts": [known]} if asked["node"].endswith("receipt") else {"charge": known}}


async def _begun(saver: Any, config: Any) -> bool:
    with suppress(NotImplementedError):
        return await saver.aget_tuple(config) is not None
    return saver.get_tuple(config) is not None


async def _no_sync(saver: Any) -> None:
    """Processes are killed here, not machines: SQLite need not wait for the disk."""
    if "sqlite" in type(saver).__module__:
        done = saver.conn.execute("PRAGMA synchronous = OFF")
        if hasattr(done, "__await__"):
            await done


def _watched(store: Any, world: World) -> Any:
    def label(arguments: tuple[Any, ...]) -> str:
        if isinstance(arguments[1], dict):
            depth = arguments[0]["configurable"].get("checkpoint_ns", "").count("|") + 1
            return "checkpoint" if arguments[0]["configurable"].get("checkpoint_ns") == "" else f"checkpoint {depth}"
        channel = arguments[1][0][0] if arguments[1] else "nothing"
        return channel.strip("_") if channel.startswith("__sherlock") else "writes"

    if asyncio.iscoroutinefunction(store):

        async def astored(*arguments: Any, **named: Any) -> Any:
            world.at(f"before storing {label(arguments)}")
            done = await store(*arguments, **named)
            world.at(f"after storing {label(arguments)}")
            return done

        return astored

    def stored(*arguments: Any, **named: Any) -> Any:
        world.at(f"before storing {label(arguments)}")
        done = store(*arguments, **named)
        world.at(f"after storing {label(arguments)}")
        return done

    return stored


def _append(path: str, line: Any) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, (json.dumps(line) + "\n").encode())
    os.fsync(file)
    os.close(file)


def _warm_up() -> None:
    """Import here what the jobs need, so that none of them takes the time."""
    import savers  # noqa: F401
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # noqa: F401
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: F401

    world = World(os.devnull, None, None)
    asyncio.run(guarded(world, None, reconciles=True).ainvoke({"customers": []}))


def _serve() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(job)
        if "kill_after_s" in job:
            time.sleep(job["kill_after_s"])
            os.kill(child, signal.SIGKILL)  # it is not reaped yet, so the id is its own
        _, status = os.waitpid(child, 0)
        print(json.dumps({"killed": os.WIFSIGNALED(status), "code": os.waitstatus_to_exitcode(status)}), flush=True)


def _child(job: dict[str, Any]) -> None:
    code = 1
    try:
        state = asyncio.run(work(job))
        Path(job["result"]).write_text(json.dumps(state))
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent / "runtime"))
    _warm_up()
    _serve()
