"""The machine of a guarded run, alone, in random worlds: see `machine_worlds`, `machine_driver`, `machine_rules`."""

import os

import machine_rules
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_driver import drive
from machine_worlds import DEPTHS, EFFECTS, HARMLESS, KINDS, blocking, worlds

SOAK = bool(os.environ.get("SHERLOCK_SOAK"))
EXAMPLES = 20_000 if SOAK else 200
pytestmark = [pytest.mark.soak] if SOAK else []


def is_true_so_far(run, expected):
    """Whether what was made final is the blocking line."""
    return all(state == expected.states[step - 1] for step, state in run.flushed.items())


few = st.sampled_from((0, 1, 2, 3))
bounded = worlds(
    max_rollbacks=few, on_limit=st.sampled_from(("raise", "flag")), undo_fails=st.sampled_from((False, True))
)


@settings(max_examples=EXAMPLES)
@given(worlds())
def test_it_ends_as_blocking_does(world):
    """Invariant 1; and (2) whatever is made final on the way is what blocking came to."""
    run, expected = drive(world), blocking(world)
    found = run.outcome
    if found.end == "error":
        assert found.errors <= expected.errors
    else:
        assert found == type(found)(end=expected.end, states=expected.states, last=expected.last)
    assert is_true_so_far(run, expected)


@settings(max_examples=EXAMPLES)
@given(worlds(max_rollbacks=few))
def test_at_a_limit_nothing_wrong_was_made_final(world):
    """Invariant 2: what was rejected for the first time too many is not stored either."""
    assert is_true_so_far(drive(world), blocking(world))


@settings(max_examples=EXAMPLES)
@given(worlds(verdicts=HARMLESS, kinds=("text",), depths=(100,)))
def test_it_ends_as_blocking_does_where_nothing_fails(world):
    """The same, with longer lines."""
    found, expected = drive(world).outcome, blocking(world)
    assert found == expected
    assert found.end == "done"


@settings(max_examples=EXAMPLES)
@given(st.one_of(worlds(), bounded))
def test_commits_are_final(world):
    machine_rules.commits_are_final(drive(world))


@settings(max_examples=EXAMPLES)
@given(worlds(effects=(*EFFECTS, "irreversible", "irreversible")))
def test_nothing_irreversible_begins_too_early_or_twice(world):
    machine_rules.nothing_irreversible_too_early(drive(world))


@settings(max_examples=EXAMPLES)
@given(st.one_of(worlds(effects=("none", "compensable", "compensable")), bounded))
def test_effects_are_undone_last_first(world):
    machine_rules.undone_last_first(drive(world))


@settings(max_examples=EXAMPLES)
@given(st.one_of(worlds(), bounded))
def test_the_end_is_the_end(world):
    machine_rules.ends_once(drive(world))


@settings(max_examples=EXAMPLES)
@given(worlds(kinds=(*KINDS, "flaky"), repeats=True, max_rollbacks=few, on_limit=st.sampled_from(("raise", "flag"))))
def test_rollbacks_are_bounded(world):
    """A run always ends (else its driver finds itself in a deadlock), though LangGraph repeat whole subgraphs."""
    run = drive(world)
    assert run.machine.rollbacks <= world.max_rollbacks
    machine_rules.ends_once(run)
    machine_rules.commits_are_final(run)


@settings(max_examples=EXAMPLES)
@given(worlds())
def test_only_what_depends_on_it_is_executed_again(world):
    run = drive(world)
    machine_rules.forgotten_for_a_reason(run)
    machine_rules.started_once(run)


@settings(max_examples=EXAMPLES)
@given(worlds(depths=(*DEPTHS, 0, 1, 1)))
def test_no_line_goes_deeper_than_is_allowed(world):
    machine_rules.no_deeper_than_allowed(drive(world))
