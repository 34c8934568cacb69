"""`sherlock report`: a saved result, in the terminal, as Markdown, or as JSON."""

import difflib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sherlock.cli import console
from sherlock.cli.settings import SettingsError
from sherlock.errors import ArtefactError

if TYPE_CHECKING:
    from rich.console import Console

    from sherlock.analysis.artefact import Analysis
    from sherlock.analysis.calibration import Calibration
    from sherlock.placement.plan import Plan
    from sherlock.runtime.validation import Validation


def show(file: Path, *, markdown: Path | None, node: str | None, as_json: bool) -> None:
    """Print or write what was asked for.

    Raises `ArtefactError` for a file that is nothing of Sherlock's, `SettingsError` for an unknown node.
    """
    view = _view(file)
    if node is not None and node not in view.nodes():
        near = difflib.get_close_matches(node, view.nodes(), n=1, cutoff=0.0)
        cure = f"did you mean {near[0]!r}?" if near else "it holds none"
        raise SettingsError(f"{str(file)!r} has no node {node!r}: {cure}")
    if markdown is not None:
        write_text(view.markdown(), markdown)
    if as_json:
        console.print_json(view.node_json(node) if node is not None else view.json())
    elif node is not None:
        view.print_node(node, console.for_results())
    elif markdown is None:
        view.print(console.for_results())


def write_text(text: str, path: Path) -> None:
    """Write a report in Markdown; `-` is standard output."""
    if str(path) == "-":
        print(text, end="")
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ArtefactError(f"cannot write {str(path)!r}: {error.strerror}; choose another path") from error


class _View(ABC):
    """The ways to show one kind of artefact."""

    @abstractmethod
    def nodes(self) -> Iterable[str]: ...
    @abstractmethod
    def json(self) -> str: ...
    @abstractmethod
    def node_json(self, node: str) -> str: ...
    @abstractmethod
    def markdown(self) -> str: ...
    @abstractmethod
    def print(self, out: "Console") -> None: ...
    @abstractmethod
    def print_node(self, node: str, out: "Console") -> None: ...


class _AnalysisView(_View):
    def __init__(self, analysis: "Analysis") -> None:
        self.analysis = analysis

    def nodes(self) -> Iterable[str]:
        return self.analysis.nodes

    def json(self) -> str:
        return self.analysis.to_json()

    def node_json(self, node: str) -> str:
        return self.analysis.nodes[node].model_dump_json(indent=1)

    def markdown(self) -> str:
        from sherlock.report.markdown import markdown

        return markdown(self.analysis)

    def print(self, out: "Console") -> None:
        from sherlock.report.terminal import print_analysis, print_headline

        print_analysis(self.analysis, out)
        out.print()
        print_headline(self.analysis, out)

    def print_node(self, node: str, out: "Console") -> None:
        from sherlock.report.terminal import print_node

        print_node(self.analysis, node, out)


class _CalibrationView(_View):
    def __init__(self, calibration: "Calibration") -> None:
        self.calibration = calibration

    def nodes(self) -> Iterable[str]:
        return dict.fromkeys(row.node for row in self.calibration.rows)

    def json(self) -> str:
        return self.calibration.to_json()

    def node_json(self, node: str) -> str:
        rows = [row.model_dump(mode="json") for row in self.calibration.rows if row.node == node]
        return json.dumps(rows, indent=1, sort_keys=True, ensure_ascii=False)

    def markdown(self) -> str:
        from sherlock.report.markdown_calibration import markdown

        return markdown(self.calibration)

    def print(self, out: "Console") -> None:
        from sherlock.report.terminal_calibration import print_calibration, print_headline

        print_calibration(self.calibration, out)
        out.print()
        print_headline(self.calibration, out)

    def print_node(self, node: str, out: "Console") -> None:
        from sherlock.report.terminal_calibration import print_node

        print_node(self.calibration, node, out)


class _PlanView(_View):
    def __init__(self, plan: "Plan") -> None:
        self.plan = plan

    def nodes(self) -> Iterable[str]:
        return dict.fromkeys([*self.plan.placements, *(each.node for each in self.plan.rejected), *self.plan.nodes])

    def json(self) -> str:
        return self.plan.model_dump_json(indent=1)

    def node_json(self, node: str) -> str:
        placement = self.plan.placements.get(node)
        found = {
            "placement": None if placement is None else placement.model_dump(mode="json"),
            "rejected": [each.model_dump(mode="json") for each in self.plan.rejected if each.node == node],
        }
        return json.dumps(found, indent=1, ensure_ascii=False)

    def markdown(self) -> str:
        from sherlock.report.markdown_plan import markdown

        return markdown(self.plan)

    def print(self, out: "Console") -> None:
        from sherlock.report.terminal_plan import print_headline, print_plan

        print_plan(self.plan, out)
        out.print()
        print_headline(self.plan, out)

    def print_node(self, node: str, out: "Console") -> None:
        from sherlock.report.terminal_plan import print_node

        print_node(self.plan, node, out)


class _ValidationView(_View):
    def __init__(self, validation: "Validation") -> None:
        self.validation = validation

    def nodes(self) -> Iterable[str]:
        return self.validation.placements

    def json(self) -> str:
        return self.validation.to_json()

    def node_json(self, node: str) -> str:
        rows = [each.model_dump(mode="json") for each in self.validation.nodes if each.node == node]
        return json.dumps(rows, indent=1, sort_keys=True, ensure_ascii=False)

    def markdown(self) -> str:
        from sherlock.report.markdown_validation import markdown

        return markdown(self.validation)

    def print(self, out: "Console") -> None:
        from sherlock.report.terminal_validation import print_headline, print_validation

        print_validation(self.validation, out)
        out.print()
        print_headline(self.validation, out)

    def print_node(self, node: str, out: "Console") -> None:
        from sherlock.report.terminal_validation import print_node

        print_node(self.validation, node, out)


def _view(file: Path) -> _View:
    """The file, read as what it says it is; what is no JSON is taken for a plan."""
    from sherlock import artefacts
    from sherlock.analysis import artefact, calibration
    from sherlock.placement import plan
    from sherlock.runtime import validation

    if _is_yaml(file):
        return _PlanView(plan.Plan.load(file))
    kind = artefacts.read_artefact(file).get("kind")
    if kind == "calibration":
        return _CalibrationView(calibration.Calibration.load(file))
    if kind == "analysis":
        return _AnalysisView(artefact.Analysis.load(file))
    if kind == "plan":
        return _PlanView(plan.Plan.load(file))
    if kind == "validation":
        return _ValidationView(validation.Validation.load(file))
    raise ArtefactError(
        f"{str(file)!r} holds {kind!r}, which is no result of Sherlock: give what `sherlock analyze`, `calibrate`, "
        "`plan` or `validate` wrote"
    )


def _is_yaml(file: Path) -> bool:
    if file.suffix in (".yaml", ".yml", ".json") or not file.is_file():
        return file.suffix in (".yaml", ".yml")
    return not file.read_text(encoding="utf-8", errors="replace").lstrip().startswith("{")
