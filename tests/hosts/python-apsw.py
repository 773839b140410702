"""apsw brings a SQLite of its own, newer or older than Python's."""
import apsw


def load(connection):
    if hasattr(connection, "enable_load_extension"):
        connection.enable_load_extension(True)
        connection.load_extension("./librunchain")
    else:  # before 3.42
        connection.enableloadextension(True)
        connection.loadextension("./librunchain")


def connect():
    connection = apsw.Connection(".state/orchestration.db")
    load(connection)
    return connection


def ask(connection, sql, *arguments):
    return next(connection.cursor().execute(sql, arguments))[0]


first = connect()
load(first)
print("host apsw", (getattr(apsw, "apsw_version", None) or apsw.apswversion)())
print("sqlite", ask(first, "SELECT sqlite_version()"))
print("validate", ask(first, "SELECT monitor_validate()"))
print("ingest", ask(first, "SELECT ingest_events(?)", "pattern_events.jsonl"))
print("enqueue", ask(first, "SELECT enqueue_chain(?)", "run-1"))

second = connect()
print("second", ask(second, "SELECT runchain_version()"))

try:
    ask(first, "SELECT ingest_events('missing.jsonl')")
except apsw.SQLError as error:
    print("error", error)

second.cursor().execute("BEGIN IMMEDIATE")
try:
    ask(first, "SELECT enqueue_chain('run-1')")
except apsw.BusyError as error:
    print("busy BusyError", error)
second.cursor().execute("ROLLBACK")
print("after", ask(first, "SELECT enqueue_chain('run-1')"))
