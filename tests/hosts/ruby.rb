# The gem sqlite3, on the machine's SQLite library.
require 'sqlite3'

def connection
  db = SQLite3::Database.new('.state/orchestration.db')
  db.enable_load_extension(true)
  db.load_extension('./librunchain')
  db
end

first = connection
first.load_extension('./librunchain')
puts "host Ruby #{RUBY_VERSION}, sqlite3 #{SQLite3::VERSION}"
puts "sqlite #{first.get_first_value('SELECT sqlite_version()')}"
puts "validate #{first.get_first_value('SELECT monitor_validate()')}"
puts "ingest #{first.get_first_value('SELECT ingest_events(?)', 'pattern_events.jsonl')}"
puts "enqueue #{first.get_first_value('SELECT enqueue_chain(?)', 'run-1')}"

second = connection
puts "second #{second.get_first_value('SELECT runchain_version()')}"

begin
  first.get_first_value("SELECT ingest_events('missing.jsonl')")
rescue SQLite3::SQLException => e
  puts "error #{e.message}"
end

second.execute('BEGIN IMMEDIATE')
begin
  first.get_first_value("SELECT enqueue_chain('run-1')")
rescue SQLite3::BusyException => e
  puts "busy BusyException #{e.message}"
end
second.execute('ROLLBACK')
puts "after #{first.get_first_value("SELECT enqueue_chain('run-1')")}"
