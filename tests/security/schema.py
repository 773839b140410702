"""Prepares one database for each function and each place of a schema that can call it, opens it with the extension,
uses that place, and prints what came of it: {"name/arguments": {place: error or null}}. SQLite judges a schema when it
reads it, so each is also tried on a connection that loads the extension only after that ("..., late")."""
import json
import os
import sqlite3
import sys

library, folder = sys.argv[1:]


def load(path, late=False):
    connection = sqlite3.connect(path, isolation_level=None)
    if late:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    connection.enable_load_extension(True)
    connection.load_extension(library)
    return connection


def functions(connection):
    return set(connection.execute("SELECT name, narg FROM pragma_function_list"))


def modules(connection):
    return {name for (name,) in connection.execute("SELECT name FROM pragma_module_list")}


stock, ours = sqlite3.connect(":memory:"), load(":memory:")
found = sorted(functions(ours) - functions(stock))

# The schema that calls CALL, and the statement that makes it happen.
PLACES = {
    "view": ("CREATE VIEW v AS SELECT CALL AS x", "SELECT * FROM v"),
    "trigger": (
        "CREATE TABLE t(x); CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO t SELECT CALL WHERE new.x = 1; END",
        "INSERT INTO t VALUES (1)",
    ),
    "trigger's condition": (
        "CREATE TABLE t(x); CREATE TRIGGER tr BEFORE INSERT ON t WHEN CALL IS NOT NULL BEGIN SELECT 1; END",
        "INSERT INTO t VALUES (1)",
    ),
    "generated column": ("CREATE TABLE t(x, y AS (CALL))", "INSERT INTO t(x) VALUES (1); SELECT y FROM t"),
    "stored column": ("CREATE TABLE t(x, y AS (CALL) STORED)", "INSERT INTO t(x) VALUES (1)"),
    "check": ("CREATE TABLE t(x, CHECK (CALL IS NOT NULL))", "INSERT INTO t VALUES (1)"),
    "default": ("CREATE TABLE t(x, y DEFAULT (CALL))", "INSERT INTO t(x) VALUES (1)"),
    "index": ("CREATE TABLE t(x); CREATE INDEX i ON t(CALL)", "INSERT INTO t VALUES (1)"),
    "partial index": ("CREATE TABLE t(x); CREATE INDEX i ON t(x) WHERE CALL IS NOT NULL", "INSERT INTO t VALUES (1)"),
}


def attempt(schema, use, stubs, late):
    path = os.path.join(folder, "hostile.db")
    if os.path.exists(path):
        os.remove(path)
    # Whoever prepares the file needs no runchain: functions of the same names will do.
    author = sqlite3.connect(path, isolation_level=None)
    author.execute("PRAGMA synchronous = OFF")
    for name, arguments in stubs:
        author.create_function(name, arguments, lambda *_: 1, deterministic=True)
    author.executescript(schema)
    author.close()
    victim = load(path, late)
    try:
        for statement in use.split(";"):
            victim.execute(statement).fetchall()
        return None
    except sqlite3.Error as error:
        return str(error)
    finally:
        victim.close()


answers = {}
for name, arguments in found:
    call = f"{name}({', '.join(['1'] * arguments)})"
    answers[f"{name}/{arguments}"] = {
        place + when: attempt(schema.replace("CALL", call), use, [(name, arguments)], late)
        for place, (schema, use) in PLACES.items()
        for late, when in ((False, ""), (True, ", late"))
    }
for name in sorted(modules(ours) - modules(stock)):
    trigger = f"CREATE TABLE t(x); CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM t WHERE x IN (SELECT 1 FROM {name}); END"
    answers[name] = {
        "view": attempt(f"CREATE VIEW v AS SELECT * FROM {name}", "SELECT * FROM v", [], True),
        "trigger": attempt(trigger, "INSERT INTO t VALUES (1)", [], True),
    }
# Whoever writes the statement may call them, and so may objects that only this connection sees.
ours.execute("CREATE TEMP VIEW own AS SELECT runchain_debug() AS answer")
assert "mapping" in ours.execute('SELECT "Runchain_DEBUG"()').fetchone()[0]
assert "mapping" in ours.execute("SELECT answer FROM own").fetchone()[0]
print(json.dumps(answers))
