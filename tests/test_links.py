"""Every relative link of the documentation leads to a file or folder that is there, and to a heading of it."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in ("README.md", "CHANGELOG.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/README.md")
    for page in ROOT.glob(pattern)
)
_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1`*$", flags=re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)|^\[[^\]^]+\]:\s*(\S+)", flags=re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", flags=re.IGNORECASE)


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(text: str) -> list[str]:
    found = (inline or defined for inline, defined in _LINK.findall(re.sub(r"`[^`\n]*`", "", text)))
    return [link for link in found if not _ELSEWHERE.match(link)]


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to headings: lower case, punctuation gone, and a number for one that comes again."""
    found: dict[str, int] = {}
    named = set()
    for title in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        named.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return named


def problem(page: Path, link: str) -> str | None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.is_relative_to(ROOT) or not target.exists():
        return f"{link}: there is no such file"
    if anchor and (target.suffix != ".md" or anchor not in anchors(prose(target))):
        return f"{link}: there is no such heading"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    found = [problem(ROOT / page, link) for link in links(prose(ROOT / page))]
    assert [each for each in found if each is not None] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = ROOT / "docs" / "plan.md"
    text = "[a](nowhere.md), [b](guard.md#nowhere), [c](guard.md#streams), [d](https://x.org/y)\n\n[e]: ../nowhere/\n"
    assert links(text) == ["nowhere.md", "guard.md#nowhere", "guard.md#streams", "../nowhere/"]
    assert [problem(page, link) is None for link in links(text)] == [False, False, True, False]


def test_headings_are_named_as_on_github():
    assert anchors("# A `b`, c!\n\n## [Two](x.md) words\n\n## Same\n\n### Same\n") == {
        "a-b-c",
        "two-words",
        "same",
        "same-1",
    }


def test_every_page_can_be_reached_from_the_front():
    """From README.md, by links of pages; a link to a folder leads to all that is in it."""
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in links(prose(page)):
            target = (page.parent / link.partition("#")[0]).resolve()
            todo += [target] if target.suffix == ".md" else sorted(target.glob("*.md")) if target.is_dir() else []
    to_be_read = {page for page in PAGES if page.startswith("docs/") or page.endswith("README.md")}
    assert to_be_read - {page.relative_to(ROOT).as_posix() for page in reached} == set()


def test_every_example_is_listed():
    listed = set(links(prose(ROOT / "examples" / "README.md")))
    folders = {Path(file).parts[1] for file in _tracked("examples") if len(Path(file).parts) > 2}
    assert {f"{folder}/README.md" for folder in folders} - listed == set()


def _tracked(folder: str) -> list[str]:
    done = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        return done.stdout.splitlines()
    return [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()]
