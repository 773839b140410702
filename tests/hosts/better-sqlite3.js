// better-sqlite3 compiles a SQLite of its own into its module.
const Database = require("better-sqlite3");

function connect() {
  const db = new Database(".state/orchestration.db", { timeout: 0 });
  db.loadExtension("./librunchain");
  return db;
}

const ask = (db, sql, ...values) => db.prepare(sql).pluck().get(...values);

const first = connect();
first.loadExtension("./librunchain");
console.log("host better-sqlite3", require("better-sqlite3/package.json").version, "on Node", process.versions.node);
console.log("sqlite", ask(first, "SELECT sqlite_version()"));
console.log("validate", ask(first, "SELECT monitor_validate()"));
console.log("ingest", ask(first, "SELECT ingest_events(?)", "pattern_events.jsonl"));
console.log("enqueue", ask(first, "SELECT enqueue_chain(?)", "run-1"));

const second = connect();
console.log("second", ask(second, "SELECT runchain_version()"));

try {
  ask(first, "SELECT ingest_events('missing.jsonl')");
} catch (error) {
  console.log("error", error.message);
}

second.exec("BEGIN IMMEDIATE");
try {
  ask(first, "SELECT enqueue_chain('run-1')");
} catch (error) {
  console.log("busy", error.code, error.message);
}
second.exec("ROLLBACK");
console.log("after", ask(first, "SELECT enqueue_chain('run-1')"));
