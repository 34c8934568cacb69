"""What the machine of a guarded run says to what it is told: one test for each of its rules."""

import pytest

from sherlock.runtime.machine import (
    AttemptEnded,
    Broke,
    Broken,
    CancelCheck,
    Commit,
    Ended,
    Fail,
    Finish,
    Flag,
    Forget,
    Judged,
    Kept,
    Machine,
    Parked,
    Patch,
    Replaced,
    Resume,
    RollBack,
    StartCheck,
    Started,
    StepEnded,
    Stop,
)


def keys(*names):
    return frozenset(names)


def place(step, name="n"):
    return ((step, name, -1),)


class Line:
    """A machine, and what its driver would tell it, in short."""

    def __init__(self, **options):
        self.machine = Machine(ended=0, **options)

    def tell(self, event):
        return self.machine.handle(event)

    def ran(self, id_, at, *, writes=frozenset("a"), depth=100, **about):
        """An execution starts and ends. Returns what was said to its end."""
        about = {"placed": True, **about}
        assert self.tell(Started(id=id_, at=at, **about)) == []
        return self.tell(Ended(id=id_, writes=writes, depth=depth))

    def judged(self, id_, ruling, *, check=None, changed=None):
        return self.tell(Judged(id=id_, check=check or id_, ruling=ruling, changed=changed))

    def chain(self, length=3):
        """Nodes 1 to n, each in its superstep, all placed, all run, and no verdict yet. Then the attempt is over."""
        for n in range(1, length + 1):
            assert self.ran(n, place(n)) == [StartCheck(id=n, check=n)]
            assert self.tell(StepEnded(step=n)) == []
        assert self.tell(AttemptEnded(end="done")) == []
        return self


def test_three_nodes_whose_first_verdict_arrives_last():
    """arXiv:2511.00330, section 7: everything runs on; the last verdict makes all of it final at once."""
    line = Line().chain()
    assert line.judged(3, "pass") == []
    assert line.judged(2, "pass") == []
    assert line.judged(1, "pass") == [Commit(step=3), Finish(end="done")]


def test_three_nodes_whose_first_output_is_rejected_last():
    """Verdicts on what was made of it are void; what read it runs again as soon as the line shows it other input."""
    line = Line().chain()
    assert line.judged(2, "pass") == []
    assert line.judged(1, "correct", changed=keys("a")) == [
        RollBack(id=1, step=1),
        CancelCheck(id=3, check=3),
        Patch(id=1),
        Resume(step=1),
    ]
    assert line.judged(3, "correct") == []  # too late
    assert line.tell(Kept(id=1)) == []
    assert line.tell(StepEnded(step=1)) == [Commit(step=1)]
    assert line.tell(Replaced(id=2)) == [Forget(id=2)]
    assert line.ran(4, place(2)) == [StartCheck(id=4, check=4)]


def test_verdicts_in_order_make_the_line_final_step_by_step():
    line = Line().chain()
    assert line.judged(1, "pass") == [Commit(step=1)]
    assert line.judged(2, "pass") == [Commit(step=2)]
    assert line.judged(3, "pass") == [Commit(step=3), Finish(end="done")]


def test_what_did_not_read_the_corrected_key_is_kept_and_so_is_its_verdict():
    line = Line()
    line.ran(1, place(1), writes=keys("a"))
    line.tell(StepEnded(step=1))
    line.ran(2, place(2), reads=keys("b"), inputs=keys("b"), writes=keys("c"))
    line.tell(StepEnded(step=2))
    assert line.judged(2, "pass") == []
    assert line.judged(1, "correct", changed=keys("a")) == [RollBack(id=1, step=1), Stop(), Patch(id=1)]
    assert line.tell(AttemptEnded(end=None)) == [Resume(step=1)]
    assert line.tell(Kept(id=1)) == []
    assert line.tell(StepEnded(step=1)) == [Commit(step=1)]
    assert line.tell(Kept(id=2)) == []
    assert line.tell(StepEnded(step=2)) == [Commit(step=2)]


def test_what_still_runs_is_cancelled_only_if_it_read_what_is_corrected():
    line = Line()
    line.ran(1, place(1), writes=keys("a"))
    line.tell(StepEnded(step=1))
    line.tell(Started(id=2, at=place(2, "reads it"), reads=keys("a")))
    line.tell(Started(id=3, at=place(2, "does not"), reads=keys("b")))
    assert line.judged(1, "correct", changed=keys("a")) == [
        RollBack(id=1, step=1),
        Forget(id=2),
        Stop(),
        Patch(id=1),
    ]


def test_what_still_runs_is_cancelled_too_if_it_read_what_was_made_of_that():
    line = Line()
    line.ran(1, place(1), writes=keys("a"))
    line.ran(2, place(2), writes=keys("b"), reads=keys("a"), placed=False)
    line.tell(Started(id=3, at=place(3), reads=keys("b")))
    assert Forget(id=3) in line.judged(1, "correct", changed=keys("a"))


def test_a_kept_output_is_verified_anew_if_its_verifier_is_shown_something_else():
    line = Line()
    line.ran(1, place(1), writes=keys("a"), placed=False)
    line.ran(2, place(1, "m"), writes=keys("b"), reads=keys("x"), inputs=keys("a", "x"))
    line.judged(2, "pass", check=1)
    line.tell(Parked(at=place(1, "o")))
    line.tell(AttemptEnded(end=None))
    assert line.tell(Kept(id=2, same_inputs=False)) == [StartCheck(id=2, check=2)]


def test_a_rejected_output_without_a_correction_is_forgotten_to_be_executed_again():
    line = Line().chain(1)
    assert line.judged(1, "retry") == [RollBack(id=1, step=1), Forget(id=1), Resume(step=1)]


def test_a_rejection_off_the_line_rolls_nothing_back():
    """The line is on its way and has not come by yet: it will find the correction in place."""
    line = Line().chain(2)
    line.judged(1, "correct", changed=keys("z"))
    line.machine.executions[2].inputs = keys("b")
    assert line.judged(2, "correct", check=2) == []  # its check was void: it was shown everything
    line = Line()
    line.ran(1, place(1))
    line.ran(2, place(1, "m"))
    line.judged(1, "retry")
    assert line.judged(2, "correct") == [Patch(id=2)]
    assert line.machine.rollbacks == 1


def test_a_commit_waits_for_every_check_of_its_superstep():
    line = Line()
    line.ran(1, place(1, "m"))
    line.ran(2, place(1, "n"))
    assert line.tell(StepEnded(step=1)) == []
    assert line.judged(2, "pass") == []
    assert line.judged(1, "pass") == [Commit(step=1)]


def test_the_window_holds_the_line():
    """At depth 1 one superstep may begin past an open check, and no second."""
    line = Line()
    line.ran(1, place(1), depth=1)
    line.tell(StepEnded(step=1))
    assert line.machine.may_go_on(1)
    line.tell(StepEnded(step=2))
    assert not line.machine.may_go_on(2)
    line.judged(1, "pass")
    assert line.machine.may_go_on(2)


def test_within_a_subgraph_the_window_is_counted_there():
    line = Line()
    within = place(1, "sub")
    line.ran(1, (*within, (1, "n", -1)), depth=1)
    line.tell(StepEnded(step=1, within=within))
    assert line.machine.may_go_on(1, within)
    assert not line.machine.may_go_on(2, within)
    assert line.machine.may_go_on(1, place(1, "beside"))
    assert line.machine.may_go_on(1)
    assert not line.machine.may_go_on(2)


def test_an_irreversible_node_waits_without_an_attempt():
    line = Line()
    line.ran(1, place(1))
    line.tell(StepEnded(step=1))
    assert not line.machine.is_settled_before(place(2))
    assert line.tell(Parked(at=place(2))) == [Stop()]
    assert line.tell(AttemptEnded(end=None)) == []
    assert line.judged(1, "pass") == [Commit(step=1), Resume(step=2)]
    assert line.machine.is_settled_before(place(2))


def test_a_parked_node_does_not_wait_for_what_dooms_the_run():
    """In a subgraph the line begins anew before the doomed execution, and has to come by for the run to fail."""
    line = Line()
    within = place(1, "sub")
    line.ran(1, (*within, (1, "n", -1)))
    line.tell(StepEnded(step=1, within=within))
    line.tell(Parked(at=(*within, (2, "pay", -1))))
    assert line.judged(1, "doom") == []
    assert line.tell(AttemptEnded(end=None)) == [Resume(step=1)]
    assert line.tell(Kept(id=1)) == [Stop()]
    assert line.tell(AttemptEnded(end=None)) == [Fail(id=1)]


def test_effects_are_undone_last_first():
    line = Line()
    line.ran(1, place(1), writes=keys("a"))
    line.ran(2, place(2), writes=keys("b"), placed=False, undoable=True, reads=keys("a"))
    line.ran(3, place(3), writes=keys("c"), placed=False, undoable=True, reads=keys("b"))
    line.ran(4, place(3, "m"), writes=keys("c"), placed=False, undoable=True, reads=keys("x"))
    assert line.judged(1, "correct", changed=keys("a")) == [
        RollBack(id=1, step=1),
        Forget(id=3, undo=True),
        Forget(id=2, undo=True),
        Stop(),
        Patch(id=1),
    ]


def test_an_effect_is_not_undone_while_another_stands_on_it():
    """Also where the first has other input than before for a reason that nobody foresaw."""
    line = Line()
    line.ran(1, place(1), writes=keys("a"))
    line.ran(2, place(2), writes=keys("b"), placed=False, undoable=True, reads=keys("x"))
    line.ran(3, place(3), writes=keys("c"), placed=False, undoable=True, reads=keys("b"))
    line.judged(1, "correct", changed=keys("a"))
    line.tell(AttemptEnded(end=None))
    assert line.tell(Replaced(id=2)) == [Forget(id=3, undo=True), Forget(id=2, undo=True)]


def test_what_the_line_no_longer_comes_by_is_forgotten_last_first():
    line = Line()
    within = place(2, "sub")
    line.ran(1, place(1), writes=keys("a"))
    line.ran(2, (*within, (1, "n", -1)), placed=False, undoable=True, reads=keys("x"))
    line.ran(3, (*within, (2, "n", -1)), placed=False, undoable=True, reads=keys("x"))
    line.judged(1, "correct", changed=keys("z"))
    line.tell(AttemptEnded(end=None))
    line.tell(Kept(id=1))
    line.tell(StepEnded(step=1))
    assert line.tell(StepEnded(step=2)) == [Forget(id=3, undo=True), Forget(id=2, undo=True), Commit(step=2)]


def test_nothing_ends_a_run_while_a_verdict_may_turn_it():
    """An error may be a consequence of what is about to be corrected."""
    line = Line()
    line.ran(1, place(1))
    line.tell(StepEnded(step=1))
    line.tell(Started(id=2, at=place(2)))
    line.tell(Broke(id=2))
    assert line.tell(AttemptEnded(end="error")) == []
    assert line.judged(1, "pass") == [Commit(step=1), Finish(end="error")]


def test_a_doomed_run_fails_when_nothing_earlier_can_void_that():
    line = Line().chain(2)
    assert line.judged(2, "doom") == []
    assert line.judged(1, "pass") == [Commit(step=1), Fail(id=2)]


def test_doom_is_void_with_the_input_that_it_was_found_on():
    line = Line().chain(2)
    assert line.judged(2, "doom") == []
    assert line.judged(1, "correct", changed=keys("a")) == [RollBack(id=1, step=1), Patch(id=1), Resume(step=1)]
    assert not line.machine.executions[2].doomed


def test_what_begins_in_the_last_moments_of_a_line_does_not_doom_the_next():
    line = Line()
    line.ran(1, place(1))
    line.tell(StepEnded(step=1))
    assert Stop() in line.judged(1, "correct", changed=keys("a"))
    line.ran(2, place(2))
    line.tell(AttemptEnded(end=None))
    assert line.judged(2, "doom") == []
    line.tell(Kept(id=1))
    assert line.tell(StepEnded(step=1)) == [Commit(step=1)]
    assert line.tell(StepEnded(step=2)) == [Forget(id=2), Commit(step=2)]


@pytest.mark.parametrize(("on_limit", "said"), [("raise", [Fail(id=None)]), ("flag", [Flag(id=1), Commit(step=1)])])
def test_at_the_limit_of_rollbacks(on_limit, said):
    line = Line(max_rollbacks=0, on_limit=on_limit).chain(1)
    assert line.judged(1, "correct")[: len(said)] == said
    assert line.machine.phase == "over"


def test_a_failure_that_no_rollback_can_mend_ends_the_run():
    line = Line()
    line.ran(1, place(1))
    assert line.tell(Broken()) == [Stop()]
    assert line.tell(AttemptEnded(end=None)) == [CancelCheck(id=1, check=1), Fail(id=None)]
    assert line.judged(1, "pass") == []


@pytest.mark.parametrize("doom", [False, True])
def test_a_correction_that_the_graph_cannot_take_in(doom):
    """The node's own output takes its place again; or the run fails."""
    line = Line()
    line.ran(1, place(1))
    line.judged(1, "correct", changed=keys("a"))
    line.tell(AttemptEnded(end=None))
    line.tell(Kept(id=1))
    said = line.tell(AttemptEnded(end=None, refused=(1,), doom=doom))
    assert said == ([Fail(id=1)] if doom else [Resume(step=1)])


def test_a_correction_refused_while_the_line_is_given_up_is_heard_of():
    """Its own output may not pass for verified: it is verified again."""
    line = Line()
    line.ran(1, place(1))
    line.judged(1, "correct", changed=keys("a"))
    assert line.tell(AttemptEnded(end=None, refused=(1,), doom=True)) == [Resume(step=1)]
    assert line.tell(Kept(id=1)) == [StartCheck(id=1, check=2)]


def test_a_refused_correction_of_what_is_no_more_has_the_line_begin_anew():
    line = Line()
    line.ran(1, place(1))
    line.tell(StepEnded(step=1))
    assert line.tell(AttemptEnded(end=None, refused=(7,), doom=True)) == [Resume(step=2)]


def test_a_line_cut_short_by_an_error_keeps_what_it_has_not_come_by():
    """An irreversible node would be executed twice, else."""
    line = Line()
    line.ran(1, place(1))
    line.ran(2, place(1, "pay"), placed=False)
    line.ran(3, place(1, "m"))
    line.judged(1, "correct", changed=keys("a"))
    line.tell(AttemptEnded(end=None))
    line.tell(Kept(id=3))
    assert line.tell(AttemptEnded(end="error")) == []
    assert line.judged(3, "correct", check=2) == [RollBack(id=3, step=1), Patch(id=3), Resume(step=1)]
    assert line.tell(Kept(id=2)) == []


def test_what_the_line_has_not_come_by_is_forgotten_when_the_run_ends():
    line = Line()
    line.ran(1, place(1))
    line.ran(2, place(1, "m"), placed=False, undoable=True)
    line.judged(1, "correct", changed=keys("a"))
    line.tell(AttemptEnded(end=None))
    line.tell(Kept(id=1))
    assert line.tell(AttemptEnded(end="error")) == [Forget(id=2, undo=True), Finish(end="error")]


def test_a_refused_correction_does_not_keep_the_line_from_an_earlier_rollback():
    line = Line()
    line.ran(1, place(1), reads=keys("x"))
    line.ran(2, place(2), reads=keys("x"), inputs=keys("x"))
    line.judged(2, "correct", changed=keys("b"))
    line.tell(AttemptEnded(end=None))
    line.tell(Kept(id=2))
    line.judged(1, "correct", changed=keys("a"))
    assert line.tell(AttemptEnded(end=None, refused=(2,))) == [Resume(step=1)]


def test_late_news_of_what_is_no_more_changes_nothing():
    line = Line().chain(2)
    line.judged(1, "retry")
    before = repr(line.machine)
    for event in (Judged(id=1, check=1, ruling="doom"), Broke(id=1), Ended(id=1), Kept(id=1), Replaced(id=1)):
        assert line.tell(event) == []
    assert repr(line.machine) == before
