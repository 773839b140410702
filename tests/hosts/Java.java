import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/** sqlite-jdbc by Xerial: extensions are switched on by a property of the connection. */
public class Java {
    static Connection connect() throws SQLException {
        var url = "jdbc:sqlite:.state/orchestration.db?enable_load_extension=true&busy_timeout=0";
        var connection = DriverManager.getConnection(url);
        ask(connection, "SELECT load_extension('./librunchain')");
        return connection;
    }

    static String ask(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            return rows.next() ? rows.getString(1) : null;
        }
    }

    static void execute(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    public static void main(String[] arguments) throws SQLException {
        var first = connect();
        ask(first, "SELECT load_extension('./librunchain')");
        System.out.println("host sqlite-jdbc " + first.getMetaData().getDriverVersion());
        System.out.println("sqlite " + ask(first, "SELECT sqlite_version()"));
        System.out.println("validate " + ask(first, "SELECT monitor_validate()"));
        System.out.println("ingest " + ask(first, "SELECT ingest_events('pattern_events.jsonl')"));
        System.out.println("enqueue " + ask(first, "SELECT enqueue_chain('run-1')"));

        var second = connect();
        System.out.println("second " + ask(second, "SELECT runchain_version()"));

        try {
            ask(first, "SELECT ingest_events('missing.jsonl')");
        } catch (SQLException error) {
            System.out.println("error " + error.getMessage());
        }

        execute(second, "BEGIN IMMEDIATE");
        try {
            ask(first, "SELECT enqueue_chain('run-1')");
        } catch (SQLException error) {
            System.out.println("busy " + error.getErrorCode() + " " + error.getMessage());
        }
        execute(second, "ROLLBACK");
        System.out.println("after " + ask(first, "SELECT enqueue_chain('run-1')"));
    }
}
