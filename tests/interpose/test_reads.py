import asyncio
import dataclasses
import functools
import inspect
import linecache
import sys
from builtins import locals as names_here
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph
from langgraph.managed import RemainingSteps
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.types import Command, Send, StreamWriter
from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator

from sherlock.errors import GraphError
from sherlock.interpose.reads import reads_of

KEY = "secret"


class State(TypedDict):
    a: int
    b: int
    secret: Any
    out: NotRequired[str]


def graph_of(function, schema=State, **options):
    builder = StateGraph(schema)
    builder.add_node("node", function, **options)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    return builder.compile()


def reads(function, schema=State, **options):
    return reads_of(graph_of(function, schema, **options).nodes["node"])


def run(function, inputs, schema=State):
    return asyncio.run(graph_of(function, schema).ainvoke(inputs))["out"]


# Ways to read `secret`: each really does, and none may be answered with a set.


def whole(state):
    return {"out": str(state)}


def returned(state):
    state["out"] = str(state["secret"])
    return state


def spread(state):
    return {"out": str({**state})}


def keywords(state):
    return {"out": str(dict(**state))}


def starred(state):
    return {"out": str([*state.values()])}


def passed_on(state):
    return {"out": whole(state)["out"]}


def passed_by_keyword(state):
    return {"out": whole(state=state)["out"]}


def formatted(state):
    return {"out": f"{state}"}


def formatted_debug(state):
    return {"out": f"{state=!r}"}


def aliased(state):
    s = state
    return {"out": str(s["secret"])}


def walrus(state):
    return {"out": str((s := state)["a"]) + str(s["secret"])}


def tuple_alias(state):
    s, _ = state, 0
    return {"out": str(s["secret"])}


def in_a_list(state):
    return {"out": str([state][0]["secret"])}


def computed_key(state):
    return {"out": str(state[KEY])}


def computed_get(state):
    return {"out": str(state.get(KEY.lower()))}


def bound_get(state):
    return {"out": str([state.get][0]("secret"))}


def starred_get(state):
    return {"out": str(state.get(*["secret"]))}


def default_of_get(state):
    return {"out": str(state.get("nothing", state))}


def default_from_secret(state):
    read = lambda s=state: s["secret"]
    return {"out": str(read())}


def compared(state):
    return {"out": str(state == {"a": 1, "b": 1, "secret": 1, "out": ""})}


def iterated(state):
    return {"out": str([state[key] for key in state])}


def items(state):
    return {"out": str(list(state.items()))}


def popped(state):
    return {"out": str(state.pop("secret"))}


def subscripted_by_loop(state):
    return {"out": str([state[key] for key in ("a", "secret")])}


def unbound_method(state):
    return {"out": str(dict.get(state, "secret"))}


def matched(state):
    match state:
        case {"secret": value}:
            return {"out": str(value)}


def matched_rest(state):
    match (state,):
        case ({"a": _, **rest},):
            return {"out": str(rest)}


def nested_function(state):
    def inner():
        return str(state)

    return {"out": inner()}


def nested_argument(state):
    read = lambda s: str(s["secret"])
    return {"out": read(state)}


def nested_shadow(state):
    return {"out": str([state["secret"] for state in [state]])}


def closure_cell(state):
    def inner():
        return state["a"]

    return {"out": str(inner.__closure__[0].cell_contents["secret"])}


def by_locals(state):
    return {"out": str(locals()["state"]["secret"])}


def by_locals_renamed(state):
    return {"out": str(names_here()["state"]["secret"])}


def by_vars(state):
    return {"out": str(vars()["state"]["secret"])}


def by_eval(state):
    return {"out": str(eval("state")["secret"])}


def by_exec(state):
    found = {}
    exec("found.update(state)")
    return {"out": str(found)}


def by_frame(state):
    return {"out": str(sys._getframe().f_locals["state"]["secret"])}


def by_getattr(state):
    frame = getattr(sys, "_get" + "frame")()
    return {"out": str(getattr(frame, "f_" + "locals".lower())["state"]["secret"])}


def look_around():
    return inspect.currentframe().f_back.f_locals["state"]["secret"]


def look_around_twice():
    return inspect.stack()[2].frame.f_locals["state"]["secret"]


def through_helper():
    return look_around_twice()


def by_helper_frame(state):
    return {"out": str(look_around())}


def by_helper_of_helper(state):
    return {"out": str(through_helper())}


LOOK = functools.partial(look_around)


class Looker:
    def __call__(self):
        return sys._getframe(1).f_locals["state"]["secret"]

    def peek(self):
        return sys._getframe(1).f_locals["state"]["secret"]

    @property
    def peeked(self):
        return sys._getframe(1).f_locals["state"]["secret"]


class LooksWhenMade:
    def __init__(self):
        self.found = sys._getframe(1).f_locals["state"]["secret"]


LOOKER = Looker()
LOOKERS = {"one": LOOKER}


@functools.lru_cache(maxsize=0)
def cached_look():
    return inspect.currentframe().f_back.f_locals["state"]["secret"]


def by_partial_helper(state):
    return {"out": str(LOOK())}


def by_callable_helper(state):
    return {"out": str(LOOKER())}


def by_method_of_helper(state):
    return {"out": str(LOOKER.peek())}


def by_property_of_helper(state):
    return {"out": str(LOOKER.peeked)}


def by_helper_in_a_dict(state):
    return {"out": str(LOOKERS["one"]())}


def by_new_helper(state):
    return {"out": str(LooksWhenMade().found)}


def by_cached_helper(state):
    return {"out": str(cached_look())}


def by_module_helper(state):
    return {"out": str(HERE.look_around())}


HERE = sys.modules[__name__]


def by_traceback(state):
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as error:
        return {"out": str(error.__traceback__.tb_frame.f_locals["state"]["secret"])}


def by_config(state, config: RunnableConfig):
    return {"out": str(config["configurable"]["__pregel_read"]("secret"))}


def by_config_alias(state, config: RunnableConfig):
    settings = config["configurable"]
    return {"out": str(next(settings[key] for key in settings if key.endswith("l_read"))("secret"))}


def by_config_items(state, config: RunnableConfig):
    readers = [v for k, v in config.get("configurable").items() if k.endswith("l_read")]
    return {"out": str(readers[0]("secret"))}


def read_from(settings):
    return next(v for k, v in settings["configurable"].items() if k.endswith("l_read"))("secret")


def by_config_passed_on(state, config: RunnableConfig):
    return {"out": str(read_from(config))}


def by_ambient_config(state):
    return {"out": str(read_from(get_config()))}


def by_nested_config(state):
    return {"out": str(RunnableLambda(lambda _, config: read_from(config)).invoke(0))}


def read_as_runnable(_, config: RunnableConfig):
    return read_from(config)


READING = RunnableLambda(lambda value: value) | RunnableLambda(read_as_runnable)


def by_global_runnable(state):
    return {"out": str(READING.invoke(0))}


def by_helper_config(state):
    return {"out": str(RunnableLambda(read_as_runnable).invoke(0))}


def returned_runnable(state):
    return RunnableLambda(whole)


RUNNABLE = RunnableLambda(whole)


def returned_global(state):
    return RUNNABLE


def returned_conditionally(state):
    update = {"out": "x"}
    if state["a"] is not None:
        update = RUNNABLE
    return update


def returned_by_or(state):
    return {"out": str} | RunnableLambda(lambda found: found)


class Disguised:
    def __new__(cls):
        return RUNNABLE


def returned_disguised(state):
    return Disguised()


def returned_by_call(state):
    return make_runnable()


def make_runnable():
    return RUNNABLE


class Whole(RunnableLambda):
    def __init__(self):
        super().__init__(whole)


def returned_subclass(state):
    return Whole()


class Method:
    def method(self, state):
        return {"out": str(self.read())}

    def read(self):
        return sys._getframe(1).f_locals["state"]["secret"]

    def __call__(self, state):
        return {"out": self.show(state)}

    def show(self, state):
        return str(state)


class StaticCall:
    @staticmethod
    def __call__(first, second=None):
        return {"out": str(first)}


class Class(dict):
    def __init__(self, state):
        super().__init__(out=str(state))


def decorated_by(function):
    @functools.wraps(function)
    def wrapper(state):
        return {"out": str([function(state), str(state)])}

    return wrapper


@decorated_by
def decorated(state):
    return {"out": str(state["a"])}


def passes_kwargs(function):
    @functools.wraps(function)
    def wrapper(state, **kwargs):
        return {"out": str(read_from(kwargs["config"]))}

    return wrapper


@passes_kwargs
def decorated_with_config(state, config: RunnableConfig):
    return {"out": str(state["a"])}


class Holder:
    def __init__(self, read):
        self.tools = [read]

    def __call__(self, state):
        return {"out": str(self.tools[0]())}

    def method(self, state):
        return {"out": str(self.tools[0]())}


def all_arguments(*args):
    return {"out": str(args)}


def two(first, state):
    return {"out": str(state) + str(first)}


SNEAKS = {
    name: value
    for name, value in list(globals().items())
    if inspect.isfunction(value)
    and value.__module__ == __name__
    and list(inspect.signature(value).parameters)[:1] == ["state"]
}
SNEAKS |= {
    "lambda": lambda state: {"out": str(state)},
    "callable object holding a reader": Holder(look_around),
    "partial of such": functools.partial(Holder(look_around)),
    "method of such": Holder(look_around).method,
    "method that looks up": Method().method,
    "callable object": Method(),
    "static call": StaticCall(),
    "class": Class,
    "all arguments": all_arguments,
    "partial": functools.partial(two, 3),
    "empty partial": functools.partial(whole),
    "partial holding a reader": functools.partial(lambda read, state: {"out": str(read())}, look_around),
    "runnable": RunnableLambda(whole),
    "sequence": RunnableLambda(lambda state: state) | whole,
    "singledispatch": functools.singledispatch(whole),
    "subgraph": graph_of(whole),
}


async def async_whole(state):
    await asyncio.sleep(0)
    return {"out": str(state)}


SNEAKS["async"] = async_whole


@pytest.mark.parametrize("name", SNEAKS)
def test_a_way_past_is_unknown(name):
    assert reads(SNEAKS[name]) is None


@pytest.mark.parametrize("name", SNEAKS)
def test_each_way_past_is_a_real_one(name):
    outputs = {run(SNEAKS[name], {"a": 1, "b": 1, "secret": secret, "out": ""}) for secret in (1, 2)}
    assert len(outputs) == 2


# What is refused although it reads nothing.


def stored(state):
    state["a"] = 2
    return {"out": str(state["a"])}


def deleted(state):
    del state["a"]
    return {"out": ""}


def augmented(state):
    state["a"] += 1
    return {"out": ""}


def contained(state):
    return {"out": str("secret" in state)}


def rebound(state):
    state = {"a": 1}
    return {"out": str(state["a"])}


def rebound_by_import(state):
    from json import dumps as state

    return {"out": state(1)}


def rebound_by_def(state):
    def state():
        return 1

    return {"out": str(state())}


def rebound_by_except(state):
    try:
        return {"out": str(state["a"])}
    except KeyError as state:
        return {"out": str(state)}


def rebound_by_pattern(state):
    match 1:
        case state:
            return {"out": str(state)}


def global_name(state):
    def inner():
        global state  # noqa: PLW0603
        state = 1
        return state

    return {"out": str(state["a"]) + str(inner())}


def not_a_key(state):
    return {"out": str(state[1])}


def attribute_of_a_dict(state):
    return {"out": str(state.a)}


def key_of_a_packet(state):
    return {"out": str(state["a"]) + str(state["item"])}


def previous_value(state, runtime: Runtime):
    return {"out": str(runtime.previous)}


def previous_parameter(state, previous):
    return {"out": str(previous)}


def runtime_passed_on(state, runtime: Runtime):
    return {"out": str(runtime)}


def callbacks(state, config: RunnableConfig):
    return {"out": str(config["callbacks"])}


def checkpoint(state, config: RunnableConfig):
    return {"out": str(GRAPH.get_state(config))}


def tools(state):
    return {"out": str(SOME_TOOLS.invoke({"messages": [state["a"]]}))}


def tools_made(state):
    return {"out": str(Tools([]).invoke({"messages": [state["a"]]}))}


GRAPH = graph_of(whole)
SOME_TOOLS = ToolNode([])
Tools = ToolNode
REFUSED = [stored, deleted, augmented, contained, rebound, rebound_by_import, rebound_by_def, rebound_by_except]
REFUSED += [rebound_by_pattern, global_name, not_a_key, attribute_of_a_dict, key_of_a_packet, previous_value]
REFUSED += [previous_parameter, runtime_passed_on, callbacks, checkpoint, tools, tools_made]


@pytest.mark.parametrize("function", REFUSED, ids=lambda function: function.__name__)
def test_what_cannot_be_told_is_unknown(function):
    assert reads(function) is None


# What is told.


def plain(state: State) -> dict:
    return {"out": str(state["a"] + state.get("b", 0))}


async def plain_async(state: State):
    await asyncio.sleep(0)
    return Command(update={"out": str(state["a"])}, goto=END)


def generic_command(state: State) -> Command[Literal["__end__"]]:
    return Command[Literal["__end__"]](update={"out": str(state["a"])})


def default_read(state):
    return {"out": str(state.get("a", state["b"]))}


def captured(state):
    def inner():
        return state["a"]

    return {"out": str(inner()) + str([state["b"] for _ in range(2)])}


def no_reads(state):
    return None


def built_up(state):
    update = {}
    if state["a"]:
        update["out"] = str(state["a"])
    return update


def deeper(state):
    return {"out": str(state["secret"]["deep"].get("x", state["a"]))}


def clean_helper(value):
    return value + 1


def with_helper(state):
    return {"out": str(clean_helper(state["a"]))}


def injected(state, config: RunnableConfig, runtime: Runtime, *, store: BaseStore, writer: StreamWriter):
    writer({"a": state["a"]})
    user = config["configurable"].get("user_id", "nobody") + config.get("configurable", {}).get("thread_id", "")
    text = RunnableLambda(str).invoke(state["b"], config) + RunnableLambda(str).invoke(1, config=config)
    return {"out": user + text + str(store) + str(runtime.context) + str(config["metadata"].get("x"))}


def decorated_analysable(function):
    @functools.wraps(function)
    def wrapper(state):
        return {"out": str(function({"a": state["a"]}))}

    return wrapper


@decorated_analysable
def behind_a_wrapper(state):
    return {"out": str(state)}


def third(x, y, state, z=1):
    return {"out": str([x, y, z, state["a"]])}


class Agent:
    def method(self, state):
        return {"out": self.show(state["a"])}

    def show(self, value):
        return str(value)

    def __call__(self, state):
        return {"out": self.show(state["b"])}

    @classmethod
    def of_class(cls, state):
        return {"out": str(state["a"])}

    @staticmethod
    def static(state):
        return {"out": str(state["b"])}


TOLD = [
    (plain, {"a", "b"}),
    (plain_async, {"a"}),
    (generic_command, {"a"}),
    (default_read, {"a", "b"}),
    (captured, {"a", "b"}),
    (no_reads, set()),
    (built_up, {"a"}),
    (deeper, {"a", "secret"}),
    (with_helper, {"a"}),
    (injected, {"a", "b"}),
    (behind_a_wrapper, {"a"}),
    (functools.partial(third, 1, 2), {"a"}),
    (functools.partial(functools.partial(third, 1), 2, z=3), {"a"}),
    (Agent().method, {"a"}),
    (Agent(), {"b"}),
    (Agent.of_class, {"a"}),
    (Agent.static, {"b"}),
    (lambda state: {"out": str(state["a"])}, {"a"}),
]


@pytest.mark.parametrize(("function", "expected"), TOLD, ids=range(len(TOLD)))
def test_constant_keys_are_told(function, expected):
    assert reads(function) == frozenset(expected)


def test_lambdas_on_one_line_are_told_apart():
    pair = (lambda state: {"out": str(state["a"])}, lambda state: {"out": str(state["b"])})
    nest = lambda state: {"out": str(sorted([state["a"]], key=lambda value: -value))}
    assert [reads(each) for each in pair] == [{"a"}, {"b"}]
    assert reads(nest) == {"a"}


def test_both_functions_of_a_pair_count():
    from langgraph._internal._runnable import RunnableCallable

    async def other(state):
        return {"out": str(state["b"])}

    assert reads(RunnableCallable(lambda state: {"out": str(state["a"])}, other)) == {"a", "b"}
    assert reads(RunnableCallable(lambda state: {"out": str(state["a"])}, async_whole)) is None


def test_a_narrow_input_schema_bounds_the_keys():
    class Narrow(TypedDict):
        a: int
        left: RemainingSteps

    assert reads(lambda state: {"out": str(state["a"])}, input_schema=Narrow) == {"a"}
    assert reads(lambda state: {"out": str(state["left"])}, input_schema=Narrow) == {"left"}
    assert reads(lambda state: {"out": str(state.get("secret"))}, input_schema=Narrow) is None


def test_a_state_that_is_one_value_is_unknown():
    builder = StateGraph(Annotated[dict, lambda _, new: new])
    builder.add_node("node", lambda state: {"out": state["a"]})
    builder.add_edge(START, "node")
    assert reads_of(builder.compile().nodes["node"]) is None


def test_a_node_fed_by_send_reads_its_packet_and_is_unknown():
    builder = StateGraph(State)
    builder.add_node("worker", lambda state: {"out": str(state["item"])})
    builder.add_conditional_edges(START, lambda state: [Send("worker", {"item": state["a"]})], ["worker"])
    graph = builder.compile()
    assert graph.invoke({"a": 7})["out"] == "7"
    assert reads_of(graph.nodes["worker"]) is None


def test_a_table_too_large_to_look_at_is_unknown():
    small, large = dict.fromkeys(range(10), "x"), dict.fromkeys(range(20_000), "x")
    assert reads(lambda state: {"out": small[state["a"]]}) == {"a"}
    assert reads(lambda state: {"out": large[state["a"]]}) is None


# Source that is not there, or not the source of what runs.


def made(text, path, name="node"):
    names = {"__name__": "made", "Runnable": RUNNABLE}
    exec(compile(text, str(path), "exec"), names)
    return names[name]


GOOD = 'def node(state):\n    return {"out": str(state["a"])}\n'
BAD = 'def node(state):\n    return {"out": str(state["b"])}\n'


def test_without_source_it_is_unknown(tmp_path):
    assert reads(made(GOOD, "<nowhere>")) is None
    assert reads(made(GOOD, tmp_path / "missing.py")) is None
    assert reads(functools.partial(repr)) is None


def test_source_of_other_code_is_not_believed(tmp_path):
    path = tmp_path / "other.py"
    path.write_text(GOOD)
    assert reads(made(GOOD, path)) == {"a"}
    assert reads(made(BAD, path)) is None
    changed = made(GOOD, path)
    changed.__code__ = made(BAD, path).__code__
    assert reads(changed) is None


def test_source_edited_after_import_is_not_believed(tmp_path):
    path = tmp_path / "edited.py"
    path.write_text(GOOD)
    function = made(GOOD, path)
    assert reads(function) == {"a"}
    path.write_text(BAD + "# longer\n")
    assert reads(function) is None


def test_source_that_does_not_compile_is_not_believed(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def node(state:\n")
    assert reads(made(GOOD, path)) is None


def test_source_in_a_notebook_cell_is_found():
    cell = "<cell 1>"
    linecache.cache[cell] = (len(GOOD), None, GOOD.splitlines(keepends=True), cell)
    assert reads(made(GOOD, cell)) == {"a"}


# Schemas whose instances have fields.


class Model(BaseModel):
    a: int = 0
    b: list[str] = []
    secret: Any = None
    out: str = ""

    @property
    def both(self):
        return self.a, self.secret


@dataclasses.dataclass
class Data:
    a: int = 0
    secret: Any = None
    out: str = ""

    @property
    def both(self):
        return self.a, self.secret


@dataclasses.dataclass(slots=True)
class Slotted:
    a: int = 0
    secret: Any = None
    out: str = ""


def subscripted(state):
    return {"out": str(state["a"])}


def attribute(state):
    return {"out": str(state.a)}


@pytest.mark.parametrize("schema", [Model, Data, Slotted])
def test_fields_of_an_instance_are_keys(schema):
    assert reads(attribute, schema) == {"a"}
    assert reads(subscripted, schema) is None
    assert run(attribute, {"a": 1, "secret": 1}, schema) == "1"


@pytest.mark.parametrize("schema", [Model, Data])
def test_what_is_no_field_is_unknown(schema):
    for function in (
        lambda state: {"out": str(state.both)},
        lambda state: {"out": str(state.__dict__)},
        lambda state: {"out": str(state.model_dump())},
        lambda state: {"out": str(state)},
        lambda state: {"out": str(getattr(state, "sec" + "ret"))},
        lambda state: {"out": str(state["a"])},
    ):
        assert reads(function, schema) is None


class AfterModel(Model):
    @model_validator(mode="after")
    def mix(self):
        self.a = self.secret
        return self


class BeforeModel(Model):
    @model_validator(mode="before")
    @classmethod
    def mix(cls, values):
        return {**values, "a": values["secret"]}


class PostInitModel(Model):
    def model_post_init(self, context):
        self.a = self.secret


class InitModel(Model):
    def __init__(self, **values):
        super().__init__(**{**values, "a": values["secret"]})


class FieldValidatorModel(BaseModel):
    secret: Any = None
    a: int = 0
    out: str = ""

    @field_validator("a")
    @classmethod
    def mix(cls, value, info):
        return info.data["secret"]


class AnnotatedModel(BaseModel):
    secret: Any = None
    a: Annotated[int, BeforeValidator(lambda value, info: info.data["secret"])] = 0
    out: str = ""


class DefaultModel(BaseModel):
    secret: Any = None
    c: int = Field(default_factory=lambda data: data["secret"])
    a: int = 0
    out: str = ""


class AliasModel(BaseModel):
    a: int = Field(0, validation_alias="secret")
    secret: Any = Field(None, validation_alias="a")
    out: str = ""


class GetattributeModel(Model):
    def __getattribute__(self, name):
        return super().__getattribute__("secret" if name == "a" else name)


class GetattrModel(Model):
    def __getattr__(self, name):
        return 1


class PropertyModel(Model):
    def __new__(cls, **values):
        return super().__new__(cls)


@dataclasses.dataclass
class PostInitData(Data):
    def __post_init__(self):
        self.a = self.secret


class SubclassedData(Data):
    def __init__(self, **values):
        super().__init__(a=values["secret"])


@dataclasses.dataclass(init=False)
class OwnInitData(Data):
    def __init__(self, **values):
        super().__init__(a=values["secret"])


class Swapped:
    def __get__(self, instance, owner=None):
        return 0 if instance is None else instance.__dict__["_secret"]

    def __set__(self, instance, value):
        instance.__dict__.setdefault("_a", value)


@dataclasses.dataclass
class DescriptorData:
    secret: Any = None
    a: int = Swapped()
    out: str = ""

    def __setattr__(self, name, value):
        self.__dict__["_" + name] = value
        object.__setattr__(self, name, value)


MIXERS = [AfterModel, BeforeModel, PostInitModel, InitModel, FieldValidatorModel, AnnotatedModel, DefaultModel]
MIXERS += [AliasModel, GetattributeModel, GetattrModel, PropertyModel, PostInitData, SubclassedData, OwnInitData]
MIXERS += [DescriptorData]


@pytest.mark.parametrize("schema", MIXERS, ids=lambda schema: schema.__name__)
def test_a_schema_that_may_mix_fields_is_unknown(schema):
    assert reads(attribute, schema) is None


# Declarations.


def test_a_declaration_is_taken_at_its_word():
    def declared(state):
        return {"out": str(state)}

    assert reads(declared, metadata={"sherlock": {"reads": ["a", "nowhere"]}}) == {"a"}
    declared.__sherlock_reads__ = ("b",)
    assert reads(declared) == {"b"}
    assert reads(functools.partial(declared)) == {"b"}
    assert reads(declared, metadata={"sherlock": {"reads": []}}) == frozenset()
    assert reads(declared, metadata={"sherlock": {"reads": None, "effects": "none"}}) == {"b"}
    assert reads(plain, metadata={"sherlock": {"effects": "none"}}) == {"a", "b"}


def test_declared_on_a_method_and_on_a_callable_object():
    class Declared:
        __sherlock_reads__ = frozenset({"a"})

        def __call__(self, state):
            return {"out": str(state)}

        def method(self, state):
            return {"out": str(state)}

        method.__sherlock_reads__ = frozenset({"b"})

    assert reads(Declared()) == {"a"}
    assert reads(Declared().method) == {"b"}


@pytest.mark.parametrize("wrong", ["a", 3, [1], [None]])
def test_a_wrong_declaration_is_refused(wrong):
    with pytest.raises(GraphError, match=r"reads declared for a node"):
        reads(plain, metadata={"sherlock": {"reads": wrong}})


# The promise, on functions put together at random.

SAFE = {
    'state["a"]': {"a"},
    'state.get("b")': {"b"},
    'state.get("a", state["b"])': {"a", "b"},
    '(lambda: state["c"])()': {"c"},
    '[state["a"] for _ in range(2)]': {"a"},
    'state["a"] if state.get("b") else state["c"]': {"a", "b", "c"},
    "f\"{state['c']}\"": {"c"},
    "7": set(),
}
UNSAFE = [
    "len(str(state))",
    "str(state)",
    "list(state.values())",
    "{**state}",
    'sum(state[k] for k in "ab")',
    '(s := state)["b"]',
    'state == {"a": 0}',
    'f"{state}"',
    'locals()["state"]["c"]',
    '[state["b"] for state in [state]]',
    "(lambda s: s['c'])(state)",
    '{key: value for key, value in state.items()}["a"]',
    "sorted(state, key=state.get)",
]
OBJECT = """
class N:
    def __call__(self, state):
        x = {{}}
        x["out"] = repr([{0}])
        return x

node = N()
"""
FORMS = [
    'def node(state):\n    return {{"out": repr([{0}])}}\n',
    'async def node(state):\n    return {{"out": repr([{0}])}}\n',
    'node = lambda state: {{"out": repr([{0}])}}\n',
    'def node(state):\n    def inner():\n        return repr([{0}])\n    return {{"out": inner()}}\n',
    OBJECT,
]
KEYS = ("a", "b", "c")


class Letters(TypedDict):
    a: int
    b: int
    c: int
    out: NotRequired[str]


small = st.fixed_dictionaries({key: st.integers(0, 3) for key in KEYS})


@settings(max_examples=60, deadline=None)
@given(
    safe=st.lists(st.sampled_from(sorted(SAFE)), max_size=3),
    unsafe=st.lists(st.sampled_from(UNSAFE), max_size=1),
    form=st.sampled_from(FORMS),
    inputs=small,
    others=small,
)
def test_no_key_that_is_left_out_changes_the_output(tmp_path_factory, safe, unsafe, form, inputs, others):
    path = tmp_path_factory.mktemp("made") / "made.py"
    path.write_text(form.format(", ".join(safe + unsafe)))
    function = made(path.read_text(), path)
    found = reads(function, Letters)
    assert (found is None) == bool(unsafe)
    if found is None:
        return
    assert found == set().union(*(SAFE[part] for part in safe))
    changed = {key: inputs[key] if key in found else others[key] for key in KEYS}
    assert run(function, inputs, Letters) == run(function, changed, Letters)
