# DBD::SQLite has a SQLite of its own compiled in.
use strict;
use warnings;
use DBI;

sub connection {
    my $db = DBI->connect('dbi:SQLite:dbname=.state/orchestration.db', '', '', { RaiseError => 1, PrintError => 0 });
    $db->sqlite_busy_timeout(0);
    $db->sqlite_enable_load_extension(1);
    $db->sqlite_load_extension('./librunchain');
    return $db;
}

sub ask {
    my ($db, $sql, @values) = @_;
    return $db->selectrow_array($sql, undef, @values);
}

my $first = connection();
$first->sqlite_load_extension('./librunchain');
print "host DBD::SQLite $DBD::SQLite::VERSION\n";
print 'sqlite ', ask($first, 'SELECT sqlite_version()'), "\n";
print 'validate ', ask($first, 'SELECT monitor_validate()'), "\n";
print 'ingest ', ask($first, 'SELECT ingest_events(?)', 'pattern_events.jsonl'), "\n";
print 'enqueue ', ask($first, 'SELECT enqueue_chain(?)', 'run-1'), "\n";

my $second = connection();
print 'second ', ask($second, 'SELECT runchain_version()'), "\n";

eval { ask($first, "SELECT ingest_events('missing.jsonl')"); 1 } or print 'error ', $first->errstr, "\n";

$second->do('BEGIN IMMEDIATE');
eval { ask($first, "SELECT enqueue_chain('run-1')"); 1 } or print 'busy ', $first->err, ' ', $first->errstr, "\n";
$second->do('ROLLBACK');
print 'after ', ask($first, "SELECT enqueue_chain('run-1')"), "\n";
