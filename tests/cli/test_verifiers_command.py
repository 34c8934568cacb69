"""`sherlock verifiers`: what is installed, and what cannot be used."""

import json
import sys

import pytest
from rich.cells import cell_len

BROKEN = """[sherlock.verifiers]
absent = no_such_package:Verifier
raising = raising_plugin:Verifier
own = own_plugin:Own
"""


@pytest.fixture
def plugins(folder, monkeypatch):
    """A package that offers verifiers, two of which cannot be imported."""
    info = folder / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(BROKEN)
    (folder / "raising_plugin.py").write_text("x = 1\nraise OSError('no key')\n")
    (folder / "own_plugin.py").write_text(
        "class Own:\n    '''Accepts what is short.\n\n    Longer texts it rejects.\n    '''\n\n    name = 'own'\n\n"
        "    def __init__(self, longest: int, weight=object()):\n        self.longest = longest\n\n"
        "    async def verify(self, subject):\n        from sherlock import Verdict\n\n"
        "        return Verdict(len(subject.text) <= self.longest)\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    yield
    for name in ("raising_plugin", "own_plugin"):
        sys.modules.pop(name, None)


def test_all_that_are_shipped_are_listed(sherlock):
    result = sherlock("verifiers")
    assert (result.code, result.err) == (0, "")
    assert max(map(cell_len, result.out.splitlines())) <= 80
    rows = json.loads(sherlock("verifiers", "--json").out)
    assert {"resolve", "check", "schema", "cascade", "vote", "debate"} <= {row["name"] for row in rows}
    for row in rows:
        assert row["name"] in result.out
        assert row["error"] is None
        assert row["summary"]
    settings = next(row["settings"] for row in rows if row["name"] == "cascade")
    assert settings["verifiers"] == {"required": True}
    assert "verifiers (needed)" in result.out


@pytest.mark.usefixtures("plugins")
def test_one_that_cannot_be_imported_shows_its_own_error_and_the_others_work(sherlock, refused):
    text = " ".join(sherlock("verifiers").out.split())
    assert "absent cannot be used: the verifier 'absent' of others cannot be imported: " in text
    assert "No module named 'no_such_package'" in text
    assert "raising_plugin.py line 2: OSError: no key" in text
    assert "own Accepts what is short. longest (needed), weight" in text
    refused("verifiers", "raising", says=["'raising' of others", "OSError: no key"])
    spec = '{"use": "own", "longest": 3}'
    done = sherlock("calibrate", "agent.py:graph", "--cases", "cases.jsonl", "--scorer", "exact_match", "--quiet")
    assert done.code == 2
    asked = ("calibrate", "agent.py:graph", "--cases", "cases.jsonl", "--scorer", "exact_match", "--verifier")
    assert sherlock(*asked, spec, "--quiet").code == 0
    refused(*asked, "own", says=["'own' needs the setting 'longest'"])
    refused(*asked, "raising", says=["OSError: no key"])


@pytest.mark.usefixtures("plugins")
def test_all_about_one(sherlock, refused):
    text = sherlock("verifiers", "own").out
    assert text.startswith("own\n\nAccepts what is short.\n\nLonger texts it rejects.\n")
    assert "longest  must be given" in text
    row = json.loads(sherlock("verifiers", "own", "--json").out)
    assert row["settings"]["weight"]["default"].startswith("<object object")
    assert row["reference"] == "own_plugin:Own"
    refused("verifiers", "owm", says=["no verifier 'owm'", "did you mean 'own'"])
