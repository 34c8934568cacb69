"""`sherlock run`: one input through a guarded graph, seen as it goes."""

import contextlib
import json
import shlex
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sherlock.cli import console
from sherlock.cli.options import AskedRun
from sherlock.cli.run_view import View, view
from sherlock.cli.settings import SettingsError, asked
from sherlock.cli.study import INTERRUPTED, check_model, check_needed, config
from sherlock.errors import PlanError

if TYPE_CHECKING:
    from sherlock.cases import Case
    from sherlock.placement.plan import Plan
    from sherlock.report.terminal_run import RunOutcome
    from sherlock.runtime.events import Event
    from sherlock.runtime.guard import GuardedGraph

FAILED = 1


def run(given: Mapping[str, Any]) -> int:
    """Do what was asked; return the exit code: 1 where the run raised.

    Raises `SherlockError` for whatever is wrong with what was asked.
    """
    from sherlock import background

    want = asked(AskedRun, given)
    check_needed(want, "graph")
    check_model(want)
    from sherlock.placement.plan import Plan

    plan = None if want.plan is None else Plan.load(want.plan)
    one = _Run(want, plan, _case(want), view(silent=want.json))
    try:
        with contextlib.redirect_stdout(sys.stderr), _model(want):
            outcome = background.run(one.outcome())
    except KeyboardInterrupt:
        print("sherlock: the run was ended; nothing that was not verified was kept", file=sys.stderr)
        return INTERRUPTED
    if want.json:
        console.print_json(json.dumps(one.as_json(outcome), indent=1, ensure_ascii=False))
    else:
        from sherlock.report.terminal_run import print_outcome

        print_outcome(outcome, console.for_results())
    return FAILED if outcome.error is not None else 0


class _Run:
    """One run, with the events that it told."""

    def __init__(self, want: AskedRun, plan: "Plan | None", case: "Case | None", seen: View) -> None:
        self.want = want
        self.plan = plan
        self.case = case
        self.seen = seen
        self.thread = want.thread or str(uuid.uuid4())
        self.events: list[Event] = []

    def take(self, event: "Event") -> None:
        """Keep an event, and show it."""
        self.events.append(event)
        self.seen.take(event)

    async def outcome(self) -> "RunOutcome":
        """Run it to its end, or to an interrupt."""
        from sherlock.loading import opened_graph
        from sherlock.models.prices import Prices
        from sherlock.runtime.guard import guard

        settings = config(self.want.config)
        async with opened_graph(self.want.graph, settings) as graph:
            policy = None if self.want.mode is None else {"mode": self.want.mode}
            agent = guard(graph, self.plan, policy=policy, on_event=self.take)
            self._check_something(agent)
            agent.guard.prices = Prices(self.want.prices, self.want.energy)
            agent = self._remembering(agent)
            with self.seen.open():
                return await self._driven(agent, settings)

    async def _driven(self, agent: "GuardedGraph", settings: Mapping[str, Any]) -> "RunOutcome":
        from langgraph.types import Command

        from sherlock.cases import Case
        from sherlock.report.terminal_run import RunOutcome
        from sherlock.runtime.events import RunFinished
        from sherlock.runtime.savings import savings
        from sherlock.runtime.turns import config_of, converse

        case = self.case or Case(inputs={})
        turns = case.inputs if isinstance(case.inputs, list) else [case.inputs]
        if self.want.resume is not None:
            turns = [Command(resume=_answer(self.want.resume))]
        found: dict[str, Any] = {}
        try:
            options = config_of(case, settings, thread=self.thread)
            driven = await converse(agent, turns, case.resume, options, context=case.context)
            found = {"output": driven.output, "waiting": driven.unanswered}
            if driven.unanswered is not None:
                found["how_to_resume"] = self._how_to_resume(agent)
        except Exception as error:  # noqa: BLE001  (whatever the user's graph raises is how this run ends)
            found = {"error": f"{type(error).__name__}: {error}"}
        finished = [event for event in self.events if isinstance(event, RunFinished)]
        each = [[event for event in self.events if event.run_id == end.run_id] for end in finished]
        return RunOutcome(
            **found, reports=tuple(end.report for end in finished), savings=tuple(savings(events) for events in each)
        )

    def as_json(self, outcome: "RunOutcome") -> dict[str, Any]:
        """The outcome and the timeline."""
        from dataclasses import asdict

        from sherlock.report.terminal_run import plain_value
        from sherlock.runtime.events import RunFinished, plain

        return {
            "output": plain_value(outcome.output),
            "error": outcome.error,
            "waiting": outcome.waiting,
            "thread": self.thread,
            "t_exec_s": sum(report.t_exec_s for report in outcome.reports),
            "t_vrf_s": sum(report.t_vrf_s for report in outcome.reports),
            "blocking_s": sum(each.blocking_s for each in outcome.savings),
            "wasted_s": sum(each.wasted_s for each in outcome.savings),
            "reports": [plain_value(asdict(report)) for report in outcome.reports],
            "events": [plain_value(plain(event)) for event in self.events if not isinstance(event, RunFinished)],
        }

    def _check_something(self, agent: "GuardedGraph") -> None:
        if not any(place.attached for place in agent.guard.places.values()):
            said = "the code declares none" if self.plan is None else f"{self.want.plan} places none"
            raise PlanError(
                f"no node has a verifier, for {said}: say --plan plan.yaml, make one with `sherlock plan`, or decorate "
                "nodes with @sherlock.verified(...)"
            )

    def _remembering(self, agent: "GuardedGraph") -> "GuardedGraph":
        """The graph with a checkpointer of its own where it needs one for this run only."""
        if agent.checkpointer:
            return agent
        if self.want.thread is not None or self.want.resume is not None:
            raise SettingsError(
                "the graph has no checkpointer, so no thread is remembered: compile it with one, or leave --thread "
                "and --resume out"
            )
        from langgraph.checkpoint.memory import InMemorySaver

        return agent.copy({"checkpointer": InMemorySaver()})

    def _how_to_resume(self, agent: "GuardedGraph") -> str:
        from langgraph.checkpoint.memory import InMemorySaver

        if isinstance(agent.checkpointer, InMemorySaver):
            return (
                'Its checkpointer forgets it now: answer in a case, with "resume": [...], or compile the graph with a '
                "checkpointer that lasts."
            )
        plan = [] if self.want.plan is None else ["--plan", str(self.want.plan)]
        words = ["sherlock", "run", self.want.graph or "", *plan, "--thread", self.thread, "--resume"]
        return f"Go on with: {shlex.join(words)} ANSWER"


def _case(want: AskedRun) -> "Case | None":
    """What is to be run; None where an interrupt is answered."""
    from sherlock.cases import Case, read_cases

    if want.resume is not None:
        if want.thread is None:
            raise SettingsError("--resume needs --thread ID, the thread that waits for the answer")
        if {"input", "case"} & want.given:
            raise SettingsError("--resume goes on with a thread: leave --input and --case out")
        return None
    if want.input is not None:
        if "case" in want.given:
            raise SettingsError("--input and --case are two inputs: give one of them")
        return Case(inputs=_json_object(want.input))
    if want.cases is None:
        raise SettingsError("no input given: say --input '{...}', --input case.json, or --cases cases.jsonl --case ID")
    cases = read_cases(want.cases)
    if want.case is None:
        return cases[0]
    for case in cases:
        if case.id == want.case:
            return case
    import difflib

    near = difflib.get_close_matches(want.case, [case.id or "" for case in cases], n=1, cutoff=0.0)
    raise SettingsError(f"{want.cases} has no case {want.case!r}: did you mean {near[0]!r}?")


def _json_object(text: str) -> dict[str, Any]:
    """The input: JSON itself, `-` for standard input, or a file."""
    place, source = "--input", text
    try:
        if text == "-":
            place, source = "standard input", sys.stdin.read()
        elif not text.lstrip().startswith("{"):
            place, source = text, Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"--input {text}: cannot be read ({why}): give a JSON object, its file, or -") from error
    try:
        found = json.loads(source)
    except ValueError as error:
        raise SettingsError(f"{place} is not JSON ({error}): give a JSON object") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{place} holds no JSON object: give what the graph is invoked with")
    return found


def _answer(text: str) -> Any:
    """JSON, or a text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@contextlib.contextmanager
def _model(want: AskedRun) -> Any:
    if want.model is None:
        yield
        return
    from sherlock.models.local import serve

    print("sherlock: starting the embedded model", file=sys.stderr)
    with serve(export=True):
        yield
