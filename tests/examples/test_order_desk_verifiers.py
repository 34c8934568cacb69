"""The order desk's checks, judges, prompts and settings; and a calibration and a plan of it on the real model."""

import asyncio
import json
import re
import tomllib
from pathlib import Path

import pytest

import sherlock
from sherlock.cases import Case
from sherlock.loading import load_object
from sherlock.models.local import environment
from sherlock.registry import make_verifier
from sherlock.verifier import Subject, run_verifier
from sherlock_verifiers.prompt_files import prompt_template

pytest_plugins = ("model_fixture",)

FOLDER = Path(__file__).parents[2] / "examples" / "order_desk"
GRAPH = f"{FOLDER / 'graph.py'}:graph"
NO_TEXT = ["", "12", "7 + 5", "Error: no answer", "5 + 7 = 12 dollars"]


def of(file, name):
    return load_object(f"{FOLDER / file}:{name}", what="example")


def cases(seed=6, n=40, split="heldout"):
    return [Case(**case) for case in of("make_cases.py", "make_cases")(seed, n, split)]


def subject(node, text, inputs):
    return Subject(node, text=text, inputs=inputs)


def settings():
    return tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["sherlock"]


def specs(node):
    """The verifiers that the settings name for a node, by their names there; paths as seen from anywhere."""
    found = {}
    for name, entry in settings()["verifiers"].items():
        if node in entry["nodes"]:
            located = {key: _located(value) for key, value in entry.items() if key != "nodes"}
            found[name] = located
    return found


def _located(value):
    return f"{FOLDER / value}" if isinstance(value, str) and re.search(r"\.py:|\.md$", value) else value


# the exact checks


def test_gold_passes_all_checks():
    order, goods, total = (of("checks.py", name) for name in ("order", "goods", "total"))
    for case in cases():
        gold = case.references
        assert order(gold["intake"], subject("intake", gold["intake"], case.inputs))
        state = {"prices": json.loads(gold["stock"]), "goods": gold["subtotal"], "van": gold["shipping"]}
        assert goods(gold["subtotal"], subject("subtotal", gold["subtotal"], state))
        assert total(gold["work_total"], subject("work_total", gold["work_total"], state))


@pytest.mark.parametrize("text", ["5 + 7 = 13", "7 + 5 = 12", "6 + 6 = 12", "4 + 7 = 11", "5 + 7 = 112", *NO_TEXT])
def test_goods_must_add_up_the_prices_that_were_read(text):
    goods = of("checks.py", "goods")
    assert goods("5 + 7 = 12", subject("subtotal", "", {"prices": [5, 7]}))
    assert not goods(text, subject("subtotal", text, {"prices": [5, 7]}))


@pytest.mark.parametrize("text", ["12 + 3 = 16", "3 + 12 = 15", "11 + 4 = 15", "5 + 7 = 12", *NO_TEXT])
def test_a_total_must_add_the_fee_to_the_goods(text):
    total, read = of("checks.py", "total"), {"goods": "5 + 7 = 12", "van": "green"}
    assert total("12 + 3 = 15", subject("work_total", "", read))
    assert not total(text, subject("work_total", text, read))


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "Eva"},
        {"name": ""},
        {"city": "Zürich"},
        {"city": "Zur"},
        {"items": ["bowl", "rope"]},
        {"items": ["bowl", "bowl"]},
        {"items": ["bowl"]},
        {"items": ["bowl", "flat"]},
        {"items": ["bowl", "table"]},
        {"items": "bowl"},
    ],
)
def test_an_order_must_stand_in_the_email_and_be_in_stock(changed):
    order = of("checks.py", "order")
    email = "Greetings from Zurich! For my flat I need a bowl and a hat. Yours, Max\nP.S. I love the table, Eva too."
    right = {"name": "Max", "city": "Zurich", "items": ["bowl", "hat"]}
    read = subject("intake", "", {"email": email})
    assert order(json.dumps(right), read)
    assert not order(json.dumps({**right, **changed}), read)
    assert not order("Error", read)
    assert not order(json.dumps(right), subject("intake", "", {}))


def test_checks_go_by_what_the_step_read_even_if_that_is_wrong():
    goods, total = of("checks.py", "goods"), of("checks.py", "total")
    for prices in (None, [], "x", [None, None]):
        assert goods("0 + 0 = 0", subject("subtotal", "", {"prices": prices}))
    assert goods("0 + 0 = 0", subject("subtotal", "", {}))
    assert total("0 + 0 = 0", subject("work_total", "", {"goods": "Error", "van": "pink"}))
    assert total("9 + 1 = 10", subject("work_total", "", {"goods": "4 + 4 = 9", "van": "red"}))


def test_a_wrong_sum_is_asked_for_again_until_one_passes():
    said = iter(["5 + 7 = 13", "5 + 6 = 11", "5 + 7 = 12", "never asked for"])

    async def resampler(asked, seed, temperature):
        return next(said)

    spec = {**specs("subtotal")["goods-checked"]}
    wrong = Subject("subtotal", text="5 + 7 = 11", inputs={"prices": [5, 7]}, resampler=resampler)
    verdict = asyncio.run(run_verifier(make_verifier(spec), wrong))
    assert (verdict.accepted, verdict.corrected) == (False, "5 + 7 = 12")
    right = Subject("subtotal", text="5 + 7 = 12", inputs={"prices": [5, 7]}, resampler=resampler)
    assert asyncio.run(run_verifier(make_verifier(spec), right)).accepted
    assert next(said) == "never asked for"


# prompts and settings


def test_the_settings_name_verifiers_that_can_be_made_and_nodes_that_are_there():
    nodes = {"intake", "read_tone", "shipping", "subtotal", "work_total"}
    assert {node for entry in settings()["verifiers"].values() for node in entry["nodes"]} == nodes
    for node in nodes:
        for spec in specs(node).values():
            make_verifier(spec)
    for name in ("graph", "scorer"):
        assert (FOLDER / settings()[name].partition(":")[0]).is_file()


def test_prompts_and_judges_use_no_heldout_word():
    words = of("vocabulary.py", "HELDOUT")
    held_out = {*words.names, *words.cities, *words.items, *words.things}
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted((FOLDER / "verifiers").glob("*.md"))}
    assert len(texts) == 5
    for name in ("SUMS", "VANS"):
        texts[name] = json.dumps(of("judges.py", name).examples)
    for name, text in texts.items():
        assert not held_out & set(re.findall(r"\w+", text)), name


def test_examples_for_solving_again_are_right():
    for name in ("intake", "read_tone", "shipping"):
        turns = prompt_template(name, str(FOLDER / "verifiers" / f"{name}.md")).turns
        assert turns[-1] == ("user", "{{input}}")
        asked, answered = [t for r, t in turns[:-1] if r == "user"], [t for r, t in turns if r == "assistant"]
        assert len(asked) == len(answered) >= 10
        for question, answer in zip(asked, answered, strict=True):
            if name == "shipping":
                assert answer in question
                assert len(re.findall(r"(\w+) van", answer)) == 1
                assert "etter" not in answer
            elif name == "intake":
                order = json.loads(answer)
                assert all(word in question for word in (order["name"], order["city"], *order["items"]))
            else:
                assert answer in ("good", "bad")


def test_intakes_answer_is_cast_as_the_step_does():
    cast = of("checks.py", "as_order")
    said = json.dumps({"city": "Oslo", "name": "Anna", "items": ["rug", "lamp"]})
    assert json.loads(cast(said)) == {"name": "Anna", "city": "Oslo", "items": ["lamp", "rug"]}
    assert json.loads(cast("Error")) == {"name": "", "city": "", "items": ["", ""]}


# on the real model


@pytest.mark.model
def test_calibrate_and_plan_on_the_real_model(local_model, monkeypatch, tmp_path):
    for name, value in environment(local_model).items():
        monkeypatch.setenv(name, value)
    tried = {"shipping": [specs("shipping")["van-again"]], "work_total": [specs("work_total")["total-checked"]]}
    calibration = sherlock.calibrate(
        GRAPH,
        FOLDER / "demo.jsonl",
        verifiers=tried,
        scorer=f"{FOLDER / 'scorers.py'}:graded",
        pass_mark=0.5,
        recordings=tmp_path / "recordings",
        concurrency=1,
    )
    assert calibration.partial is None
    rows = {row.node: row for row in calibration.rows}
    assert set(rows) == {"shipping", "work_total"}
    assert all(row.gain is not None and row.failures < row.verifications for row in rows.values())
    assert rows["work_total"].false_alarm.value == 0
    plan = sherlock.plan(calibration=calibration)
    plan.save(tmp_path / "plan.yaml")
    assert sherlock.Plan.load(tmp_path / "plan.yaml") == plan
    assert plan.expectation.basis == "screened only"
    assert {node for node, row in rows.items() if row.shrunk_gain > 0} >= set(plan.placements)
