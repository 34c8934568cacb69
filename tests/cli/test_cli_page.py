"""docs/cli.md and the command line say the same."""

import re
from pathlib import Path

import pytest

from sherlock.cli.app import command
from sherlock.cli.options import KINDS, settable

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
COMMANDS = command().commands


def section(name):
    return re.split(r"^## ", PAGE.partition(f"## sherlock {name}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def options(name):
    return {
        flag
        for parameter in COMMANDS[name].params
        for flag in parameter.opts
        if flag.startswith("-") and flag not in ("-h", "--help")
    }


def documented(text):
    """The options in the first column of a table."""
    rows = re.findall(r"^\| (`-[^|]*) \|", text, flags=re.MULTILINE)
    return {flag for row in rows for flag in re.findall(r"`(--?[a-z-]+)`", row)}


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_option_is_documented_and_every_documented_option_exists(name):
    assert documented(section(name)) == options(name)


def test_every_command_has_its_section():
    assert re.findall(r"^## sherlock (\w+)$", PAGE, flags=re.MULTILINE) == list(COMMANDS)
    roots = {flag for parameter in command().params for flag in parameter.opts}
    assert {"--version", "--install-completion", "--show-completion"} <= roots
    assert all(flag in PAGE for flag in ("--version", "--install-completion", "--show-completion"))


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_those_of_the_code(kind):
    said = dict(re.findall(r"^\| `--([a-z-]+)`[^|]* \| ([^|]+?) \|", section(kind.command), flags=re.MULTILINE))
    asked = kind()
    checked = 0
    for name in settable(kind):
        default, shown = getattr(asked, name), said.get(name.replace("_", "-"), "").strip("`")
        if isinstance(default, int | float | str | Path) and not isinstance(default, bool) and name != "concurrency":
            assert shown == (f"{default:g}" if isinstance(default, float) else str(default)), name
            checked += 1
    assert checked >= {"validate": 4, "run": 0}.get(kind.command, 5)
    if "concurrency" in settable(kind):
        assert said["concurrency"].startswith(str(asked.concurrency))


def test_help_shows_the_defaults_of_the_code(sherlock):
    text = " ".join(sherlock("analyze", "--help").out.replace("│", " ").split())
    for default in (
        "first",
        "1",
        "0.1",
        "0.95",
        ".sherlock/trials.sqlite",
        "analysis.json",
        "new",
        "8; 1 with --model",
    ):
        assert f"[default: ({default}" in text, default


def test_the_settings_on_the_page_are_valid(tmp_path):
    from sherlock.cli.settings import read_settings

    example = re.search(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(example[1])
    values = read_settings(tmp_path).values
    assert values["max_usd"] == 2.5
    assert values["node"] == ["plan", "answer"]
    assert values["cases"] == tmp_path / "cases.jsonl"
