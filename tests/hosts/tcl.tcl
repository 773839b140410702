# The package sqlite3.
package require sqlite3

proc connection {name} {
    sqlite3 $name .state/orchestration.db
    $name timeout 0
    $name enable_load_extension 1
    $name eval {SELECT load_extension('./librunchain')}
}

connection first
first eval {SELECT load_extension('./librunchain')}
puts "host Tcl [info patchlevel]"
puts "sqlite [first onecolumn {SELECT sqlite_version()}]"
puts "validate [first onecolumn {SELECT monitor_validate()}]"
puts "ingest [first onecolumn {SELECT ingest_events('pattern_events.jsonl')}]"
puts "enqueue [first onecolumn {SELECT enqueue_chain('run-1')}]"

connection second
puts "second [second onecolumn {SELECT runchain_version()}]"

if {[catch {first onecolumn {SELECT ingest_events('missing.jsonl')}} message]} {
    puts "error $message"
}

second eval {BEGIN IMMEDIATE}
if {[catch {first onecolumn {SELECT enqueue_chain('run-1')}} message]} {
    puts "busy [first errorcode] $message"
}
second eval {ROLLBACK}
puts "after [first onecolumn {SELECT enqueue_chain('run-1')}]"
