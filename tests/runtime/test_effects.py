"""The keys of effects, and what becomes of an effect when the run that had it dies."""

import asyncio
import operator
from typing import Annotated, TypedDict

import pytest
from effect_graphs import CONFIG, Dying, Judge, State, World, placed, shop
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

import sherlock


def run(graph, value, config=CONFIG, plan=None, **options):
    return asyncio.run(sherlock.guard(graph, plan).ainvoke(value, config, **options))


# Keys


def test_an_irreversible_node_waits_for_the_verdict():
    world = World()
    state = run(shop(world).compile(), {"order": " milk "}, {}, placed(read=Judge(lambda text: "bread", 0.05)))
    assert state["paid"] == world.names == ["bread"]


@pytest.mark.parametrize("kind", ["irreversible", "compensable", "idempotent"])
def test_a_node_with_an_effect_has_a_key(kind):
    world, saver = World(), InMemorySaver()
    for _ in range(2):
        run(
            shop(world, kind=kind, undo=print).compile(checkpointer=saver), {"order": "milk"}, plan=placed(tell=Judge())
        )
    assert None not in world.keys
    assert len(set(world.keys)) == 2


def test_a_node_without_an_effect_has_none():
    world = World()
    run(shop(world, kind="none").compile(), {"order": "milk"}, plan=placed(tell=Judge()))
    assert world.keys == [None]
    assert sherlock.effect_key() is None


def test_the_key_is_made_of_thread_node_and_input():
    def key(order, thread):
        world = World()
        run(
            shop(world).compile(checkpointer=InMemorySaver()), {"order": order}, {"configurable": {"thread_id": thread}}
        )
        return world.keys[0]

    assert key("milk", "1") == key("milk", "1")
    assert len({key("milk", "1"), key("milk", "2"), key("bread", "1")}) == 3


def test_a_synchronous_node_has_a_key_in_its_thread():
    world = World()
    agent = sherlock.guard(shop(world, lambda state: world.send("sync")).compile(checkpointer=InMemorySaver()))
    agent.invoke({"order": "milk"}, CONFIG)
    assert world.keys[0]


class Rounds(TypedDict, total=False):
    names: list
    name: str
    count: Annotated[int, operator.add]


class Counted(TypedDict, total=False):
    count: Annotated[int, operator.add]


def rounds(world: World, *, nested: bool) -> StateGraph:
    """Charges each of `names`, in parallel and one by one in subgraphs if `nested`; all of it `2` times."""

    async def charge(state: Rounds) -> Rounds:
        world.send(state["name"])
        return {"count": 1}

    node = sherlock.effects("irreversible")(charge)
    if nested:
        inner = StateGraph(Rounds, output_schema=Counted)
        inner.add_node("ready", lambda state: {"name": state["name"]})
        inner.add_node("charge", node)
        inner.add_edge(START, "ready")
        inner.add_edge("ready", "charge")
        node = inner.compile()
    builder = StateGraph(Rounds)
    builder.add_node("start", lambda state: {"name": "all"})
    builder.add_node("each", node)
    builder.add_node("join", lambda state: {"name": "none"})
    builder.add_edge(START, "start")
    builder.add_conditional_edges("start", lambda state: [Send("each", {"name": n}) for n in state["names"]], ["each"])
    builder.add_edge("each", "join")
    builder.add_conditional_edges("join", lambda state: "start" if state["count"] < 2 * len(state["names"]) else END)
    return builder


@settings(max_examples=12)
@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=3), st.booleans(), st.booleans())
def test_equal_effects_that_are_meant_differ(names, nested, saved):
    """By `Send`, in a loop, in subgraphs, in a second turn on the thread."""
    world = World()
    graph = rounds(world, nested=nested).compile(checkpointer=InMemorySaver() if saved else None)
    run(graph, {"names": names, "count": 0})
    assert sorted(world.names) == sorted(names * 2)
    assert len(set(world.keys)) == len(world.keys)
    if saved:
        run(graph, {"names": [*names, "c"]})  # goes on counting from the first turn
        assert len(set(world.keys)) == len(world.keys) > 2 * len(names)


def test_what_was_given_up_is_tried_again_with_the_same_key():
    """A run fails in the middle of an effect; the caller sends the same input once more instead of resuming it."""
    world, saver = World(), InMemorySaver()

    def charge(state: State) -> State:
        world.send(state["order"])
        if len(world.sent) == 1:
            raise ConnectionError("no answer")
        return {"paid": [state["order"]]}

    graph = shop(world, charge).compile(checkpointer=saver)
    with pytest.raises(ConnectionError):
        run(graph, {"order": "milk"})
    run(graph, {"order": "milk"})
    run(graph, {"order": "milk"})
    assert world.keys[0] == world.keys[1] != world.keys[2]


def test_a_retry_policy_keeps_the_key():
    world = World()

    async def charge(state: State) -> State:
        world.send("try")
        if len(world.sent) < 3:
            raise ConnectionError("no answer")
        return {"paid": ["done"]}

    builder = shop(world, charge, retry=RetryPolicy(initial_interval=0.001, max_attempts=3, jitter=False))
    run(builder.compile(checkpointer=InMemorySaver()), {"order": "milk"})
    assert len(world.keys) == 3
    assert len(set(world.keys)) == 1


def test_a_node_that_failed_is_not_executed_again_by_the_rollback_of_another():
    """Its sibling is rejected meanwhile, so that LangGraph runs the superstep again."""
    world = World()

    async def charge(state: State) -> State:
        world.send(state["order"])
        raise ConnectionError("no answer")

    builder = shop(world, charge)
    builder.add_node("beside", lambda state: {"note": "left"})
    builder.add_edge("read", "beside")
    with pytest.raises(ConnectionError):
        run(
            builder.compile(checkpointer=InMemorySaver()),
            {"order": "milk"},
            plan=placed(beside=Judge(lambda text: "right", 0.05)),
        )
    assert world.names == ["milk"]


# After a crash


def entries(make) -> int:
    """How many entries a whole run stores."""
    saver = Dying(10_000)
    run(make(World()).compile(checkpointer=saver), {"order": "milk"})
    return 10_000 - saver.left


def died(graph, saver, value={"order": "milk"}, plan=None):  # noqa: B006
    """Run until the saver stores nothing any more, then let it store again. What to resume with."""
    with pytest.raises(ConnectionError):
        run(graph, value, plan=plan)
    saver.left = 10_000
    return None if saver.get_tuple(CONFIG) else value


@pytest.mark.parametrize("happened", [True, False])
def test_reconcile_says_whether_it_happened(happened):
    """The saver dies at each moment in turn. An effect that did not happen is done, one that did is not done again."""
    asked = []
    for after in range(entries(shop)):
        world, saver = World(), Dying(after)

        def charge(state: State, world=world, saver=saver) -> State:
            if not happened and saver.left < 9000 and not world.names:
                world.sent.append(("tried", None))
                saver.left = 0
                raise ConnectionError("the machine is gone, before anything was sent")
            world.send("milk")
            return {"paid": ["milk"]}

        def reconcile(key, inputs, world=world):
            asked.append(key)
            return {"paid": ["milk"]} if key in world.keys else None

        graph = shop(world, charge, reconcile=reconcile).compile(checkpointer=saver)
        asked.clear() if after == 0 else None
        state = run(graph, died(graph, saver))
        sent = [entry for entry in world.sent if entry[1] is not None]
        assert [name for name, _ in sent] == ["milk"], after
        assert (state["paid"], state["note"]) == (["milk"], "paid for milk")
        assert set(asked) <= {sent[0][1]}
    assert asked


@pytest.mark.parametrize(
    ("answer", "paid", "sent"),
    [("run", ["milk"], 2), ("done", [], 1), ({"update": {"paid": ["by hand"]}}, ["by hand"], 1)],
)
def test_without_reconcile_a_person_is_asked(answer, paid, sent):
    world, saver = World(), Dying(10_000)
    graph = shop(world, world.charge_and(lambda: world.sent[1:] or saver.die())).compile(checkpointer=saver)
    agent = sherlock.guard(graph)
    died(graph, saver)
    asked = run(graph, None)["__interrupt__"][0].value
    assert asked["kind"] == "sherlock.effect"
    assert asked["node"] == "charge"
    assert asked["key"] == world.keys[0]
    assert asked["input"] == {"order": "milk", "paid": []}
    assert agent.get_state(CONFIG).interrupts[0].value == asked
    again = run(graph, Command(resume="perhaps"))["__interrupt__"][0].value
    assert "perhaps" in again["problem"]
    state = run(graph, Command(resume=answer))
    assert state["paid"] == paid
    assert len(world.sent) == sent
    assert len(set(world.keys)) == 1
    assert agent.get_state(CONFIG).next == ()


def test_an_answer_counts_once():
    """A person says "run", and the process dies again in the middle of it: that answer says nothing about now."""
    world, saver = World(), Dying(10_000)
    graph = shop(world, world.charge_and(saver.die)).compile(checkpointer=saver)
    died(graph, saver)
    run(graph, None)
    died(graph, saver, Command(resume="run"))
    assert "__interrupt__" in run(graph, None)
    assert len(world.sent) == 2
    state = run(graph, Command(resume={"update": {"paid": ["seen"]}}))
    assert state["paid"] == ["seen"]
    assert len(world.sent) == 2


def test_a_node_may_ask_a_person_itself():
    """What it asks and what is asked about it do not get each other's answers."""
    world, saver = World(), Dying(10_000)
    dies = [saver.die, lambda: None]

    def charge(state: State) -> State:
        answer = interrupt("how much?")
        world.send(answer)
        dies[len(world.sent) - 1]()
        return {"paid": [answer]}

    graph = shop(world, charge).compile(checkpointer=saver)
    assert run(graph, {"order": "milk"})["__interrupt__"][0].value == "how much?"
    died(graph, saver, Command(resume="ten"))
    assert run(graph, None)["__interrupt__"][0].value["kind"] == "sherlock.effect"
    state = run(graph, Command(resume="run"))
    if "__interrupt__" in state:  # the answer died with the process
        assert state["__interrupt__"][0].value == "how much?"
        state = run(graph, Command(resume="ten"))
    assert state["paid"] == ["ten"]
    assert world.names == ["ten", "ten"]
    assert len(set(world.keys)) == 1


def test_a_result_that_was_stored_is_verified_all_the_same():
    """The process dies between the effect and its verdict: what was returned is taken up, and corrected."""
    world, saver = World(), Dying(10_000)

    class Dies(Judge):
        async def verify(self, subject):
            saver.die()
            await asyncio.sleep(0.01)
            raise ConnectionError("the machine is gone")

    graph = shop(world).compile(checkpointer=saver)
    with pytest.raises(Exception, match="the machine is gone"):
        run(graph, {"order": "milk"}, plan=placed(charge=Dies()))
    saver.left = 10_000
    state = run(graph, None, plan=placed(charge=Judge(lambda text: '["bread"]')))
    assert state["note"] == "paid for bread"
    assert world.names == ["milk"]


def test_what_the_saver_cannot_store_is_asked_about(caplog):
    world, saver = World(), Dying(10_000)

    class Receipt:
        def __str__(self):
            return "receipt"

    def charge(state: State) -> State:
        world.send("milk")
        saver.left = 3  # the notes on the effect, no more
        return {"paid": [Receipt()]}

    graph = shop(world, charge).compile(checkpointer=saver)
    with pytest.raises((ConnectionError, TypeError)):
        run(graph, {"order": "milk"})
    saver.left = 10_000
    assert "cannot store what an irreversible node returned" in caplog.text
    assert run(graph, None)["__interrupt__"][0].value["key"] == world.keys[0]


def test_a_claim_in_a_subgraph_that_keeps_no_checkpoints_is_found():
    world, saver = World(), Dying(10_000)
    inner = shop(world, world.charge_and(saver.die)).compile(checkpointer=False)
    builder = StateGraph(State)
    builder.add_node("shop", inner)
    builder.add_edge(START, "shop")
    graph = builder.compile(checkpointer=saver)
    died(graph, saver)
    assert run(graph, None)["__interrupt__"][0].value["key"] == world.keys[0]
    assert run(graph, Command(resume={"update": {"paid": ["x"]}}))["note"] == "paid for x"
    assert world.names == ["milk"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_the_ledger_is_not_seen(durability):
    plain, ours = InMemorySaver(), InMemorySaver()
    world = World()
    asyncio.run(shop(world).compile(checkpointer=plain).ainvoke({"order": "milk"}, CONFIG, durability=durability))
    graph = shop(world).compile(checkpointer=ours)
    run(graph, {"order": "milk"}, durability=durability)
    told = [
        [(s.values, s.next) for s in shop(world).compile(checkpointer=s).get_state_history(CONFIG)]
        for s in (plain, ours)
    ]
    assert told[1][0] == told[0][0]
    assert durability == "exit" or told[1] == told[0]
