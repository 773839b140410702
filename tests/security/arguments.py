"""Gives ingest_events() paths that are no event log, inside a transaction of the host's, and prints for each what it
answered and whether the host's lock still held against another process: {name: [answer or error, locked]}."""
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys

library, database, mode = sys.argv[1:]
signal.alarm(120)  # a call that hangs ends the process by a signal, and the test fails


def connect(path):
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    connection.enable_load_extension(True)
    connection.load_extension(library)
    return connection


def locked():
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute('BEGIN IMMEDIATE')"
    tried = subprocess.run([sys.executable, "-c", code, database], capture_output=True, text=True)
    return "database is locked" in tried.stderr


os.chdir(os.path.dirname(database))
host = connect(database)
host.execute(f"PRAGMA journal_mode = {mode}")
host.execute("CREATE TABLE written(name TEXT)")
attached, other = "attached.db", sqlite3.connect("other.db", isolation_level=None)
sqlite3.connect(attached).execute("CREATE TABLE t(x)")
host.execute("ATTACH ? AS more", (attached,))
other.execute("PRAGMA journal_mode = WAL")
other.execute("CREATE TABLE t(x)")

os.mkdir("folder")
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
os.link(database, "hard-link")
for name, target in {
    "to-database": database,
    "to-zero": "/dev/zero",
    "to-fifo": "fifo",
    "to-wal": database + "-wal",
    "to-journal": database + "-journal",
    "to-nothing": "nothing",
    "loop": "loop",
}.items():
    os.symlink(target, name)
with open("zeros", "wb") as zeros:
    zeros.truncate(10_000_000_000)

descriptor = next(
    number for number in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{number}") == database
)
paths = {
    "zero": "/dev/zero",
    "null": "/dev/null",
    "terminal": "/dev/tty",
    "folder": "folder",
    "fifo": "fifo",
    "socket": "socket",
    "database": database,
    "relative": "./" + os.path.basename(database),
    "wal": database + "-wal",
    "shm": database + "-shm",
    "journal": database + "-journal",
    "attached": attached,
    "other": "other.db",
    "other-wal": "other.db-wal",
    "hard-link": "hard-link",
    "to-database": "to-database",
    "to-zero": "to-zero",
    "to-fifo": "to-fifo",
    "to-wal": "to-wal",
    "to-journal": "to-journal",
    "to-nothing": "to-nothing",
    "loop": "loop",
    "descriptor": f"/proc/self/fd/{descriptor}",
    "empty": "",
    "long": "x" * 5000,
    "nul": "a\0b",
    "blob": b"\xff\xfe",
    "number": 7,
    "null value": None,
    "zeros": "zeros",
}
answers = {}
for name, path in paths.items():
    host.execute("BEGIN IMMEDIATE")
    host.execute("INSERT INTO written VALUES (?)", (name,))
    try:
        answer = host.execute("SELECT ingest_events(?)", (path,)).fetchone()[0]
    except sqlite3.Error as error:
        answer = str(error)
    held = locked()
    host.execute("COMMIT")
    answers[name] = [answer, held]
assert host.execute("SELECT count(*) FROM written").fetchone()[0] == len(paths)
assert host.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
print(json.dumps(answers))
