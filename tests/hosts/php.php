<?php
// The class SQLite3; php.ini (or -d) names the folder: sqlite3.extension_dir = /folder/of/librunchain.so
function connection(): SQLite3
{
    $db = new SQLite3('.state/orchestration.db');
    $db->enableExceptions(true);
    $db->loadExtension('librunchain.so');
    return $db;
}

$first = connection();
$first->loadExtension('librunchain.so');
echo 'host PHP ', PHP_MAJOR_VERSION, '.', PHP_MINOR_VERSION, '.', PHP_RELEASE_VERSION, "\n";
echo 'sqlite ', SQLite3::version()['versionString'], "\n";
echo 'validate ', $first->querySingle('SELECT monitor_validate()'), "\n";
echo 'ingest ', $first->querySingle("SELECT ingest_events('pattern_events.jsonl')"), "\n";
echo 'enqueue ', $first->querySingle("SELECT enqueue_chain('run-1')"), "\n";

$second = connection();
echo 'second ', $second->querySingle('SELECT runchain_version()'), "\n";

try {
    $first->querySingle("SELECT ingest_events('missing.jsonl')");
} catch (Exception $error) {
    echo 'error ', $error->getMessage(), "\n";
}

$second->exec('BEGIN IMMEDIATE');
try {
    $first->querySingle("SELECT enqueue_chain('run-1')");
} catch (Exception $error) {
    echo 'busy ', $first->lastErrorCode(), ' ', $error->getMessage(), "\n";
}
$second->exec('ROLLBACK');
echo 'after ', $first->querySingle("SELECT enqueue_chain('run-1')"), "\n";
