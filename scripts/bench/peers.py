"""The peers: installed beside us (never globally), and driven through the interface that each documents."""

import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import distributions

# apsw is no peer: it is the Python binding that can always load an extension.
PYTHON = ["apsw==3.54.1.0", "honker==0.2.4", "huey==3.5.4", "litequeue==0.9", "persist-queue==1.1.0"]
# Of these what they need is installed, too; ingest.py runs them as processes.
INGEST = ["duckdb==2.0.0", "sqlite-utils==4.2.1"]
HONKER_EXTENSION = "=0.5.0"
MANIFEST = f"""[package]
name = "peer"
version = "0.0.0"
edition = "2021"
[lib]
path = "empty.rs"
[dependencies]
honker-extension = "{HONKER_EXTENSION}"
[workspace]
"""


class Peers:
    """What could be installed; the rest is named with the reason."""

    def __init__(self, folder):
        self.folder, self.missing = folder, {}
        folder.mkdir(parents=True, exist_ok=True)
        sys.path.insert(0, str(folder))
        installed = {f"{one.metadata['Name'].lower()}=={one.version}" for one in distributions(path=[str(folder)])}
        for package in PYTHON:
            if package not in installed:
                self._run(package.split("==")[0], sys.executable, "-m", "pip", "install", "--quiet",
                          "--no-deps", "--target", str(folder), package)
        for package in INGEST:
            if package not in installed:
                self._run(package.split("==")[0], sys.executable, "-m", "pip", "install", "--quiet",
                          "--target", str(folder), package)
        self.honker_extension = self._build_honker_extension()

    def _run(self, name, *command):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            self.missing[name] = f"`{command[0]}` could not get it: {last[:200]}"
        return done.returncode == 0

    def _build_honker_extension(self):
        project = self.folder / "honker-extension"
        library = project / "target/release/libhonker_ext.so"
        if not library.exists():
            project.mkdir(exist_ok=True)
            (project / "Cargo.toml").write_text(MANIFEST)
            (project / "empty.rs").touch()
            self._run("honker-extension", "cargo", "build", "--quiet", "--release", "-p", "honker-extension",
                      "--manifest-path", str(project / "Cargo.toml"), "--target-dir", str(project / "target"))
        return library if library.exists() else None

    def module(self, name, package=None):
        """The module of a peer, or None with its reason in `missing`."""
        try:
            return import_module(name)
        except ImportError as error:
            self.missing.setdefault(package or name, str(error))
            return None

    def connect_with_honker(self, path, journal, synchronous):
        connection = connect(path, journal, synchronous)
        connection.enable_load_extension(True)
        connection.load_extension(str(self.honker_extension), "sqlite3_honkerext_init")
        return connection


def connect(path, journal, synchronous):
    """An apsw connection: autocommit, statements cached, the same SQLite for everybody who is measured by it."""
    import apsw

    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(10_000)
    if journal:  # A second connection takes what the first has set.
        connection.execute(f"PRAGMA journal_mode = {journal}").fetchall()
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection


# Each queue below: `fill(count)`, `cycle(batch)` takes and settles up to `batch` jobs and says how many.


class HonkerSql:
    """honker's extension, by SQL: claim and acknowledge, each in its own transaction."""

    def __init__(self, peers, folder, journal, synchronous):
        self.connection = peers.connect_with_honker(folder / "honker.db", journal, synchronous)
        self.connection.execute("SELECT honker_bootstrap()").fetchall()

    def fill(self, count):
        with self.connection:
            for number in range(count):
                self.connection.execute("SELECT honker_enqueue('q', ?, NULL, NULL, 0, 3, NULL)", (f'{{"run":{number}}}',)).fetchall()

    def cycle(self, batch):
        claimed = self.connection.execute("SELECT honker_claim_batch('q', 'w', ?, 300)", (batch,)).fetchall()[0][0]
        ids = json.dumps([job["id"] for job in json.loads(claimed)])
        return self.connection.execute("SELECT honker_ack_batch(?, 'w')", (ids,)).fetchall()[0][0]


class HonkerPython:
    """honker's Python package, which opens WAL with synchronous=NORMAL and offers nothing else."""

    def __init__(self, peers, folder, journal, synchronous):
        self.queue = peers.module("honker").open(str(folder / "honker.db")).queue("q")

    def fill(self, count):
        with self.queue.db.transaction() as transaction:
            for number in range(count):
                self.queue.enqueue({"run": number}, tx=transaction)

    def cycle(self, batch):
        jobs = self.queue.claim_batch("w", batch)
        return self.queue.ack_batch([job.id for job in jobs], "w")


class Huey:
    """huey's SqliteStorage: `dequeue` deletes, so a crash loses the job, and there is nothing to settle."""

    def __init__(self, peers, folder, journal, synchronous):
        storage = peers.module("huey.storage", "huey").SqliteStorage
        self.storage = storage("q", str(folder / "huey.db"), journal_mode=journal.lower())
        self.storage.sql(f"pragma synchronous={synchronous}")

    def fill(self, count):
        for number in range(count):
            self.storage.enqueue(b'{"run":%d}' % number)

    def cycle(self, batch):
        return int(self.storage.dequeue() is not None)


class LiteQueue:
    """litequeue: `pop` locks, `done` settles."""

    def __init__(self, peers, folder, journal, synchronous):
        self.queue = peers.module("litequeue").LiteQueue(str(folder / "lite.db"))
        self.queue.conn.execute(f"PRAGMA journal_mode = {journal}")
        self.queue.conn.execute(f"PRAGMA synchronous = {synchronous}")

    def fill(self, count):
        with self.queue.transaction():
            for number in range(count):
                self.queue.put(f'{{"run":{number}}}')

    def cycle(self, batch):
        self.queue.done(self.queue.pop().message_id)
        return 1


class PersistQueue:
    """persist-queue's SQLiteAckQueue: `get` marks, `ack` settles; WAL with SQLite's default, FULL."""

    def __init__(self, peers, folder, journal, synchronous):
        self.queue = peers.module("persistqueue", "persist-queue").SQLiteAckQueue(str(folder))

    def fill(self, count):
        for number in range(count):
            self.queue.put({"run": number})

    def cycle(self, batch):
        self.queue.ack(self.queue.get(block=False))
        return 1
