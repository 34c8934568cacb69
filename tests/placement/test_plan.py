import dataclasses

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START
from sample_graphs import nested, wired

from sherlock.errors import PlanError, PlanMismatch, VerifierError, VerifierNotFound
from sherlock.estimate import Estimate
from sherlock.graph import WorkflowGraph
from sherlock.placement.plan import Expectation, NodeFigures, Placement, PlacementFigures, Plan, Rejected, Seconds
from sherlock.placement.slo import SLO
from sherlock.registry import make_verifier
from sherlock.usage import Energy

BUILDER = wired((START, "draft"), ("draft", "answer"), ("answer", END))
GRAPH = WorkflowGraph.of(BUILDER)


def full_plan():
    return Plan(
        placements={
            "draft": Placement(verifier="check", settings={"function": "rules.py:is_sum", "resamples": 5}),
            "answer": Placement(
                verifier="resolve",
                settings={"model": None, "prompt": "no", "stop": ["\n", "1e-3", "01:30", "äö"], "n": 1e-7},
                category="number",
                on_reject="flag",
                why="gains 0.21: more than any other, and it costs least",
                expected=PlacementFigures(gain=Estimate(0.2123456, 0.1, 0.3, 40), match_rate=0.8, usd=1.23456e-5),
            ),
        },
        expectation=Expectation(
            basis="measured jointly",
            score=Estimate(0.8, 0.7, 0.9, 40),
            usd=0.00123,
            wh=Energy(value=0.1, low=0.05, high=0.2, source="estimated"),
            latency_s=Seconds(mean=1.2, p50=1, p95=2, p99=3),
        ),
        slo=SLO(max_usd=0.01, max_verifiers=3),
        objective="accuracy",
        policy={"mode": "speculate", "budget": 0.001},
        rejected=(Rejected(node="draft", verifier="resolve", why="the limit max_usd leaves no room: $0.02 a run"),),
        notes=("12 cases only",),
        fingerprint=GRAPH.fingerprint,
        graph=GRAPH.describe(),
        nodes={"draft": NodeFigures(latency_s=1.0, usd=0.1)},
    )


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "plan.yaml"
    full_plan().save(path)
    return path


def test_what_is_saved_is_loaded(saved):
    assert Plan.load(saved) == full_plan()
    assert Plan.load(saved).to_yaml() == saved.read_text(encoding="utf-8")
    assert not saved.with_name(".plan.yaml.part").exists()


def test_the_file_reads_well(saved):
    text = saved.read_text(encoding="utf-8")
    keys = [line.partition(":")[0] for line in text.splitlines() if line[:1].isalpha()]
    assert keys[:6] == ["placements", "expectation", "objective", "slo", "policy", "rejected"]
    assert keys[-1] == "graph"
    assert text.index("  answer:") < text.index("  draft:")
    assert "# What was not taken.\nrejected:" in text
    assert "    gain: {value: 0.2123, low: 0.1, high: 0.3, n: 40}" in text or "gain: {value: 0.2123" in text
    assert yaml.safe_load(text)["placements"]["answer"]["settings"]["prompt"] == "no"


def test_an_empty_plan_and_a_plan_by_hand_load(tmp_path):
    path = tmp_path / "plan.yaml"
    Plan().save(path)
    assert Plan.load(path) == Plan()
    path.write_text("placements:\n  answer:\n    verifier: resolve\nslo:\n  max_usd: 1e-3\n")
    assert Plan.load(path).placements["answer"].on_reject == "correct"
    assert Plan.load(path).slo == SLO(max_usd=0.001)
    path.write_text("placements:\n")
    assert Plan.load(path) == Plan()


SLIPS = [
    ("on_reject: flag", "on_rejct: flag", "placements.answer has an unknown key 'on_rejct'; did you mean 'on_reject'?"),
    (
        "on_reject: flag",
        "on_reject: maybe",
        "placements.answer.on_reject is 'maybe': should be 'correct', 'retry', 'fl",
    ),
    (
        "verifier: resolve",
        "verifer: resolve",
        "placements.answer has an unknown key 'verifer'; did you mean 'verifier'?",
    ),
    ("verifier: resolve", "verifier: resolv", "there is no verifier 'resolv' for 'answer'; did you mean 'resolve'?"),
    ("verifier: resolve", "verifier: 3", "placements.answer.verifier is 3: should be a valid string"),
    ("category: number", "category: sums", "placements.answer.category is 'sums': should be"),
    ("max_usd: 0.01", "max_used: 0.01", "slo has an unknown key 'max_used'; did you mean 'max_usd'?"),
    ("max_usd: 0.01", "max_usd: -1", "max_usd is -1.0; it cannot be negative"),
    ("max_usd: 0.01", "max_usd: lots", "slo.max_usd is 'lots': should be a valid number"),
    ("  mode: speculate", "  mod: speculate", "policy has an unknown key 'mod'; did you mean 'mode'?"),
    ("  mode: speculate", "  mode: fast", "policy.mode is 'fast': should be 'speculate', 'blocking' or 'auto'"),
    ("  answer:", "  anwser:", "placements has 'anwser', which is no node of the graph; did you mean 'answer'?"),
    ("  draft:\n    verifier", "  answer:\n    verifier", "'answer' stands twice under 'placements', first on line"),
    ("objective: accuracy", "objective: speed", "objective is 'speed': should be 'accuracy', 'usd'"),
    ("objective: accuracy", "objective: !!python/name:os.system ''", "the tag"),
    ("objective: accuracy", "objective: *a", "anchors and aliases are not allowed"),
    ("objective: accuracy", "objective: : x", "this is not YAML"),
    ("objective: accuracy", "? [1]\n: x", "a key must be a plain text"),
    ("schema_version: 1", "schema_version: 2", "schema version 2 is not 1"),
    ("kind: plan", "kind: analysis", "this holds 'analysis', not a plan"),
    ("max_usd: 0.01", "max_usd: " + "9" * 5000, "is no int"),
    ("graph: {nodes:", "graph: {nods:", "The description of a graph is malformed"),
]


@pytest.mark.parametrize(("right", "wrong", "words"), SLIPS)
def test_a_slip_of_the_hand_is_named_with_its_line(saved, right, wrong, words):
    text = saved.read_text(encoding="utf-8")
    assert right in text
    broken = text.replace(right, wrong, 1)
    saved.write_text(broken, encoding="utf-8")
    with pytest.raises(PlanError) as caught:
        Plan.load(saved)
    message = str(caught.value)
    assert words in message
    named = int(message.partition("line ")[2].partition(":")[0])
    assert wrong.splitlines()[0] in "\n".join(broken.splitlines()[named - 1 : named + 1])


def test_what_is_no_plan_at_all(tmp_path):
    path = tmp_path / "plan.yaml"
    for content in (b"", b"- 1\n", b"\xff\xfe\xff", b"a: \x00", b"[" * 1500, b"{1: " * 300):
        path.write_bytes(content)
        with pytest.raises(PlanError):
            Plan.load(path)
    with pytest.raises(PlanError, match="No such file"):
        Plan.load(tmp_path / "missing.yaml")
    with pytest.raises(PlanError, match="cannot write"):
        Plan().save(path / "below")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40)
@given(
    st.dictionaries(
        texts,
        st.tuples(
            st.sampled_from(["resolve", "check"]), st.dictionaries(texts, json_values, max_size=3), texts | st.none()
        ),
        max_size=3,
    )
)
def test_any_plan_survives_the_file(tmp_path_factory, content):
    plan = Plan(
        placements={
            node: Placement(verifier=verifier, settings=settings, why=why)
            for node, (verifier, settings, why) in content.items()
        }
    )
    path = tmp_path_factory.mktemp("plans") / "plan.yaml"
    plan.save(path)
    assert Plan.load(path) == plan


# --- attach


class Own:
    name = "own"

    async def verify(self, subject):
        raise AssertionError


def test_attach_takes_names_mappings_and_instances():
    own = Own()
    spec = {"use": "resolve", "on_reject": "retry"}
    plan = Plan.attach({"a": "resolve", "b": spec, "c": own}, policy={"mode": "blocking"})
    assert plan.placements["a"] == Placement(verifier="resolve")
    assert plan.placements["b"].on_reject == "retry"
    assert plan.placements["b"].spec == {"use": "resolve"}
    assert plan.placements["c"].spec is own
    assert plan.policy == {"mode": "blocking"}
    assert spec == {"use": "resolve", "on_reject": "retry"}
    assert plan.fingerprint is None


def test_attach_takes_a_policy_object():
    @dataclasses.dataclass
    class Policy:
        mode: str = "auto"
        max_depth: int = 3

    assert Plan.attach({}, policy=Policy()).policy == {"mode": "auto", "max_depth": 3}


def test_saving_an_instance_needs_a_name(tmp_path):
    with pytest.raises(PlanError, match="node 'c': the verifier 'own' was not made from a name"):
        Plan.attach({"c": Own()}).save(tmp_path / "plan.yaml")
    made = make_verifier({"use": "resolve"})
    plan = Plan.attach({"c": made})
    plan.save(tmp_path / "plan.yaml")
    assert Plan.load(tmp_path / "plan.yaml").placements["c"].spec == {"use": "resolve"}


@pytest.mark.parametrize(
    ("placements", "policy", "error", "words"),
    [
        ({"a": "resolv"}, None, VerifierNotFound, "no verifier 'resolv' for node 'a'; did you mean 'resolve'?"),
        ({"a": {"verifier": "resolve"}}, None, PlanError, "names no verifier"),
        ({"a": {"use": "resolve", "on_reject": "no"}}, None, PlanError, "at node 'a' is wrong at on_reject"),
        ({"a": {"use": "resolve", "x": object()}}, None, PlanError, "at node 'a' is wrong at settings.x"),
        ({"a": 3}, None, VerifierError, "is no verifier"),
        ({}, {"mod": "auto"}, PlanError, "the policy is wrong at 'mod'"),
    ],
)
def test_attach_refuses(placements, policy, error, words):
    with pytest.raises(error, match=words):
        Plan.attach(placements, policy=policy)


# --- check


def test_check_names_the_difference(saved):
    plan = Plan.load(saved)
    plan.check(GRAPH)
    plan.check(BUILDER)
    other = wired((START, "draft"), ("draft", "reply"), ("reply", END))
    with pytest.raises(PlanMismatch, match="node 'answer' is probably called 'reply' now"):
        plan.check(other)


def test_check_of_a_plan_by_hand_looks_at_the_nodes():
    Plan.attach({"draft": "resolve"}).check(BUILDER)
    with pytest.raises(PlanMismatch, match=r"'drat', which is no node of the graph; did you mean 'draft'\?"):
        Plan.attach({"drat": "resolve"}).check(BUILDER)
    with pytest.raises(PlanMismatch, match=r"'out', a subgraph, .* did you mean 'out/mid/deep/z'\?"):
        Plan.attach({"out": "resolve"}).check(nested())
