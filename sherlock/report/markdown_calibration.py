"""The report of a calibration in Markdown."""

from collections.abc import Sequence

from sherlock.analysis.calibration import Calibration, CalibrationRow
from sherlock.report import calibration_content as content
from sherlock.report.calibration_sentence import headline
from sherlock.report.content import interval_note
from sherlock.report.figures import count
from sherlock.report.markdown_text import LONGEST, code, escaped, facts, figures, joined, notes, sentence

EXAMPLES = 2


def markdown(calibration: Calibration) -> str:
    """The whole report; it ends with a line break. Examples of the last rows are left out where it gets too long."""
    told = [row for row in calibration.rows if row.examples]
    for n in range(len(told), -1, -1):
        text = _report(calibration, told[:n], left_out=len(told) - n)
        if len(text) <= LONGEST:
            break
    return text


def _report(calibration: Calibration, told: Sequence[CalibrationRow], left_out: int) -> str:
    return joined(
        [
            "# What verifiers buy",
            sentence(headline(calibration)),
            escaped(content.today(calibration)),
            *notes(content.warnings(calibration)),
            *_figures(calibration),
            *_examples(calibration, told, left_out),
            facts("What this took", content.cost(calibration)),
        ]
    )


def _figures(calibration: Calibration) -> list[str]:
    if not calibration.rows:
        return []
    found = content.columns(calibration.rows)
    names = content.short_names(calibration.rows)
    rows = [([row.node, names[row.label]], row) for row in calibration.rows]
    remarks = [interval_note(calibration.settings), *(f"*{column.title}*: {column.meaning}." for column in found)]
    remarks = [remark for remark in remarks if not remark.endswith(": .")]
    caution = content.caution(calibration)
    return [
        "## The figures",
        figures(content.NODE_COLUMNS, rows, found),
        "\n".join(f"- {remark}" for remark in [*remarks, *([caution] if caution else [])]),
    ]


def _examples(calibration: Calibration, told: Sequence[CalibrationRow], left_out: int) -> list[str]:
    """What verdicts did to single outputs, folded away."""
    if not told and not left_out:
        return []
    names = content.short_names(calibration.rows)
    more = f"Not shown: {count(left_out, 'row')}; see `sherlock report FILE --node NAME`." if left_out else ""
    return ["## What verdicts did", *(_row(row, names[row.label]) for row in told), more]


def _row(row: CalibrationRow, name: str) -> str:
    parts = [f"<details><summary>{code(name, html=True)} at {code(row.node, html=True)}</summary>"]
    for example in row.examples[:EXAMPLES]:
        texts = [("before", example.before)]
        if example.after != example.before:
            texts.append(("after", example.after))
        listed = "\n".join(f"- {label}: {code(text)}" for label, text in texts)
        parts.append(f"{escaped(content.example_title(example))}\n\n{listed}")
    return "\n\n".join([*parts, "</details>"])
