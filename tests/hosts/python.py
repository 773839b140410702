"""Debian's /usr/bin/python3; a Python built without loadable extensions has no enable_load_extension."""
import sqlite3
import sys


def connect():
    connection = sqlite3.connect(".state/orchestration.db", timeout=0, isolation_level=None)
    connection.enable_load_extension(True)
    connection.load_extension("./librunchain")
    return connection


def ask(connection, sql, *arguments):
    return connection.execute(sql, arguments).fetchone()[0]


first = connect()
first.load_extension("./librunchain")
print("host Python", sys.version.split()[0])
print("sqlite", sqlite3.sqlite_version)
print("validate", ask(first, "SELECT monitor_validate()"))
print("ingest", ask(first, "SELECT ingest_events(?)", "pattern_events.jsonl"))
print("enqueue", ask(first, "SELECT enqueue_chain(?)", "run-1"))

second = connect()
print("second", ask(second, "SELECT runchain_version()"))

try:
    ask(first, "SELECT ingest_events('missing.jsonl')")
except sqlite3.OperationalError as error:
    print("error", error)

second.execute("BEGIN IMMEDIATE")
try:
    ask(first, "SELECT enqueue_chain('run-1')")
except sqlite3.OperationalError as error:
    print("busy", getattr(error, "sqlite_errorname", "SQLITE_BUSY"), error)
second.execute("ROLLBACK")
print("after", ask(first, "SELECT enqueue_chain('run-1')"))
