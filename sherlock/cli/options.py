"""The options of `sherlock analyze`: declared once, as the fields of `Asked`.

A field is an option of the command line, a key in `[tool.sherlock]` and an attribute for whoever does the work. The
command line leaves what was not given at None, so that settings and then defaults can fill it in.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

STORE = Path(".sherlock/trials.sqlite")
OUTPUT = Path("analysis.json")


def _option(help_: str, panel: str, *, default: str | bool = False, flags: tuple[str, ...] = (), **more: Any) -> Any:
    return typer.Option(*flags, help=help_, rich_help_panel=panel, show_default=default, **more)


_WHAT, _FAULTS, _STOP, _LIMITS, _KEEP, _MODELS, _SHOW = (
    "What is analysed",
    "Faults",
    "When the ranking is settled",
    "Limits (where one is reached, the result is partial)",
    "What is kept",
    "Models and prices",
    "Results",
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What `sherlock analyze` was asked for. `given` holds the names of what was said, not left to its default."""

    graph: Annotated[
        str | None,
        typer.Argument(help="file.py:attr, package.module:attr, or a name in langgraph.json", show_default=False),
    ] = None
    cases: Annotated[Path | None, _option("JSON Lines: one case with `inputs` on each line.", _WHAT)] = None
    scorer: Annotated[
        str | None,
        _option(
            "exact_match, contains, numeric, json_match, rouge_l, llm_judge, or a function (output, case) as "
            "module:function or file.py:function.",
            _WHAT,
        ),
    ] = None
    output_key: Annotated[str | None, _option("The output's key that a named scorer compares.", _WHAT)] = None
    node: Annotated[list[str], _option("Only this node; may be repeated.", _WHAT)] = field(default_factory=list)
    visits: Annotated[
        str, _option("Inject at the first execution of a node in each case, or at all.", _WHAT, default="first")
    ] = "first"
    pass_mark: Annotated[float, _option("The score from which on a clean run was right.", _WHAT, default="1")] = 1.0
    config: Annotated[str | None, _option("The config to run with: a JSON object, or a file with one.", _WHAT)] = None
    faults: Annotated[
        str | None, _option("Your own list of faults, as module:attr or file.py:attr.", _FAULTS, default="the paper's")
    ] = None
    faults_per_kind: Annotated[int, _option("Draws for each class of faults, node and case.", _FAULTS, default="1")] = 1
    seed: Annotated[int, _option("The seed of every draw.", _FAULTS, default="0")] = 0
    top: Annotated[int, _option("How many leading nodes must stand out.", _STOP, default="1")] = 1
    margin: Annotated[float, _option("By how much another node may still be worse.", _STOP, default="0.1")] = 0.10
    confidence: Annotated[
        float, _option("Of the intervals, and of calling the ranking settled.", _STOP, default="0.95")
    ] = 0.95
    max_usd: Annotated[float | None, _option("Dollars.", _LIMITS)] = None
    max_tokens: Annotated[int | None, _option("Tokens, in and out together.", _LIMITS)] = None
    max_calls: Annotated[int | None, _option("Model calls.", _LIMITS)] = None
    max_seconds: Annotated[float | None, _option("Seconds.", _LIMITS)] = None
    store: Annotated[
        Path, _option("Where every trial is kept as it ends (SQLite).", _KEEP, default=STORE.as_posix())
    ] = STORE
    resume: Annotated[
        bool, _option("Go on from the stored trials, rather than begin anew.", _KEEP, flags=("--resume",))
    ] = False
    recordings: Annotated[Path | None, _option("A folder of recorded model calls to answer from.", _KEEP)] = None
    record: Annotated[
        str,
        _option("Which model calls are made and recorded: none, new or all.", _KEEP, default="new"),
    ] = "new"
    model: Annotated[str | None, _option("`local` runs the embedded model meanwhile (extra `local`).", _MODELS)] = None
    concurrency: Annotated[int, _option("Runs at once.", _MODELS, default="8; 1 with --model local")] = 8
    dry_run: Annotated[
        bool, _option("Say what it may take, execute nothing, write nothing.", _SHOW, flags=("--dry-run",))
    ] = False
    output: Annotated[Path, _option("The result.", _SHOW, default=OUTPUT.as_posix(), flags=("--output", "-o"))] = OUTPUT
    markdown: Annotated[Path | None, _option("Also a report in Markdown.", _SHOW)] = None
    json: Annotated[
        bool, _option("Print the result as JSON, and nothing else, on standard output.", _SHOW, flags=("--json",))
    ] = False
    quiet: Annotated[bool, _option("No progress, and of the report one sentence only.", _SHOW, flags=("--quiet",))] = (
        False
    )
    prices: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()


SETTABLE = tuple(f.name for f in dataclasses.fields(Asked) if f.name != "given")
"""The keys of `[tool.sherlock]`."""


def plain_type(name: str) -> Any:
    """The type of a field without None: `int`, `Path`, `list[str]`, ..."""
    hint = get_type_hints(Asked)[name]
    parts = [part for part in get_args(hint) if part is not type(None)]
    return parts[0] if type(None) in get_args(hint) else hint


def command_for(work: Callable[[Mapping[str, Any]], int]) -> Callable[..., None]:
    """A function with the options of `Asked` as its parameters, for typer to read; `work` gets what was given."""

    def run(**values: Any) -> None:
        raise typer.Exit(work({name: value for name, value in values.items() if value not in (None, [])}))

    hints = get_type_hints(Asked, include_extras=True)
    declared = {name: _optional(hints[name]) for name in SETTABLE if name != "prices"}
    run.__annotations__ = declared
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
            for name, hint in declared.items()
        ]
    )
    return run


def _optional(hint: Any) -> Any:
    kind, declaration = get_args(hint)
    return Annotated[kind | None, declaration]
