"""The gate against a model of it that stores and forgets in a plain list: any order of puts, commits and rollbacks."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from gate_pilot import CONFIG
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.base import WRITES_IDX_MAP
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import INTERRUPT, RESUME

from sherlock.interpose.checkpoints import NULL_TASK_ID
from sherlock.runtime import gate_memory
from sherlock.runtime.gate import Gate


@pytest.fixture(autouse=True)
def no_slack(monkeypatch):
    """Let go of everything as soon as it may go."""
    monkeypatch.setattr(gate_memory, "SLACK", 0)


INNER = ("sub:1", "sub:2", "keeps")
"""Two namespaces of tasks, and one of a subgraph with a memory."""


@dataclass
class Entry:
    ns: str
    place: str
    """The checkpoint's own id, or that of the checkpoint that the writes are on."""
    tag: int
    parent: str | None = None
    task: str | None = None
    channel: str = ""
    value: Any = None
    is_stored: bool = False
    is_hidden: bool = False


@dataclass
class Model:
    line: list[Entry] = field(default_factory=list)
    committed: int = -2

    def checkpoints(self, ns):
        return [entry for entry in self.line if entry.ns == ns and entry.task is None]

    def head(self, ns):
        return self.checkpoints(ns)[-1] if self.checkpoints(ns) else None

    @property
    def step(self):
        return self.head("").tag if self.head("") else -2

    def commit(self, step):
        self.committed = max(self.committed, step)
        self._store(entry for entry in self.line if entry.tag <= self.committed)

    def commit_path(self, step, ns):
        self.commit(step - 1)
        head = self.head(ns)
        on_the_way = [e for e in self.line if e.ns == ns and not (e.task and head and e.place == head.place)]
        self._store(on_the_way)

    def finish(self):
        self.committed = max(self.committed, self.step)
        self._store(self.line)

    def _store(self, entries):
        for entry in entries:
            entry.is_stored = entry.is_stored or not entry.is_hidden

    def rollback(self, step):
        late = [entry for entry in self.line if entry.tag >= step and not entry.is_stored]
        gone = {(entry.ns, entry.place) for entry in late if entry.task is None}
        self.line = [e for e in self.line if e not in late or (e.channel == RESUME and (e.ns, e.place) not in gone)]
        unstored = [entry for entry in self.line if not entry.is_stored and entry.channel == RESUME]
        taken = [entry.value[-1] for entry in unstored if entry.task != NULL_TASK_ID]
        for entry in self.line:
            if entry.task == NULL_TASK_ID and entry.value in taken:
                entry.is_hidden = True

    def pending(self, ns, place, *, stored):
        found = {}
        for entry in self.line:
            if (entry.ns, entry.place) != (ns, place) or entry.task is None:
                continue
            if not (entry.is_stored if stored else not entry.is_hidden):
                continue
            index = WRITES_IDX_MAP.get(entry.channel, 0)
            if index < 0 or (entry.task, index) not in found:
                found[entry.task, index] = (entry.task, entry.channel, entry.value)
        return sorted(found.values(), key=repr)

    def in_base(self):
        return {
            (entry.ns, entry.place): (entry.parent, self.pending(entry.ns, entry.place, stored=True))
            for entry in self.line
            if entry.task is None and entry.is_stored
        }


numbers = st.integers(0, 2)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.just("")),
        st.tuples(st.just("put"), st.sampled_from(INNER)),
        st.tuples(st.sampled_from(["output", "ask", "answer", "take"]), st.sampled_from(["", *INNER]), numbers),
        st.tuples(st.sampled_from(["commit", "rollback"]), numbers),
        st.tuples(st.just("path"), st.sampled_from(INNER)),
    ),
    min_size=10,
    max_size=60,
).map(lambda some: [("put", ""), ("put", "sub:1"), *some])


class Slow(InMemorySaver):
    """Is asynchronous, unlike its parent, which answers at once."""

    async def aput(self, *arguments):
        await asyncio.sleep(0)
        return self.put(*arguments)

    async def aput_writes(self, *arguments):
        await asyncio.sleep(0)
        self.put_writes(*arguments)


class Both:
    """Does everything to the gate and to the model of it."""

    def __init__(self, saver, durability):
        self.saver, self.model = saver, Model()
        self.gate = Gate(saver, durability=durability, config=CONFIG, on_step=self.nothing)
        self.view = self.gate.view()
        self.count = 0

    async def nothing(self, step):
        pass

    def _config(self, ns, place):
        return {"configurable": {"thread_id": "1", "checkpoint_ns": ns, "checkpoint_id": place}}

    def _next(self):
        self.count += 1
        return self.count

    async def put(self, ns):
        model, number = self.model, self._next()
        head = model.head(ns)
        step = model.step + 1
        entry = Entry(ns, f"{number:08}", step, head.place if head else None)
        model.line.append(entry)
        checkpoint = {
            "v": 4,
            "id": entry.place,
            "ts": "",
            "channel_values": {"x": number},
            "channel_versions": {"x": number},
            "versions_seen": {},
            "updated_channels": None,
        }
        metadata = {"source": "loop", "step": step, "parents": {}}
        await self.view.aput(self._config(ns, entry.parent), checkpoint, metadata, {"x": number})

    async def write(self, kind, ns, task):
        model = self.model
        head = model.head(ns)
        if head is None:
            return
        channel = {"output": "x", "ask": INTERRUPT, "answer": RESUME, "take": RESUME}[kind]
        value: Any = f"value {self._next()}"
        task_id = f"task {task} of {head.place}"
        tag = (model.step if ns else head.tag) + 1
        if kind == "answer":
            ns, head, task_id, tag = "", model.head(""), NULL_TASK_ID, model.step
            if head is None:
                return
        elif kind == "take":
            answers = [e.value for e in model.line if e.task == NULL_TASK_ID and e.channel == RESUME]
            value = [answers[-1] if answers and task % 2 else value]
        model.line.append(Entry(ns, head.place, tag, None, task_id, channel, value))
        await self.view.aput_writes(self._config(ns, head.place), [(channel, value)], task_id, "path")
        if kind == "answer" and tag <= model.committed:
            model.commit(model.committed)

    async def commit(self, number):
        step = min(self.model.committed + number, self.model.step)
        self.model.commit(step)
        await self.gate.commit(step)

    async def path(self, ns):
        self.model.commit_path(self.model.step + 1, ns)
        await self.gate.commit_path(self.model.step + 1, [ns])

    def rollback(self, number):
        step = max(self.model.step + 1 - number, self.model.committed + 1)
        self.view.close()
        self.gate.rollback(step)
        self.model.rollback(step)
        self.view = self.gate.view()

    async def check(self):
        assert self.gate.committed == self.model.committed
        found = [saved async for saved in self.saver.alist({"configurable": {"thread_id": "1"}})]
        assert {_place(saved): _content(saved) for saved in found} == self.model.in_base()
        for ns in ("", *INNER):
            await self._check_head(ns)

    async def _check_head(self, ns):
        head = self.model.head(ns)
        saved = await self.view.aget_tuple({"configurable": {"thread_id": "1", "checkpoint_ns": ns}})
        assert (saved is None) == (head is None)
        if head is not None:
            assert _place(saved) == (ns, head.place)
            assert _content(saved) == (head.parent, self.model.pending(ns, head.place, stored=False))
            assert saved == self.view.get_tuple(self._config(ns, head.place))
            assert saved.checkpoint["channel_values"] == {"x": int(head.place)}


def _place(saved):
    return saved.config["configurable"]["checkpoint_ns"], saved.checkpoint["id"]


def _content(saved):
    parent = saved.parent_config["configurable"]["checkpoint_id"] if saved.parent_config else None
    return parent, sorted(saved.pending_writes, key=repr)


@pytest.mark.parametrize(("kind", "durability"), [(InMemorySaver, "sync"), (Slow, "sync"), (Slow, "async")])
def test_it_does_what_the_model_does(kind, durability):
    @settings(max_examples=100)
    @given(operations)
    @example([("put", "sub:1"), ("put", ""), ("commit", 1), ("output", "sub:1", 0), ("path", "sub:1")])
    def run(todo):
        asyncio.run(_fly(Both(kind(), durability), todo))

    run()


async def _fly(both, todo):
    await both.gate.load()
    for name, *arguments in todo:
        if name == "put":
            await both.put(*arguments)
        elif name == "commit":
            await both.commit(*arguments)
        elif name == "rollback":
            both.rollback(*arguments)
        elif name == "path":
            await both.path(*arguments)
        else:
            await both.write(name, *arguments)
        await both.gate.settle()
        await both.check()
    both.model.finish()
    await both.gate.finish()
    await both.check()
