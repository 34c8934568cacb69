"""The commands and their options, for typer. What they do is in modules that are imported when they are needed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup

import sherlock
from sherlock.cli.options import AskedAnalyze, AskedCalibrate, AskedPlan, AskedRun, AskedValidate, command_for

if TYPE_CHECKING:
    from collections.abc import Mapping

UsageError: type[Exception] = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""What the parser raises: for a value its subclass `BadParameter`, for an unknown option or command others."""


class _Commands(TyperGroup):
    """The list of commands is printed plainly: drawing it would take longer than everything else."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.rich_markup_mode = None
        super().format_help(ctx, formatter)


app = typer.Typer(
    cls=_Commands,
    help="Find the steps of a LangGraph agent that matter.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def command() -> Any:
    """The parser: what `sherlock` is."""
    return typer.main.get_command(app)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"sherlock-langgraph {sherlock.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


def _analyze(given: "Mapping[str, Any]") -> int:
    from sherlock.cli.analyze import analyze

    return analyze(given)


app.command(
    name="analyze",
    help="Find the nodes that matter: inject faults at each, and see what becomes of the final answer.\n\n"
    "Every option can also stand in \\[tool.sherlock] of pyproject.toml; what is given here wins.",
    short_help="Find the nodes that matter, by injecting faults.",
)(command_for(AskedAnalyze, _analyze))


def _calibrate(given: "Mapping[str, Any]") -> int:
    from sherlock.cli.calibrate import calibrate

    return calibrate(given)


app.command(
    name="calibrate",
    help="Find out what verifiers buy: try each at the nodes, on the outputs that they make and on faulty ones.\n\n"
    "Every option can also stand in \\[tool.sherlock] of pyproject.toml; what is given here wins.",
    short_help="Find out what verifiers buy, node by node.",
)(command_for(AskedCalibrate, _calibrate))


def _plan(given: "Mapping[str, Any]") -> int:
    from sherlock.cli.plan import plan

    return plan(given)


app.command(
    name="plan",
    help="Choose which verifier to attach to which node, or none, within what one run may take.\n\n"
    "Every option can also stand in \\[tool.sherlock.plan] of pyproject.toml; what is given here wins. The exit code "
    "is 1 where no plan keeps what is asked.",
    short_help="Choose which verifier to attach to which node.",
)(command_for(AskedPlan, _plan))


def _validate(given: "Mapping[str, Any]") -> int:
    from sherlock.cli.validate import validate

    return validate(given)


app.command(
    name="validate",
    help="Run cases without the plan and under it, interleaved, and say how score, cost and time differ.\n\n"
    "Every option can also stand in \\[tool.sherlock.validate] of pyproject.toml; what is given here wins.",
    short_help="Measure what a plan really does.",
)(command_for(AskedValidate, _validate))


def _run(given: "Mapping[str, Any]") -> int:
    from sherlock.cli.run import run

    return run(given)


app.command(
    name="run",
    help="Run one input under a plan, and see nodes, verdicts and rollbacks as they come. Effects are executed.\n\n"
    "Every option can also stand in \\[tool.sherlock.run] of pyproject.toml; what is given here wins.",
    short_help="Run one input, verified, and see it go.",
)(command_for(AskedRun, _run))


@app.command(short_help="Show a saved result again.")
def report(
    file: Annotated[Path, typer.Argument(help="What `sherlock analyze`, `calibrate`, `plan` or `validate` wrote.")],
    markdown: Annotated[
        Path | None, typer.Option(help="Write the report in Markdown to this file; - prints it.", show_default=False)
    ] = None,
    node: Annotated[str | None, typer.Option(help="All that is known about one node.", show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Show a saved analysis, calibration, plan or validation: in the terminal, as Markdown, or as JSON."""
    from sherlock.cli.report import show

    show(file, markdown=markdown, node=node, as_json=json)


@app.command(short_help="List the verifiers that are installed.")
def verifiers(
    name: Annotated[str | None, typer.Argument(help="All that is known about this one.", show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """List the verifiers that installed packages offer, with their settings."""
    from sherlock.cli.verifiers import show

    show(name, as_json=json)


@app.command(short_help="List the faults that are injected.")
def faults(
    kind: Annotated[
        str | None, typer.Option(help="Only this class: prompt, context or output.", show_default=False)
    ] = None,
    faults: Annotated[
        str | None, typer.Option(help="Your own list, as module:attr or file.py:attr.", show_default="the paper's")
    ] = None,
    try_: Annotated[
        str | None, typer.Option("--try", help="Show what each does to this text.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed for --try.")] = 0,
    json: JsonOption = False,
) -> None:
    """List the fault model: each fault, its share of all injections, and the real failure that it stands for."""
    from sherlock.cli.faults import show

    show(kind=kind, reference=faults, text=try_, seed=seed, as_json=json)


@app.command(short_help="Check this installation.")
def doctor(json: JsonOption = False) -> None:
    """Check this installation: versions, clashes, the embedded model, checkpointers, the graphs of this folder."""
    from sherlock.cli.doctor import show

    raise typer.Exit(show(as_json=json))
