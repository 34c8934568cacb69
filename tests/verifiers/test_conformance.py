"""Every shipped verifier, and one written here, runs the conformance suite."""

import hashlib

import pytest

from sherlock.conformance import VerifierConformance
from sherlock.registry import make_verifier, verifiers
from sherlock.verifier import Verdict

ORDER = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "items": {"type": "array", "items": {"type": "string"}}},
    "required": ["name", "items"],
}


def embed(texts):
    """Equal texts are copies, others are not alike."""
    return [[byte - 127.5 for byte in hashlib.sha256(text.encode("utf-8", "replace")).digest()] for text in texts]


SPECS = {
    "self-reflection": [{}, {"rounds": 3}, {"prefix": "node"}],
    "self-refine": [{}, {"prefix": "node"}],
    "advanced-refine": [{"model": "larger"}],
    "self-consistency": [{}, {"embedder": embed, "threshold": 0.9}, {"extract": r"= (\d+)"}],
    "llm-judge": [{}, {"rubric": "Is the sum right?"}, {"model": "other", "judge_model": "third"}],
    "debate": [{}, {"debaters": 3, "end": "judge"}, {"models": [None, "other"], "prefix": "node"}],
    "resolve": [
        {},
        {"model": "other", "prefix": "node"},
        {"prompt": [{"role": "user", "content": "{{input}} Add up."}]},
    ],
    "check": [{"equation": "question", "resamples": 3}, {"function": lambda text: len(text) < 100}, {"regex": r"\d+"}],
    "schema": [{"schema": ORDER}, {"schema": ORDER, "prefix": "node"}],
    "cascade": [{"verifiers": ["self-reflection", "llm-judge"]}],
    "vote": [{"verifiers": ["self-reflection", "resolve", {"use": "check", "equation": True}]}],
}
VARIANTS = [{"use": name, **given} for name, settings in SPECS.items() for given in settings[1:]]
TELLING = [
    "test_it_meters_what_the_model_was_asked",
    "test_cancelling_it_frees_the_model_at_once",
    "test_it_repeats_itself_under_a_seed",
    "test_it_quotes_the_text_under_test",
]


class TestShipped(VerifierConformance):
    spec = None

    @pytest.fixture(autouse=True, params=SPECS)
    def chosen(self, request):
        self.spec = {"use": request.param, **SPECS[request.param][0]}

    def verifier(self):
        return make_verifier(self.spec)


@pytest.mark.parametrize("test", TELLING)
@pytest.mark.parametrize("spec", VARIANTS, ids=lambda spec: f"{spec['use']}-{len(spec)}")
def test_other_settings(spec, test):
    suite = TestShipped()
    suite.spec = spec
    getattr(suite, test)()


class TestOneOfTheReadersOwn(VerifierConformance):
    class Short:
        name = "short"

        async def verify(self, subject):
            return Verdict(len(subject.text) < 100)

    def verifier(self):
        return self.Short()


def test_every_shipped_verifier_is_tested():
    shipped = {name for name, info in verifiers().items() if info.package == "sherlock-langgraph"}
    assert shipped == set(SPECS)
