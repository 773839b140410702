"""Processes that wait for somebody else's commit and note when they saw it, as the executor does.

    python3 roles.py inotify|honker-sql|honker-python PEERS DATABASE MARKS

Each appends `seen <CLOCK_MONOTONIC ns>` to MARKS, at the moment at which it would claim. "ready" on
standard output says that it listens.
"""

import asyncio
import ctypes
import os
import struct
import sys
import time
from pathlib import Path

from peers import Peers, connect

RECHECK_S = [0, 0.00005, 0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128]


def inotify(peers, database, mark):
    """The floor: nothing but a watch on the folder and data_version, with pauses for the commit to appear."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_CLOEXEC)
    modified, created, deleted = 0x2, 0x100, 0x200
    libc.inotify_add_watch(watch, os.fsencode(database.parent), modified | created | deleted)
    connection = connect(database, "", "")

    def version():
        return connection.execute("PRAGMA data_version").fetchall()[0][0]

    seen = version()
    ready()
    while True:
        events = os.read(watch, 65536)
        names, at = [], 0
        while at < len(events):
            length = struct.unpack_from("I", events, at + 12)[0]
            names.append(events[at + 16 : at + 16 + length].rstrip(b"\0").decode())
            at += 16 + length
        if all(name.endswith("-shm") for name in names):
            continue
        for pause in RECHECK_S:
            if pause:
                time.sleep(pause)
            if (now := version()) != seen:
                mark()
                seen = now
                break


def honker_sql(peers, database, mark):
    connection = connect(database, "", "")
    connection.enable_load_extension(True)
    connection.load_extension(str(peers.honker_extension), "sqlite3_honkerext_init")
    watcher = connection.execute("SELECT honker_update_watcher_open(?, NULL)", (str(database),)).fetchall()[0][0]
    ready()
    while True:
        if connection.execute("SELECT honker_update_watcher_wait(?, 15000)", (watcher,)).fetchall()[0][0] == 1:
            mark()
            connection.execute("SELECT honker_claim_batch('q', 'w', 128, 300)").fetchall()


def honker_python(peers, database, mark):
    async def listen():
        listener = peers.module("honker").open(str(database)).listen("runs")
        ready()
        async for _ in listener:
            mark()

    asyncio.run(listen())


def ready():
    print("ready", flush=True)


def main():
    role, folder, database, marks = sys.argv[1:]
    file = open(marks, "a", buffering=1)

    def mark():
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        file.write(f"seen {now}\n")

    roles = {"inotify": inotify, "honker-sql": honker_sql, "honker-python": honker_python}
    roles[role](Peers(Path(folder)), Path(database), mark)


if __name__ == "__main__":
    main()
