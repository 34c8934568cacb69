"""Small graphs for the command line, written into a folder as a user would have them."""

import json
import textwrap

GRAPH = """
import os
import re
import time
from pathlib import Path
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    text: str
    numbers: str
    total: str
    answer: str


def read(state: State) -> State:
    return {"numbers": " ".join(re.findall(r"[0-9]+", state["text"]))}


def add(state: State) -> State:
    return {"total": str(sum(int(n) for n in state["numbers"].split() if n.isdigit()))}


def add_badly(state: State) -> State:
    total = int(add(state)["total"])
    return {"total": str(total + (total % 3 == 0))}


def reply(state: State) -> State:
    return {"answer": f"It is {state.get('total')}"}


def chatty(state: State) -> State:
    print("replying to", state["total"])
    return reply(state)


def slow(state: State) -> State:
    print("replying slowly")
    time.sleep(0.02)
    return reply(state)


def local(state: State) -> State:
    Path("address").write_text(os.environ["OPENAI_BASE_URL"])
    return slow(state)


def ask(state: State) -> State:
    return {"answer": f"It is {interrupt('how much?')}"}


def broken(state: State) -> State:
    raise RuntimeError("no stock")


def call(state: State) -> State:
    from openai import OpenAI

    client = OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0)
    said = client.chat.completions.create(model="local", messages=[{"role": "user", "content": state["text"]}])
    return {"answer": said.choices[0].message.content}


def build(last, second=add):
    builder = StateGraph(State)
    for name, node in (("read", read), ("add", second), ("reply", last)):
        builder.add_node(name, node)
    builder.add_edge(START, "read")
    builder.add_edge("read", "add")
    builder.add_edge("add", "reply")
    builder.add_edge("reply", END)
    return builder


graph = build(reply).compile()
sloppy = build(reply, add_badly).compile()
chatty_graph = build(chatty).compile()
slow_graph = build(slow).compile()
local_graph = build(local).compile()
asking = build(ask).compile()
failing = build(broken).compile()
calling = build(call).compile()
other = StateGraph(State).add_node("only", reply).add_edge(START, "only").add_edge("only", END).compile()
number = 7


def right(output, case):
    return output.get("answer") == case.expected["answer"]


def always(output, case):
    return True


def raising(output, case):
    raise KeyError("total")


def nan(output, case):
    return float("nan")
"""

ENTRYPOINT = """
from langgraph.func import entrypoint


@entrypoint()
def workflow(text: str) -> str:
    return text
"""

FAULTS = """
from sherlock import Fault


def shout(text, rng):
    '''Too much said: a model that goes on and on.'''
    return f"{text} and so on"


mine = [Fault("shout", "output", 1.0, shout)]
none = [Fault("never", "output", 1.0, lambda text, rng: None)]
"""


CHECKS = """
import time


def total(text, subject):
    right = str(sum(int(n) for n in subject.inputs["numbers"].split() if n.isdigit()))
    return (text == right, None if text == right else right)


def never(text):
    return False


def worse(text):
    return (False, "0")


def broken(text):
    raise KeyError("stock")


def hangs(text):
    time.sleep(1)
    return True


def rubbish(text):
    return "maybe"


def number(text):
    return (False, 7)
"""


def write_desk(folder, cases=10):
    """`agent.py`, `entry.py`, `own_faults.py`, `checks.py` and `cases.jsonl` in `folder`."""
    (folder / "agent.py").write_text(GRAPH)
    (folder / "entry.py").write_text(ENTRYPOINT)
    (folder / "own_faults.py").write_text(textwrap.dedent(FAULTS))
    (folder / "checks.py").write_text(textwrap.dedent(CHECKS))
    write_cases(folder / "cases.jsonl", cases)


def write_cases(path, n, **changes):
    lines = [
        {"inputs": {"text": f"add {i} and {i * 3 + 1}"}, "expected": {"answer": f"It is {i * 4 + 1}"}, **changes}
        for i in range(n)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
