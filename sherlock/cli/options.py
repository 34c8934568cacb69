"""The options of the commands that look into a graph: declared once, as the fields of what was asked.

A field is an option of the command line, a key in `[tool.sherlock]` and an attribute for whoever does the work. The
command line leaves what was not given at None, so that settings and then defaults can fill it in.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

import typer

STORE = Path(".sherlock/trials.sqlite")
ANALYSIS, CALIBRATION, PLAN = Path("analysis.json"), Path("calibration.json"), Path("plan.yaml")
VALIDATION = Path("validation.json")

_WHAT, _TRIED, _FROM, _SLO, _FAULTS, _STOP, _LIMITS, _KEEP, _MODELS, _SHOW = _PANELS = (
    "Graph and cases",
    "What is tried",
    "What the plan is made from",
    "What is asked of one run",
    "Faults",
    "When the ranking is settled",
    "Limits (where one is reached, the result is partial)",
    "What is kept",
    "Models and prices",
    "Results",
)


def _option(help_: str, panel: str, *, default: str | bool = False, flags: tuple[str, ...] = (), **more: Any) -> Any:
    return typer.Option(*flags, help=help_, rich_help_panel=panel, show_default=default, **more)


def _flag(help_: str, panel: str, name: str) -> Any:
    return _option(help_, panel, flags=(name,))


def _output(default: Path) -> Any:
    return _option("The result.", _SHOW, default=default.as_posix(), flags=("--output", "-o"))


def _timeout(panel: str) -> Any:
    return _option("Seconds that one verification may take.", panel, default="60")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command that runs a graph can be asked. `given` names what was said, not left to its default."""

    command: ClassVar[str]
    apart: ClassVar[frozenset[str]] = frozenset()
    """Names that mean something else to another command: settings give them in this command's own table only."""

    graph: Annotated[
        str | None,
        typer.Argument(help="file.py:attr, package.module:attr, or a name in langgraph.json", show_default=False),
    ] = None
    cases: Annotated[Path | None, _option("JSON Lines: one case with `inputs` on each line.", _WHAT)] = None
    config: Annotated[str | None, _option("The config to run with: a JSON object, or a file with one.", _WHAT)] = None
    model: Annotated[str | None, _option("`local` runs the embedded model meanwhile (extra `local`).", _MODELS)] = None
    json: Annotated[bool, _flag("Print the result as JSON, and nothing else, on standard output.", _SHOW, "--json")] = (
        False
    )
    prices: Mapping[str, Any] = field(default_factory=dict)
    energy: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class AskedCases(Asked):
    """What every command can be asked that measures something on cases."""

    scorer: Annotated[
        str | None,
        _option(
            "exact_match, contains, numeric, json_match, rouge_l, llm_judge, or a function (output, case) as "
            "module:function or file.py:function.",
            _WHAT,
        ),
    ] = None
    output_key: Annotated[str | None, _option("The output's key that a named scorer compares.", _WHAT)] = None
    output: Annotated[Path, _output(ANALYSIS)] = ANALYSIS
    markdown: Annotated[Path | None, _option("Also a report in Markdown.", _SHOW)] = None
    quiet: Annotated[bool, _flag("No progress, and of the report one sentence only.", _SHOW, "--quiet")] = False


@dataclass(frozen=True, kw_only=True)
class AskedKept(AskedCases):
    """What those commands can be asked that keep what they did, and can do several runs at once."""

    store: Annotated[
        Path, _option("Where every trial is kept as it ends (SQLite).", _KEEP, default=STORE.as_posix())
    ] = STORE
    recordings: Annotated[Path | None, _option("A folder of recorded model calls to answer from.", _KEEP)] = None
    record: Annotated[
        str,
        _option("Which model calls are made and recorded: none, new or all.", _KEEP, default="new"),
    ] = "new"
    concurrency: Annotated[int, _option("Runs at once.", _MODELS, default="8; 1 with --model local")] = 8


@dataclass(frozen=True, kw_only=True)
class AskedStudy(AskedKept):
    """What both studies can be asked: `analyze` and `calibrate`."""

    node: Annotated[list[str], _option("Only this node; may be repeated.", _WHAT)] = field(default_factory=list)
    pass_mark: Annotated[float, _option("The score from which on a clean run was right.", _WHAT, default="1")] = 1.0
    faults: Annotated[
        str | None, _option("Your own list of faults, as module:attr or file.py:attr.", _FAULTS, default="the paper's")
    ] = None
    faults_per_kind: Annotated[int, _option("Draws for each class of faults, node and case.", _FAULTS, default="1")] = 1
    seed: Annotated[int, _option("The seed of every draw.", _FAULTS, default="0")] = 0
    max_usd: Annotated[float | None, _option("Dollars.", _LIMITS)] = None
    max_tokens: Annotated[int | None, _option("Tokens, in and out together.", _LIMITS)] = None
    max_calls: Annotated[int | None, _option("Model calls.", _LIMITS)] = None
    max_seconds: Annotated[float | None, _option("Seconds.", _LIMITS)] = None
    resume: Annotated[bool, _flag("Go on from the stored trials, rather than begin anew.", _KEEP, "--resume")] = False
    dry_run: Annotated[bool, _flag("Say what it may take, execute nothing, write nothing.", _SHOW, "--dry-run")] = False


@dataclass(frozen=True, kw_only=True)
class AskedAnalyze(AskedStudy):
    """What `sherlock analyze` was asked for."""

    command: ClassVar[str] = "analyze"

    visits: Annotated[
        str, _option("Inject at the first execution of a node in each case, or at all.", _WHAT, default="first")
    ] = "first"
    top: Annotated[int, _option("How many leading nodes must stand out.", _STOP, default="1")] = 1
    margin: Annotated[float, _option("By how much another node may still be worse.", _STOP, default="0.1")] = 0.10
    confidence: Annotated[
        float, _option("Of the intervals, and of calling the ranking settled.", _STOP, default="0.95")
    ] = 0.95


@dataclass(frozen=True, kw_only=True)
class AskedCalibrate(AskedStudy):
    """What `sherlock calibrate` was asked for. `verifiers` is the table of that name in the settings."""

    command: ClassVar[str] = "calibrate"
    apart: ClassVar[frozenset[str]] = frozenset({"output", "markdown"})

    verifier: Annotated[
        list[str],
        _option(
            'A name, or JSON such as {"use": "check", "regex": "[0-9]+"}; with NODE= before it, at that node only; may '
            "be repeated. `sherlock verifiers` lists the names.",
            _TRIED,
            default="those of [tool.sherlock.verifiers]",
            metavar="SPEC",
        ),
    ] = field(default_factory=list)
    analysis: Annotated[
        Path | None,
        _option("Nodes are tried in the order of this analysis.", _TRIED, default="analysis.json if it is there"),
    ] = None
    verifier_timeout_s: Annotated[float, _timeout(_TRIED)] = 60.0
    confidence: Annotated[
        float, _option("Of the intervals, and of dropping a verifier early.", _TRIED, default="0.95")
    ] = 0.95
    output: Annotated[Path, _output(CALIBRATION)] = CALIBRATION
    verifiers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AskedPlan(AskedKept):
    """What `sherlock plan` was asked for. Its limits on one run are those of an `SLO`."""

    command: ClassVar[str] = "plan"
    apart: ClassVar[frozenset[str]] = frozenset({"output", "markdown", "max_usd"})

    analysis: Annotated[
        Path | None, _option("What `sherlock analyze` wrote.", _FROM, default="analysis.json if it is there")
    ] = None
    calibration: Annotated[
        Path | None, _option("What `sherlock calibrate` wrote.", _FROM, default="calibration.json if it is there")
    ] = None
    default_verifier: Annotated[
        str | None,
        _option("Without a calibration: what to place, as for --verifier of `sherlock calibrate`.", _FROM),
    ] = None
    min_accuracy: Annotated[float | None, _option("The mean score, in [0, 1].", _SLO)] = None
    max_usd: Annotated[float | None, _option("Dollars that verification adds.", _SLO)] = None
    max_latency_s: Annotated[float | None, _option("Seconds until the last verdict, for 95 % of runs.", _SLO)] = None
    max_wh: Annotated[float | None, _option("Watt-hours that verification adds.", _SLO)] = None
    max_verifiers: Annotated[int | None, _option("Nodes that have a verifier.", _SLO)] = None
    max_verifier_calls: Annotated[float | None, _option("Model calls that verification adds.", _SLO)] = None
    objective: Annotated[
        str,
        _option("What to make best within these: accuracy, usd, latency_s or wh.", _SLO, default="accuracy"),
    ] = "accuracy"
    seed: Annotated[int, _option("The seed of every draw.", _FROM, default="0")] = 0
    careful: Annotated[bool, _flag("Take gains at the lower ends of their intervals.", _SLO, "--careful")] = False
    graph: Annotated[
        str | None,
        _option("With --cases and --scorer the best whole plans are run; as for `sherlock analyze`.", _WHAT),
    ] = None
    screen_only: Annotated[
        bool, _flag("Run no plan, also where graph, cases and scorer are known.", _WHAT, "--screen-only")
    ] = False
    verifier_timeout_s: Annotated[float, _timeout(_WHAT)] = 60.0
    limit_usd: Annotated[float | None, _option("Dollars, for running whole plans.", _LIMITS)] = None
    limit_tokens: Annotated[int | None, _option("Tokens, in and out together.", _LIMITS)] = None
    limit_calls: Annotated[int | None, _option("Model calls.", _LIMITS)] = None
    limit_seconds: Annotated[float | None, _option("Seconds.", _LIMITS)] = None
    frontier: Annotated[
        bool,
        _flag("Show the score that every budget buys, from the figures alone; write nothing.", _SHOW, "--frontier"),
    ] = False
    output: Annotated[Path, _output(PLAN)] = PLAN
    verifiers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AskedValidate(AskedCases):
    """What `sherlock validate` was asked for."""

    command: ClassVar[str] = "validate"
    apart: ClassVar[frozenset[str]] = frozenset({"output", "markdown", "plan"})

    plan: Annotated[Path | None, _option("The plan to validate.", _TRIED, default="what the code declares")] = None
    blocking: Annotated[bool, _flag("Also run with every verdict waited for.", _TRIED, "--blocking")] = False
    repeats: Annotated[int, _option("Runs of each case in each way.", _TRIED, default="1")] = 1
    seed: Annotated[int, _option("The seed of the order of runs, and of intervals.", _TRIED, default="0")] = 0
    confidence: Annotated[float, _option("Of the intervals.", _TRIED, default="0.95")] = 0.95
    max_usd: Annotated[float | None, _option("Dollars.", _LIMITS)] = None
    max_tokens: Annotated[int | None, _option("Tokens, in and out together.", _LIMITS)] = None
    max_calls: Annotated[int | None, _option("Model calls.", _LIMITS)] = None
    max_seconds: Annotated[float | None, _option("Seconds.", _LIMITS)] = None
    gate: Annotated[bool, _flag("Exit with 1 where the plan's promise is refuted.", _SHOW, "--gate")] = False
    output: Annotated[Path, _output(VALIDATION)] = VALIDATION


@dataclass(frozen=True, kw_only=True)
class AskedRun(Asked):
    """What `sherlock run` was asked for."""

    command: ClassVar[str] = "run"
    apart: ClassVar[frozenset[str]] = frozenset({"plan", "input", "case", "thread", "mode", "resume"})

    plan: Annotated[Path | None, _option("The plan to run under.", _TRIED, default="what the code declares")] = None
    input: Annotated[
        str | None, _option("What the graph is invoked with: a JSON object, a file with one, or - (stdin).", _WHAT)
    ] = None
    case: Annotated[str | None, _option("The id of a case of --cases to run.", _WHAT, default="the first")] = None
    resume: Annotated[
        str | None, _option("The answer to the interrupt that the thread waits at: JSON, or a text.", _WHAT)
    ] = None
    thread: Annotated[
        str | None, _option("The thread, for a graph that has a checkpointer.", _WHAT, default="a new one")
    ] = None
    mode: Annotated[
        str | None, _option("speculate, blocking or auto, whatever the plan says.", _TRIED, default="the plan's")
    ] = None


KINDS: tuple[type[Asked], ...] = (AskedAnalyze, AskedCalibrate, AskedPlan, AskedValidate, AskedRun)
_TABLES = ("energy", "prices", "verifiers")
"""Keys that are tables in the settings, and no options."""


def settable(kind: type[Asked]) -> tuple[str, ...]:
    """The keys that settings have for a command."""
    return tuple(f.name for f in dataclasses.fields(kind) if f.name != "given")


def plain_type(kind: type[Asked], name: str) -> Any:
    """The type of a field without None: `int`, `Path`, `list[str]`, ..."""
    hint = get_type_hints(kind)[name]
    parts = [part for part in get_args(hint) if part is not type(None)]
    return parts[0] if type(None) in get_args(hint) else hint


def command_for(kind: type[Asked], work: Callable[[Mapping[str, Any]], int]) -> Callable[..., None]:
    """A function with the options of `kind` as its parameters, for typer to read; `work` gets what was given."""

    def run(**values: Any) -> None:
        raise typer.Exit(work({name: value for name, value in values.items() if value not in (None, [])}))

    hints = get_type_hints(kind, include_extras=True)
    declared = {name: _optional(hints[name]) for name in settable(kind) if name not in _TABLES}
    ordered = dict(sorted(declared.items(), key=_place))
    run.__annotations__ = ordered
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
            for name, hint in ordered.items()
        ]
    )
    return run


def _place(item: tuple[str, Any]) -> int:
    """Options in the order of their panels, within one as they are declared."""
    panel = getattr(get_args(item[1])[1], "rich_help_panel", None)
    return _PANELS.index(panel) if panel in _PANELS else -1


def _optional(hint: Any) -> Any:
    kind, declaration = get_args(hint)
    return Annotated[kind | None, declaration]
