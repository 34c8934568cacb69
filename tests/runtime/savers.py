"""Every checkpointer that the runtime is tested on: in memory, SQLite and PostgreSQL, the latter two sync and async.

A module that uses the fixtures says `pytest_plugins = ("savers",)`. `store` is parametrised over all kinds, `durable`
over those that outlive a process, `postgres` is an empty schema of its own. A process of its own opens the same place
by `Store(kind, where).open()`.

The PostgreSQL server is the one that SHERLOCK_TEST_POSTGRES names (a connection string), or one that is started for
the session from Debian's packages and ended after it. Where neither can be had the tests skip with the reason; with
SHERLOCK_REQUIRE_POSTGRES=1 they fail instead.
"""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

DURABLE = ("sqlite", "aiosqlite", "postgres", "aiopostgres")
KINDS = ("memory", *DURABLE)


@dataclass(frozen=True)
class Store:
    """A place that savers of one kind can be opened on, one after the other. `where`: a path or connection string."""

    kind: str
    where: str = ""
    memory: InMemorySaver = field(default_factory=InMemorySaver)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        """A saver on this place, on the running loop, closed afterwards."""
        if self.kind == "memory":
            yield self.memory
        elif self.kind == "sqlite":
            from langgraph.checkpoint.sqlite import SqliteSaver

            with contextlib.closing(sqlite3.connect(self.where, check_same_thread=False)) as connection:
                yield SqliteSaver(connection)
        elif self.kind == "aiosqlite":
            from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

            async with AsyncSqliteSaver.from_conn_string(self.where) as saver:
                yield saver
        elif self.kind == "postgres":
            from langgraph.checkpoint.postgres import PostgresSaver

            with PostgresSaver.from_conn_string(self.where) as saver:
                saver.setup()
                yield saver
        else:
            from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

            async with AsyncPostgresSaver.from_conn_string(self.where) as saver:
                await saver.setup()
                yield saver


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return _store(request, tmp_path)


@pytest.fixture(params=DURABLE)
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return _store(request, tmp_path)


def _store(request: pytest.FixtureRequest, folder: Path) -> Store:
    kind = request.param
    if kind == "memory":
        return Store(kind)
    if "sqlite" in kind:
        return Store(kind, str(folder / "checkpoints.sqlite"))
    return Store(kind, request.getfixturevalue("postgres"))


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """The connection string of an empty schema."""
    import psycopg
    from psycopg.conninfo import make_conninfo

    schema = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    yield make_conninfo(postgres_server, options=f"-c search_path={schema}")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The connection string of a server for this session."""
    given = os.environ.get("SHERLOCK_TEST_POSTGRES")
    programs = _programs()
    if given:
        yield given
    elif isinstance(programs, str):
        if os.environ.get("SHERLOCK_REQUIRE_POSTGRES") == "1":
            pytest.fail(programs)
        pytest.skip(programs)
    else:
        with _server(programs) as where:
            yield where


def _programs() -> Path | str:
    """The folder of PostgreSQL's server programs, or what is missing."""
    try:
        import langgraph.checkpoint.postgres  # noqa: F401
        import psycopg  # noqa: F401
    except ImportError as error:
        return f"the extra `postgres` is not installed: {error}"
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name.split(".")[0])
    )
    on_path = shutil.which("initdb")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    complete = [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]
    if not complete:
        return "there is no PostgreSQL server: install the package `postgresql`, or set SHERLOCK_TEST_POSTGRES"
    return complete[-1]


@contextlib.contextmanager
def _server(programs: Path) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="sherlock-postgres-"))
    # PostgreSQL refuses to run as root; its package has made a user for it.
    as_user: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:
        as_user |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(folder, "postgres", "postgres")
    data, log = folder / "data", folder / "log"
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "sherlock", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True,
            capture_output=True,
            **as_user,
        )
        port = _free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",  # tests kill the clients, never the machine
            "max_connections": 50,
            "shared_buffers": "16MB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [programs / "postgres", "-D", data, *options], stdout=output, stderr=subprocess.STDOUT, **as_user
            ) as server,
        ):
            try:
                where = f"postgresql://sherlock@127.0.0.1:{port}/postgres"
                _wait_for(where, server, log)
                yield where
            finally:
                server.send_signal(signal.SIGINT)  # close the connections and stop
                server.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(where: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    import psycopg

    until = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(where, connect_timeout=2).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"the PostgreSQL server did not start:\n{log.read_text()}")
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
