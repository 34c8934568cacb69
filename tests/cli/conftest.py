"""A folder with a graph in it, and a command line to call there."""

import re
from types import SimpleNamespace

import pytest
from desk import write_desk

from sherlock.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_desk(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def sherlock(folder, capsys):
    """Runs the command line in this process; gives code, standard output and standard error."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def refused(sherlock):
    """The one line with which a call is refused; what it must say are patterns that all have to be found in it."""

    def run(*arguments, says):
        result = sherlock(*arguments)
        lines = result.err.splitlines()
        assert result.code == 2, result
        assert len(lines) == 1, result.err
        assert lines[0].startswith("sherlock: ")
        assert "Traceback" not in result.err
        assert result.out == ""
        for pattern in says:
            assert re.search(pattern, lines[0]), (pattern, lines[0])
        return lines[0]

    return run
