"""Verifiers by name, from real entry points on the path."""

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

from sherlock.errors import VerifierError, VerifierNotFound
from sherlock.registry import make_verifier, settings_of, verifiers
from sherlock.verifier import Verdict, Verifier


@pytest.fixture
def plug_ins(tmp_path, monkeypatch):
    """Distributions with entry points, as an installer would lay them out."""

    def install(package, points, source):
        module = package.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {module}:{attribute}" for name, attribute in points.items()]
        (info / "entry_points.txt").write_text("[sherlock.verifiers]\n" + "\n".join(lines) + "\n")

    monkeypatch.syspath_prepend(str(tmp_path))
    return install


GOOD = '''
from dataclasses import dataclass
from sherlock.verifier import Verdict

@dataclass
class Mine:
    """Judges as I do."""

    strict: bool = False
    words: int = 3
    name = "mine"

    def __post_init__(self):
        if self.words < 0:
            raise ValueError("words must not be negative")

    async def verify(self, subject):
        return Verdict(True)

def factory(depth: int, **rest):
    made = Mine(words=depth)
    made.rest = rest
    return made

def wrong():
    return 3

number = 5
'''


def test_the_shipped_verifiers_are_listed_with_their_settings():
    listed = verifiers()
    assert list(listed) == sorted(listed)
    for info in listed.values():
        assert info.error is None
        assert info.summary.endswith(".")
    assert listed["self-consistency"].settings["n"] == 4
    assert listed["check"].package == "sherlock-langgraph"
    assert listed["check"].reference == "sherlock_verifiers.check:Check"


def test_listing_imports_no_verifier():
    code = "import sys, sherlock.registry as r; list(r.verifiers()); print('sherlock_verifiers' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_strangers_verifier(plug_ins):
    plug_ins("mine-good", {"mine": "Mine", "made": "factory"}, GOOD)
    info = verifiers()["mine"]
    assert (info.package, info.summary, info.settings) == (
        "mine-good",
        "Judges as I do.",
        {"strict": False, "words": 3},
    )
    verifier = make_verifier({"use": "mine", "words": "5", "strict": True})
    assert (verifier.words, verifier.strict) == (5, True)
    assert settings_of(verifier) == {"use": "mine", "words": "5", "strict": True}
    assert make_verifier(settings_of(verifier)) == verifier
    made = make_verifier({"use": "made", "depth": 2, "other": 1})
    assert (made.words, made.rest) == (2, {"other": 1})
    assert settings_of(make_verifier("mine")) == {"use": "mine"}


def test_one_that_takes_no_new_attribute_is_remembered_too(plug_ins):
    slotted = GOOD.replace("@dataclass\n", "@dataclass(frozen=True, slots=True)\n")
    plug_ins("mine-slotted", {"slotted": "Mine"}, slotted)
    verifier = make_verifier({"use": "slotted", "words": 1})
    assert settings_of(verifier) == {"use": "slotted", "words": 1}


def test_a_plug_in_that_cannot_be_imported_is_listed_with_its_error(plug_ins):
    plug_ins("broken-one", {"broken": "Thing"}, "import no_such_module_here")
    plug_ins("exits", {"exits": "Thing"}, "raise SystemExit(3)")
    plug_ins("misses", {"misses": "Thing"}, "")
    listed = verifiers()
    assert "no_such_module_here" in listed["broken"].error
    assert "broken-one" in listed["broken"].error
    assert "SystemExit" in listed["exits"].error
    assert "Thing" in listed["misses"].error
    assert (listed["broken"].summary, listed["broken"].settings) == ("", {})
    assert listed["check"].error is None
    with pytest.raises(VerifierError, match="no_such_module_here"):
        make_verifier("broken")
    assert make_verifier({"use": "check", "equation": True}).name == "check"


def test_two_packages_that_offer_one_name(plug_ins):
    plug_ins("first-check", {"twice": "Mine"}, GOOD)
    plug_ins("second-check", {"twice": "Mine"}, GOOD)
    with pytest.raises(VerifierError, match="first-check and second-check"):
        make_verifier("twice")


@pytest.mark.parametrize("name", ["number", "wrong"])
def test_entry_points_that_are_no_verifiers(plug_ins, name):
    plug_ins("odd-one", {"odd": name}, GOOD)
    with pytest.raises(VerifierError, match=r"must name a class|is no verifier") as caught:
        make_verifier("odd")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("self-consistancy", "there is no verifier 'self-consistancy': did you mean 'self-consistency'?"),
        ({"use": "debat"}, "did you mean 'debate'?"),
    ],
)
def test_an_unknown_name_names_the_nearest(spec, words):
    with pytest.raises(VerifierNotFound) as caught:
        make_verifier(spec)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"use": "self-refine", "round": 2}, "no setting 'round': did you mean 'rounds'?"),
        ({"use": "self-refine", "rounds": "many"}, "cannot take 'many' for its setting 'rounds'"),
        ({"use": "self-refine", "rounds": 0}, "rounds is 0: give at least 1"),
        ({"use": "self-refine", "prefix": "nodes"}, "'nodes' for its setting 'prefix'"),
        ({"use": "self-refine", "prompt_file": "missing.md"}, "prompt file 'missing.md' cannot be read"),
        ({"use": "advanced-refine"}, "no model is named"),
        ({"use": "self-consistency", "n": 1}, "n is 1: give at least 2"),
        ({"use": "self-consistency", "temperature": 0}, "temperature is 0"),
        ({"use": "self-consistency", "threshold": 0.9}, "without an embedder"),
        ({"use": "self-consistency", "embedder": "mpnet"}, "no embedder 'mpnet'"),
        ({"use": "self-consistency", "embedder": "json:dumps"}, "no threshold is known"),
        ({"use": "self-consistency", "extract": "no group"}, "group round the answer"),
        ({"use": "llm-judge", "margin": -1}, "margin is -1"),
        ({"use": "debate", "debaters": 1}, "1 debaters: give at least 2"),
        ({"use": "debate", "models": ["a"]}, "1 debaters"),
        ({"use": "resolve", "prompt": [{"role": "user"}]}, "role and content"),
        ({"use": "resolve", "threshold": 2}, "threshold is 2"),
        ({"use": "resolve", "max_tokens": 0}, "max_tokens is 0"),
        ({"use": "check"}, "nothing is to be checked"),
        ({"use": "check", "regex": "("}, "'(' is malformed"),
        ({"use": "check", "function": "json:no_such"}, "no attribute 'no_such'"),
        ({"use": "check", "function": "no_such_module:f"}, "no module 'no_such_module'"),
        ({"use": "check", "equation": "sometimes"}, "equation is 'sometimes'"),
        ({"use": "schema"}, "needs the setting 'schema'"),
        ({"use": "schema", "schema": {"type": "nothing"}}, "JSON schema is malformed"),
        ({"use": "schema", "schema": "json:dumps"}, "give a JSON schema or a pydantic model class"),
        ({"use": "cascade", "verifiers": []}, "no list of verifiers"),
        ({"use": "cascade", "verifiers": ["nobody"]}, "no verifier 'nobody'"),
        ({"use": "cascade", "verifiers": ["resolve"], "band": [0.8, 0.2]}, "band is"),
        ({"use": "vote", "verifiers": ["resolve"], "weights": [1, 2]}, "2 weights for 1 verifiers"),
        ({"use": "vote", "verifiers": ["resolve"], "weights": [0]}, "positive numbers"),
        ({"verifier": "resolve"}, "names no verifier"),
        (Verdict, "is a class"),
        (3, "is no verifier"),
    ],
    ids=str,
)
def test_wrong_settings_are_one_sentence(spec, words):
    with pytest.raises(VerifierError) as caught:
        make_verifier(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_instance_is_returned_as_it_is_and_cannot_be_saved():
    @dataclass
    class Own:
        name = "own"

        async def verify(self, subject):
            return Verdict(True)

    own = Own()
    assert make_verifier(own) is own
    with pytest.raises(VerifierError, match="'own' was not made from a name"):
        settings_of(own)


def test_settings_that_json_cannot_hold_are_named():
    with pytest.raises(VerifierError, match="the setting 'function' of the verifier 'check' cannot be saved"):
        settings_of(make_verifier({"use": "check", "function": str.isupper}))


def test_settings_come_back_as_json():
    spec = {"use": "cascade", "verifiers": ["self-reflection", {"use": "check", "equation": True}], "band": [0.2, 0.8]}
    verifier = make_verifier(spec)
    assert isinstance(verifier, Verifier)
    assert json.loads(json.dumps(settings_of(verifier))) == spec
    assert make_verifier(settings_of(verifier)) == verifier
