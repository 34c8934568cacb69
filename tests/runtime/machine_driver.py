"""Drives the machine of a guarded run through a random world, as the real driver does, and writes down what was said.

LangGraph, the saver and the verifiers are simulated: what they do, and in which order, is the world's and its seed's
business. `drive(world)` gives the `Run`: its log of events and commands, and how it ended.
"""

from dataclasses import dataclass, field
from typing import Any

from machine_tasks import Cancelled, Scheduler, Task, Work, gathered, gone
from machine_worlds import KEYS, Asked, Graph, Node, Outcome, Raised, State, World

from sherlock.interpose.nodes import Address
from sherlock.runtime import machine as m

LATENCIES = (0, 0, 1, 2, 5, 12, 40)
AT_ONCE = (m.StartCheck, m.RollBack, m.Patch, m.Flag)
Origin = dict[str, frozenset[int]]
"""By whose writes the values of a state are what they are."""


class Refused(Exception):
    """The graph cannot take in the corrections of these executions."""


@dataclass
class Record:
    """What the driver keeps of an execution. `sources`: the executions that wrote what it read."""

    id: int
    at: Address
    node: Node
    value: State
    sources: frozenset[int]
    began: int
    retried: bool
    raw: State = field(default_factory=dict)
    update: State = field(default_factory=dict)
    correction: State | None = None
    refused: bool = False
    begun: bool = False
    ended: bool = False
    task: Task | None = None


@dataclass
class Said:
    """One event, and what the machine said to it in which phase.

    `stale`: it was about something that is no more. `changed`: a stale one has changed the machine all the same.
    `premature`: effects that were to be undone before others that were built on them.
    """

    event: m.Event
    commands: list[m.Command]
    phase: str
    stale: bool
    changed: bool
    premature: list[tuple[int, int]]


def drive(world: World) -> "Run":
    """Run the world to its end."""
    run = Run(world)
    run.scheduler.spawn(run.direct())
    run.scheduler.run(lambda: run.over)
    for task in run.scheduler.tasks:
        task.cancel()
    run.scheduler.run(lambda: all(task.done for task in run.scheduler.tasks))
    return run


class Run:
    """See the module. `log` is all that the machine was told and said, in order."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.scheduler = Scheduler(world.seed)
        self.machine = m.Machine(ended=0, max_rollbacks=world.max_rollbacks, on_limit=world.on_limit)
        self.log: list[Said] = []
        self.every: dict[int, Record] = {}
        self.records: dict[int, Record] = {}
        self.rejected: dict[Address, State] = {}
        self.checks: dict[int, Task] = {}
        self.commands: list[m.Command] = []
        self.directing = self.over = False
        self.attempt = 0
        self.pump: Task | None = None
        first = world.graph.first(world.state)
        self.saved: dict[int, tuple[State, Origin, int | None]] = {0: (world.state, {}, first)}
        """The gate: what the line has come to by superstep, and the row that is next."""
        self.flushed: dict[int, State] = {}
        self.error: Any = None
        self.outcome: Outcome | None = None
        self.needless: list[int] = []
        """Executions that were repeated although what they read was the same."""

    def latency(self) -> int:
        return self.scheduler.random.choice(LATENCIES)

    def handle(self, event: m.Event) -> None:
        """Tell the machine, and have what it says done; all is written down."""
        phase, stale = self.machine.phase, self.is_stale(event)
        before = repr(self.machine) if stale else ""
        commands = self.machine.handle(event)
        changed = stale and repr(self.machine) != before
        self.log.append(Said(event, commands, phase, stale, changed, self.premature(commands)))
        for command in commands:
            if isinstance(command, m.Patch) or (not self.commands and isinstance(command, AT_ONCE)):
                self.do_at_once(command)
            else:
                self.commands.append(command)

    def is_stale(self, event: m.Event) -> bool:
        if self.machine.phase == "over":
            return True
        if not isinstance(event, m.Judged | m.Broke | m.Ended | m.Kept | m.Replaced):
            return False
        execution = self.machine.executions.get(event.id)
        return execution is None or (isinstance(event, m.Judged) and execution.check != event.check)

    def premature(self, commands: list[m.Command]) -> list[tuple[int, int]]:
        forgotten = [command.id for command in commands if isinstance(command, m.Forget)]
        found = []
        for number, id_ in enumerate(forgotten):
            standing = {*forgotten[number + 1 :], *self.machine.executions}
            if self.every[id_].node.effects == "compensable":
                found += [
                    (id_, later) for later in standing if self.had_effect(later) and id_ in self.every[later].sources
                ]
        return found

    def had_effect(self, id_: int) -> bool:
        record = self.every[id_]
        return record.ended and record.node.effects == "compensable"

    # The director

    def direct(self) -> Work:
        self.launch()
        try:
            while self.machine.phase != "over" or self.commands:
                yield lambda: self.commands and not self.directing
                yield from self.perform()
        except Exception as error:
            raise AssertionError(f"a command could not be carried out: {error!r}") from error
        self.over = True

    def perform(self) -> Work:
        self.directing = True
        command = self.commands[0]
        try:
            if isinstance(command, AT_ONCE):
                self.do_at_once(command)
            else:
                yield from getattr(self, f"do_{type(command).__name__.lower()}")(command)
        finally:
            self.commands.pop(0)
            self.directing = False

    def do_at_once(self, command: Any) -> None:
        record = self.records[command.id]
        if isinstance(command, m.StartCheck):
            self.checks[command.check] = self.scheduler.spawn(self.check(record, command.check))
        elif isinstance(command, m.Patch):
            assert record.correction is not None
            record.update = record.correction

    def do_cancelcheck(self, command: m.CancelCheck) -> Work:
        if command.check in self.checks:
            yield from gone(self.checks[command.check])

    def do_forget(self, command: m.Forget) -> Work:
        record = self.records.pop(command.id, None)
        if record is None:  # it broke before the command's turn came
            return
        if record.task is not None:
            yield from gone(record.task)
        if command.undo or (record.ended and record.node.effects == "compensable"):
            yield self.latency()
            if self.world.undo_fails:
                self.handle(m.Broken())

    def do_stop(self, command: m.Stop) -> Work:
        pump = self.pump
        if pump is not None and not pump.done:
            yield from gone(pump)
            if isinstance(pump.error, Cancelled):  # before it had begun, so that it could not tell
                self.handle(m.AttemptEnded(end=None))

    def do_resume(self, command: m.Resume) -> Work:
        self.saved = {step: saved for step, saved in self.saved.items() if step < command.step}
        yield self.latency()
        if self.machine.phase == "running":
            self.launch()
        else:
            self.handle(m.AttemptEnded(end=None))

    def do_commit(self, command: m.Commit) -> Work:
        done = [record for record in self.records.values() if record.at[0][0] <= command.step]
        yield self.latency()
        for step in range(max(self.flushed, default=0) + 1, command.step + 1):
            self.flushed[step] = self.saved[step][0]
        for record in done:
            self.records.pop(record.id, None)

    def do_finish(self, command: m.Finish) -> Work:
        yield self.latency()
        last = {r.at: r.update for r in self.records.values() if r.ended} if command.end == "interrupted" else {}
        errors = frozenset({self.error}) if command.end == "error" else frozenset()
        self.outcome = Outcome(end=command.end, states=self.line(), last=last, errors=errors)

    def do_fail(self, command: m.Fail) -> Work:
        yield self.latency()
        error = "limit" if command.id is None else ("doomed", self.records[command.id].at)
        self.outcome = Outcome(end="error", states=self.line(), errors=frozenset({error}))

    def line(self) -> tuple[State, ...]:
        return tuple(self.saved[step][0] for step in sorted(self.saved) if step)

    # Attempts

    def launch(self) -> None:
        assert max(self.saved) == self.machine.ended
        self.attempt += 1
        self.error = None
        self.pump = self.scheduler.spawn(self.pumped())

    @property
    def stopping(self) -> bool:
        return self.machine.phase in ("stopping", "idle") and not self.over

    def pumped(self) -> Work:
        end: m.End | None = "done"
        refused: tuple[int, ...] = ()
        step = max(self.saved)
        state, origin, row = self.saved[step]
        try:
            yield from self.supersteps(self.world.graph, (), state, origin, row, step, 0)
        except Cancelled:
            end = None
        except Asked:
            end = "interrupted"
        except Refused as error:
            end, refused = None, tuple(id_ for id_ in error.args[0] if id_ in self.records)
            for record in (self.records[id_] for id_ in refused):
                record.update, record.correction, record.refused = record.raw, None, False
        except Raised as error:
            self.error, end = ("raised", error.args[0]), "error"
        self.handle(m.AttemptEnded(end=end, refused=refused, doom=self.world.on_failure == "closed"))

    def supersteps(
        self, graph: Graph, within: Address, state: State, origin: Origin, row: int | None, step: int, tries: int
    ) -> Work:
        while row is not None:
            step += 1
            spawned = [
                self.scheduler.spawn(self.visit(node, (*within, (step, node.name, index)), state, origin, tries))
                for node, index in graph.tasks(row, state)
            ]
            made = yield from gathered(spawned, Asked)
            self.check_corrections(within, step)
            for update, by in made:
                state, origin = {**state, **update}, {**origin, **by}
            row = graph.after(row, step, state)
            if not within:
                self.saved[step] = (state, origin, row)
            self.handle(m.StepEnded(step=step, within=within))
            yield from self.may_go_on(step, within)
        return state, origin

    def check_corrections(self, within: Address, step: int) -> None:
        level = len(within)
        made = [
            r
            for r in self.records.values()
            if r.at[:level] == within and len(r.at) == level + 1 and r.at[level][0] == step
        ]
        refused = [record for record in made if record.refused and record.update is not record.raw]
        if refused:
            raise Refused(tuple(record.id for record in refused))

    def may_go_on(self, step: int, within: Address) -> Work:
        while self.machine.phase == "running" and not self.over:
            if not self.directing and self.commands and isinstance(self.commands[0], m.Commit):
                yield from self.perform()
            elif not self.commands and self.machine.may_go_on(step, within):
                return
            else:
                turn = self.scheduler.turn
                yield lambda turn=turn: self.scheduler.turn > turn

    def visit(self, node: Node, at: Address, state: State, origin: Origin, tries: int) -> Work:
        """One task of LangGraph's, tried again where it would be. Returns its update, and whose writes that is."""
        for own in range(1 + node.retries):
            try:
                if node.inner is not None:
                    first = node.inner.first(state)
                    found, by = yield from self.supersteps(node.inner, at, state, origin, first, 0, tries + own)
                    changed = [key for key in KEYS if found[key] != state[key]]
                    return {key: found[key] for key in changed}, {key: by[key] for key in changed}
                record = yield from self.around(node, at, state, origin, tries + own)
                return record.update, dict.fromkeys(record.update, frozenset({record.id}))
            except Raised:
                if own == node.retries:
                    raise
        raise AssertionError(node)

    def around(self, node: Node, at: Address, state: State, origin: Origin, tries: int) -> Work:
        value = node.value(state)
        sources = frozenset().union(*(origin.get(key, frozenset()) for key in node.read(value)))
        record = yield from self.recorded(at, value, sources)
        while True:
            if record is None:
                record = yield from self.begin(node, at, value, sources, tries)
            attached = record.began != self.attempt
            assert record.task is not None
            try:
                yield lambda task=record.task: task.done
            except Cancelled:
                if not self.stopping:
                    yield from gone(record.task)
                raise
            if not attached or record.ended:
                break
            record = None
        if record.task.error is not None:
            raise record.task.error
        return record

    def recorded(self, at: Address, value: State, sources: frozenset[int]) -> Work:
        known = self.machine.at(at)
        if known is None:
            return None
        record = self.records[known.id]
        yield self.latency()
        if self.machine.at(at) is not known:
            return None
        if known.reached or record.node.read(record.value) != record.node.read(value):
            if record.node.read(record.value) == record.node.read(value):
                self.needless.append(known.id)
            self.handle(m.Replaced(id=known.id))
            return None
        same = not record.node.verdicts or record.value == value
        if not same:
            record.value, record.update, record.retried = value, record.raw, False
        record.sources = sources
        self.handle(m.Kept(id=known.id, same_inputs=same))
        return record

    def begin(self, node: Node, at: Address, value: State, sources: frozenset[int], tries: int) -> Work:
        settled = self.machine.phase == "running" and self.machine.is_settled_before(at)
        if node.effects == "irreversible" and not settled:
            self.handle(m.Parked(at=at))
            yield lambda: False
        retried = self.rejected.get(at) == value
        record = Record(len(self.every) + 1, at, node, value, sources, self.attempt, retried)
        self.every[record.id] = self.records[record.id] = record
        self.handle(
            m.Started(
                id=record.id,
                at=at,
                placed=bool(node.verdicts),
                reads=node.reads,
                inputs=node.inputs,
                undoable=node.effects == "compensable",
            )
        )
        record.task = self.scheduler.spawn(self.execute(record, tries))
        return record

    def execute(self, record: Record, tries: int) -> Work:
        node = record.node
        record.begun = True
        try:
            yield self.latency()
            output = node.output(record.at[-1][2], record.value, tries=tries, retried=record.retried)
            record.raw = record.update = output
        except BaseException:
            self.handle(m.Broke(id=record.id))
            self.records.pop(record.id, None)
            raise
        record.ended = True
        self.handle(m.Ended(id=record.id, writes=frozenset(output), depth=node.depth))

    def check(self, record: Record, number: int) -> Work:
        yield self.latency()
        value, raw = record.value, record.raw
        yield self.latency()
        said, corrected = record.node.verdict(value, raw)
        ruling = self.world.ruling(record.node, said, retried=record.retried)
        record.correction = corrected if ruling == "correct" else None
        record.refused = said == "refused"
        if ruling == "retry":
            self.rejected[record.at] = value
        changed = frozenset(k for k in raw.keys() | corrected.keys() if raw.get(k) != corrected.get(k))
        self.handle(
            m.Judged(id=record.id, check=number, ruling=ruling, changed=changed if ruling == "correct" else None)
        )
