"""How the gate stores: in order, each entry once, nothing after a failure, and no more memory than the window."""

import asyncio
from typing import TypedDict

import pytest
from gate_graphs import Slips, asking, chain, fanned, nested
from gate_pilot import CONFIG, Flight, committed_line, everything, guarded, with_saver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from sherlock.runtime.gate import Gate

EMPTY = {"log": []}
GRAPHS = [
    pytest.param(chain, Slips(a=1, b=1).times, [(1, 1), (2, 2)], id="chain"),
    pytest.param(nested, Slips(x=1, b=1).times, [(2, 2), (3, 3)], id="subgraphs"),
    pytest.param(fanned, Slips(work1=1, first2=1).times, [(2, 2)], id="Send"),
]


class Watched(InMemorySaver):
    """Takes its time, notes every store, and fails at the `fails_at`-th."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.stored = []
        self.calls = 0
        self.fails_at = fails_at
        self.under_way = 0
        self.is_gated = True

    async def aput(self, config, checkpoint, metadata, new_versions):
        await self._store(("checkpoint", config["configurable"]["checkpoint_ns"], checkpoint["id"]))
        return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(self, config, writes, task_id, task_path=""):
        await self._store(("writes", config["configurable"]["checkpoint_id"], task_id))
        self.put_writes(config, writes, task_id, task_path)

    async def _store(self, what):
        self.under_way += 1
        assert self.under_way == 1 or not self.is_gated
        for _ in range(3):
            await asyncio.sleep(0)
        self.under_way -= 1
        self.calls += 1
        if self.calls == self.fails_at:
            raise OSError("the disk is full")
        self.stored.append(what)


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize(("make", "slips", "back"), GRAPHS)
def test_a_failed_store_is_told_and_nothing_is_stored_after_it(make, slips, back, durability):
    """Whatever the store that fails: the thread goes on from what there is, without the guard, to the same end."""

    async def main():
        whole = Watched()
        expected = await guarded(make(Slips(**slips)), whole, EMPTY, back=back, durability=durability)
        assert len(set(whole.stored)) == len(whole.stored)  # each once
        for number in range(1, len(whole.stored) + 1, 1 if make is chain else 3):
            base = Watched(fails_at=number)
            flight = Flight(make(Slips(**slips)), base, back=back, durability=durability)
            with pytest.raises(OSError, match="the disk is full"):
                await flight.run(EMPTY)
            for call in (flight.gate.commit(0), flight.gate.commit_path(0, []), flight.gate.finish()):
                with pytest.raises(OSError, match="the disk is full"):
                    await call
            assert len(base.stored) == number - 1
            assert [kind for kind, *_ in base.stored] == [kind for kind, *_ in whole.stored[: number - 1]]
            assert "!" not in repr(await everything(base))
            base.fails_at, base.is_gated = None, False
            go_on = None if base.get_tuple(CONFIG) else EMPTY
            assert await with_saver(make(), base).ainvoke(go_on, CONFIG) == expected

    asyncio.run(main())


def test_async_goes_on_while_it_stores():
    async def main():
        class Slow(Watched):
            async def _store(self, what):
                await open_again.wait()
                await super()._store(what)

        base, open_again, steps = Slow(), asyncio.Event(), []

        async def watch(gate, step):
            steps.append((step, len(base.stored)))
            if step == 3:
                open_again.set()

        flight = Flight(chain(Slips(a=1, b=1)), base, back=[(1, 1), (3, 2)], lag=2, durability="async", watch=watch)
        expected = await chain().ainvoke(EMPTY)
        assert await flight.run(EMPTY) == expected
        assert [step for step, stored in steps if stored == 0] == [-1, 0, 1, 1, 2, 3]
        assert with_saver(chain(), base).get_state(CONFIG).values == expected

    asyncio.run(main())


def test_a_store_that_its_caller_gives_up_is_done_all_the_same():
    async def main():
        class Slow(Watched):
            async def _store(self, what):
                begun.set()
                await open_again.wait()
                await super()._store(what)

        async def nothing(step):
            pass

        base, begun, open_again = Slow(), asyncio.Event(), asyncio.Event()
        gate = Gate(base, durability="sync", config=CONFIG, on_step=nothing)
        await gate.load()
        await with_saver(chain(), gate.view()).ainvoke(EMPTY, CONFIG, durability="sync")
        commit = asyncio.ensure_future(gate.commit(1))
        await begun.wait()
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        assert base.stored == []
        open_again.set()
        await gate.settle()
        assert max(saved.metadata["step"] for saved in await everything(base)) == 1
        await gate.finish()
        assert len(set(base.stored)) == len(base.stored)
        plain = InMemorySaver()
        await with_saver(chain(), plain).ainvoke(EMPTY, CONFIG)
        assert await committed_line(base) == await committed_line(plain)

    asyncio.run(main())


def test_the_answer_to_a_question_is_stored_before_anything_is_made_of_it():
    """Killed in the next superstep, the thread still has the answer."""

    async def main():
        base = InMemorySaver()
        await guarded(asking(), base, EMPTY)
        await guarded(asking(), base, Command(resume="one"))

        async def watch(gate, step):
            raise KeyError(step)

        with pytest.raises(KeyError):
            await Dropped(asking(), base, watch=watch).run(Command(resume="two"))
        result = await with_saver(asking(), base).ainvoke(None, CONFIG)
        assert result["log"] == ["a", "p", "ask", "one", "two", "b"]

    asyncio.run(main())


class Dropped(Flight):
    """A run that ends without a word to its gate, as one that is killed."""

    async def _landed(self, attempt):
        return attempt.result()


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("has_base", [False, True])
def test_memory_is_that_of_the_window(has_base, durability):
    """Fifty rounds, each with a subgraph of two steps."""

    async def main():
        class Count(TypedDict):
            count: int

        def loop(names, **edges):
            builder = StateGraph(Count)
            for name, node in names.items():
                builder.add_node(name, node)
            for before, after in zip([START, *names], [*names, END], strict=True):
                if after != END or "again" not in edges:
                    builder.add_edge(before, after)
            if "again" in edges:
                builder.add_conditional_edges(*edges["again"])
            return builder

        inner = loop({"x": lambda state: {}, "y": lambda state: {}}).compile()
        again = ("sub", lambda state: "count" if state["count"] < 50 else END, ["count", END])
        graph = loop({"count": lambda state: {"count": state["count"] + 1}, "sub": inner}, again=again).compile()
        sizes = []

        async def watch(gate, step):
            memory = gate.memory
            held = sum(map(len, memory._records.values())) + sum(map(len, memory._writes.values()))
            sizes.append(held + len(memory._line) + len(gate._due))

        base = InMemorySaver() if has_base else None
        flight = Flight(
            graph, base, durability=durability, watch=watch, lag=2, config=CONFIG | {"recursion_limit": 200}
        )
        assert await flight.run({"count": 0}) == {"count": 50}
        assert len(sizes) == 102
        assert max(sizes[50:]) <= max(sizes[10:50]) < 100

    asyncio.run(main())
