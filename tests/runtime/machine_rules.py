"""The rules of a guarded run, read off the log of what its machine was told and said."""

from collections import Counter
from collections.abc import Iterator

from machine_driver import Run, Said
from machine_worlds import Keys

from sherlock.interpose.nodes import follows, precedes
from sherlock.runtime import machine as m

Outstanding = dict[int, int]
"""The checks that are neither answered nor cancelled: by execution, their numbers."""


def followed(run: Run) -> Iterator[tuple[Said, Outstanding]]:
    """What was said, with the checks that were outstanding when it was (the ones just begun or cancelled left out)."""
    outstanding: Outstanding = {}
    for said in run.log:
        event = said.event
        if isinstance(event, m.Judged) and outstanding.get(event.id) == event.check:
            del outstanding[event.id]
        for command in said.commands:
            if isinstance(command, m.CancelCheck):
                assert outstanding.pop(command.id) == command.check
        yield said, outstanding
        for command in said.commands:
            if isinstance(command, m.StartCheck):
                assert command.id not in outstanding
                outstanding[command.id] = command.check


def commits_are_final(run: Run) -> None:
    """A commit waits for all checks at or before it, and nothing is turned that it has made final."""
    committed = 0
    for said, outstanding in followed(run):
        for command in said.commands:
            if isinstance(command, m.Commit):
                assert command.step > committed
                assert all(run.every[id_].at[0][0] > command.step for id_ in outstanding)
                committed = command.step
            elif isinstance(command, m.RollBack | m.Resume):
                assert command.step > committed
            elif isinstance(command, m.Forget | m.Patch | m.Flag):
                assert run.every[command.id].at[0][0] > committed


def ends_once(run: Run) -> None:
    """The last command ends the run, with no verdict awaited; what is heard of what is no more changes nothing."""
    [last] = [said for said in run.log if any(isinstance(c, m.Finish | m.Fail) for c in said.commands)]
    assert isinstance(last.commands[-1], m.Finish | m.Fail)
    for said, outstanding in followed(run):
        if said is last:
            assert not outstanding
        if said.stale:
            assert not said.commands
            assert not said.changed


def nothing_irreversible_too_early(run: Run) -> None:
    """An irreversible node starts when what comes before it is decided, and once, unless it broke off by itself."""
    stands = {}
    for said, outstanding in followed(run):
        event = said.event
        if isinstance(event, m.Started) and run.every[event.id].node.effects == "irreversible":
            assert said.phase == "running"
            assert not any(precedes(run.every[id_].at, event.at) for id_ in outstanding)
            assert event.at not in stands or not run.every[stands[event.at]].begun
            stands[event.at] = event.id
        elif isinstance(event, m.Broke) and stands.get(run.every[event.id].at) == event.id:
            del stands[run.every[event.id].at]


def undone_last_first(run: Run) -> None:
    """Effects are taken back if they were had, once, and none before those that were built on it."""
    ended, undone = set(), []
    for said in run.log:
        if isinstance(said.event, m.Ended):
            ended.add(said.event.id)
        forgotten = [command for command in said.commands if isinstance(command, m.Forget)]
        for command in forgotten:
            assert command.undo == (run.every[command.id].node.effects == "compensable" and command.id in ended)
        batch = [run.every[command.id] for command in forgotten if command.undo]
        for number, record in enumerate(batch):
            assert not any(precedes(record.at, later.at) for later in batch[number + 1 :])
        assert not said.premature
        undone += batch
    ids = [record.id for record in undone]
    assert len(ids) == len(set(ids))


def forgotten_for_a_reason(run: Run) -> None:
    """What is forgotten was rejected, or depended on that, or had other input, or the line went another way."""
    ended = set()
    for said in run.log:
        event = said.event
        if isinstance(event, m.Ended):
            ended.add(event.id)
        for id_ in [command.id for command in said.commands if isinstance(command, m.Forget)]:
            record = run.every[id_]
            if isinstance(event, m.Judged):
                lost = record.node.effects == "compensable" or id_ not in ended
                assert (id_ == event.id and event.ruling == "retry") or (lost and id_ in _dependent(run, event))
            elif isinstance(event, m.Replaced):
                assert id_ == event.id or record.node.effects == "compensable"
            elif isinstance(event, m.StepEnded):
                level = len(event.within)
                assert record.at[:level] == event.within
                assert record.at[level][0] <= event.step or record.node.effects == "compensable"
            else:
                assert isinstance(event, m.AttemptEnded)


def started_once(run: Run) -> None:
    """An execution whose reads did not change is not started again at its place, unless it was forgotten or broke."""
    assert not run.needless
    started = Counter(record.at for record in run.every.values())
    gone = Counter(record.at for record in run.every.values() if not record.begun)
    for said in run.log:
        gone.update(run.every[command.id].at for command in said.commands if isinstance(command, m.Forget))
        if isinstance(said.event, m.Broke):
            gone[run.every[said.event.id].at] += 1
    assert all(count <= 1 + gone[at] for at, count in started.items())


def no_deeper_than_allowed(run: Run) -> None:
    """Nothing begins further past an open check, counted in the graph that holds both, than is allowed there."""
    for said, outstanding in followed(run):
        event = said.event
        if isinstance(event, m.Started) and said.phase == "running":
            for record in (run.every[id_] for id_ in outstanding):
                mine, its = next(pair for pair in zip(event.at, record.at, strict=False) if pair[0] != pair[1])
                assert mine[0] <= its[0] + record.node.depth


def _dependent(run: Run, event: m.Judged) -> set[int]:
    """The executions that may depend on an output, by the keys that were read and written."""
    source, tainted = run.every[event.id], event.changed
    found: set[int] = set()
    for record in sorted(run.every.values(), key=lambda record: record.at):
        if record.id != event.id and follows(record.at, source.at) and _meet(record.node.reads, tainted):
            found.add(record.id)
            tainted = None if tainted is None else tainted | frozenset(record.raw)
    return found


def _meet(reads: Keys, tainted: Keys) -> bool:
    if reads is None or tainted is None:
        return tainted is None or bool(tainted)
    return bool(reads & tainted)
