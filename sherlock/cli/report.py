"""`sherlock report`: a saved analysis, in the terminal, as Markdown, or as JSON."""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from sherlock.cli import console
from sherlock.cli.settings import SettingsError
from sherlock.errors import ArtefactError

if TYPE_CHECKING:
    from sherlock.analysis.artefact import Analysis


def show(file: Path, *, markdown: Path | None, node: str | None, as_json: bool) -> None:
    """Print or write what was asked for.

    Raises `ArtefactError` for a file that is no analysis, `SettingsError` for an unknown node.
    """
    from sherlock.analysis.artefact import Analysis

    analysis = Analysis.load(file)
    if node is not None and node not in analysis.nodes:
        near = difflib.get_close_matches(node, analysis.nodes, n=1, cutoff=0.0)
        cure = f"did you mean {near[0]!r}?" if near else "it holds none"
        raise SettingsError(f"{str(file)!r} has no node {node!r}: {cure}")
    if markdown is not None:
        write_markdown(analysis, markdown)
    if as_json:
        console.print_json(analysis.nodes[node].model_dump_json(indent=1) if node else analysis.to_json())
    elif node is not None:
        from sherlock.report.terminal import print_node

        print_node(analysis, node, console.for_results())
    elif markdown is None:
        from sherlock.report.terminal import print_analysis, print_headline

        out = console.for_results()
        print_analysis(analysis, out)
        out.print()
        print_headline(analysis, out)


def write_markdown(analysis: "Analysis", path: Path) -> None:
    """Write the report in Markdown; `-` is standard output."""
    from sherlock.report.markdown import markdown

    text = markdown(analysis)
    if str(path) == "-":
        print(text, end="")
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ArtefactError(f"cannot write {str(path)!r}: {error.strerror}; choose another path") from error
