// node:sqlite, built into Node from 22.13 on without a flag.
const { DatabaseSync } = require("node:sqlite");

function connect() {
  const db = new DatabaseSync(".state/orchestration.db", { allowExtension: true });
  db.loadExtension("./librunchain.so");
  return db;
}

const ask = (db, sql, ...values) => Object.values(db.prepare(sql).get(...values))[0];

const first = connect();
first.loadExtension("./librunchain.so");
console.log("host Node", process.versions.node);
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
  console.log("busy", error.errcode, error.message);
}
second.exec("ROLLBACK");
console.log("after", ask(first, "SELECT enqueue_chain('run-1')"));
