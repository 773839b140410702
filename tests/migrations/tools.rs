//! Four migration tools on the same table, each with files of its own beside the database, and the same
//! changes in the words of each. What they may do to runchain is not known here.

use super::docs;
use crate::support::{Finished, Project, node_modules, node_tool, python_tools, repository, run};
use std::fs;
use std::process::Command;

/// A tool in its current version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Alembic,
    Django,
    Drizzle,
    Prisma,
}

/// A change of the table `runs(run_id, status, priority, note)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Another type of `priority`, for which each tool makes the table anew.
    Rebuild,
    /// A new column.
    Add,
    /// `note` becomes `remark`.
    Rename,
    /// `note` goes.
    Drop,
    /// `status` becomes `word`.
    RenameStatus,
    /// `status` goes.
    DropStatus,
    /// The table becomes `jobs`.
    RenameTable,
    /// The table goes.
    DropTable,
}

impl Change {
    pub(super) const ALL: [Self; 8] = [
        Self::Rebuild,
        Self::Add,
        Self::Rename,
        Self::Drop,
        Self::RenameStatus,
        Self::DropStatus,
        Self::RenameTable,
        Self::DropTable,
    ];
}

/// Whether the project heeds what docs/migrations.md says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Snippet {
    With,
    Without,
}

impl Tool {
    /// Writes the tool's project and lets it make the table.
    #[track_caller]
    pub(super) fn create(self, project: &Project, snippet: Snippet) {
        let created = match self {
            Self::Alembic => alembic::create(project, snippet),
            Self::Django => django::create(project),
            Self::Drizzle => drizzle::create(project, snippet),
            Self::Prisma => prisma::create(project, snippet),
        };
        created.output();
    }

    /// Makes one change, as somebody would type it.
    pub(super) fn change(self, project: &Project, change: Change) -> Finished {
        match self {
            Self::Alembic => alembic::change(project, change),
            Self::Django => django::change(project, change),
            Self::Drizzle => drizzle::change(project, change),
            Self::Prisma => prisma::change(project, change),
        }
    }

    /// What the tool would do to make the database like the models, which describe it as it is.
    pub(super) fn proposal(self, project: &Project) -> String {
        let finished = match self {
            Self::Alembic => alembic::run(project, &["check"]),
            Self::Django => django::manage(project, &["makemigrations", "--dry-run", "-v", "3"]),
            Self::Drizzle => drizzle::push(project, &["--strict", "--verbose"], ""),
            Self::Prisma => prisma::push(project),
        };
        finished.stdout + &finished.stderr
    }
}

fn write(project: &Project, path: &str, text: &str) {
    let path = project.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

mod alembic {
    use super::{Change, Finished, Project, Snippet, docs, python_tools, write};

    const ENV: &str = "
import sqlalchemy as sa
from alembic import context

target_metadata = sa.MetaData()
sa.Table('runs', target_metadata,
    sa.Column('run_id', sa.Text, primary_key=True), sa.Column('status', sa.Text, nullable=False),
    sa.Column('priority', sa.Integer), sa.Column('note', sa.Text))

SNIPPET

# A busy disk may keep a commit of the executor's for longer than the usual 5 s.
engine = sa.create_engine('sqlite:///.state/orchestration.db', connect_args={'timeout': 60})
with engine.connect() as connection:
    configure(context, connection=connection, target_metadata=target_metadata)
    with context.begin_transaction():
        context.run_migrations()
";
    const WITHOUT: &str = "
def configure(context, **options):
    context.configure(render_as_batch=True, **options)
";
    const CREATE: &str = "op.create_table('runs',
        sa.Column('run_id', sa.Text, primary_key=True), sa.Column('status', sa.Text, nullable=False),
        sa.Column('priority', sa.Integer), sa.Column('note', sa.Text))";

    pub(super) fn create(project: &Project, snippet: Snippet) -> Finished {
        let snippet = match snippet {
            Snippet::With => docs::snippet("Alembic", 0),
            Snippet::Without => WITHOUT.to_owned(),
        };
        write(
            project,
            "alembic.ini",
            "[alembic]\nscript_location = alembic_scripts\npath_separator = os\n",
        );
        write(
            project,
            "alembic_scripts/env.py",
            &ENV.replace("SNIPPET", &snippet),
        );
        revision(project, "0001", "None", CREATE);
        run(project, &["upgrade", "head"])
    }

    pub(super) fn change(project: &Project, change: Change) -> Finished {
        let batch =
            |operation: &str| format!("with op.batch_alter_table('runs') as runs:\n        runs.{operation}");
        let body = match change {
            Change::Rebuild => batch("alter_column('priority', type_=sa.Text)"),
            Change::Add => batch("add_column(sa.Column('owner', sa.Text))"),
            Change::Rename => batch("alter_column('note', new_column_name='remark')"),
            Change::Drop => batch("drop_column('note')"),
            Change::RenameStatus => batch("alter_column('status', new_column_name='word')"),
            Change::DropStatus => batch("drop_column('status')"),
            Change::RenameTable => "op.rename_table('runs', 'jobs')".to_owned(),
            Change::DropTable => "op.drop_table('runs')".to_owned(),
        };
        revision(project, "0002", "'0001'", &body);
        run(project, &["upgrade", "head"])
    }

    pub(super) fn run(project: &Project, arguments: &[&str]) -> Finished {
        let mut command = python_tools(project.root());
        super::run(command.args(["-m", "alembic"]).args(arguments), "")
    }

    fn revision(project: &Project, id: &str, after: &str, body: &str) {
        let text = format!(
            "import sqlalchemy as sa\nfrom alembic import op\n\nrevision = '{id}'\ndown_revision = {after}\n\n\
             def upgrade():\n    {body}\n"
        );
        write(project, &format!("alembic_scripts/versions/{id}.py"), &text);
    }
}

mod django {
    use super::{Change, Finished, Project, python_tools, write};

    const SETTINGS: &str = "
SECRET_KEY = 'of a test'
INSTALLED_APPS = ['orchestrator']
# A busy disk may keep a commit of the executor's for longer than the usual 5 s.
DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': '.state/orchestration.db', 'OPTIONS': {'timeout': 60}}}
DEFAULT_AUTO_FIELD = 'django.db.models.AutoField'
";
    const MODELS: &str = "
from django.db import models

class Run(models.Model):
    run_id = models.TextField(primary_key=True)
    status = models.TextField()
    priority = models.IntegerField(null=True)
    note = models.TextField(null=True)
    class Meta:
        db_table = 'runs'
";
    const CREATE: &str = "migrations.CreateModel('Run', [
        ('run_id', models.TextField(primary_key=True, serialize=False)), ('status', models.TextField()),
        ('priority', models.IntegerField(null=True)), ('note', models.TextField(null=True))], options={'db_table': 'runs'})";

    pub(super) fn create(project: &Project) -> Finished {
        write(project, "settings.py", SETTINGS);
        write(project, "orchestrator/__init__.py", "");
        write(project, "orchestrator/migrations/__init__.py", "");
        write(project, "orchestrator/models.py", MODELS);
        migration(project, "0001_initial", "", CREATE);
        manage(project, &["migrate"])
    }

    pub(super) fn change(project: &Project, change: Change) -> Finished {
        let operation = match change {
            Change::Rebuild => "AlterField('Run', 'priority', models.TextField(null=True))",
            Change::Add => "AddField('Run', 'owner', models.TextField(null=True))",
            Change::Rename => "RenameField('Run', 'note', 'remark')",
            Change::Drop => "RemoveField('Run', 'note')",
            Change::RenameStatus => "RenameField('Run', 'status', 'word')",
            Change::DropStatus => "RemoveField('Run', 'status')",
            Change::RenameTable => "AlterModelTable('Run', 'jobs')",
            Change::DropTable => "DeleteModel('Run')",
        };
        migration(
            project,
            "0002_change",
            "('orchestrator', '0001_initial')",
            &format!("migrations.{operation}"),
        );
        manage(project, &["migrate"])
    }

    pub(super) fn manage(project: &Project, arguments: &[&str]) -> Finished {
        let mut command = python_tools(project.root());
        command.env("DJANGO_SETTINGS_MODULE", "settings");
        super::run(command.args(["-m", "django"]).args(arguments), "")
    }

    fn migration(project: &Project, name: &str, after: &str, operation: &str) {
        let text = format!(
            "from django.db import migrations, models\n\nclass Migration(migrations.Migration):\n    \
             dependencies = [{after}]\n    operations = [{operation}]\n"
        );
        write(project, &format!("orchestrator/migrations/{name}.py"), &text);
    }
}

/// The columns of the models of Node's tools after a change, as (name, kind).
fn columns(change: Option<Change>) -> Vec<(&'static str, &'static str)> {
    let status = match change {
        Some(Change::DropStatus) => None,
        Some(Change::RenameStatus) => Some(("word", "status")),
        _ => Some(("status", "status")),
    };
    let priority = match change {
        Some(Change::Rebuild) => "text",
        _ => "integer",
    };
    let note = match change {
        Some(Change::Drop) => None,
        Some(Change::Rename) => Some(("remark", "text")),
        _ => Some(("note", "text")),
    };
    let owner = (change == Some(Change::Add)).then_some(("owner", "text"));
    let all = [
        Some(("run_id", "key")),
        status,
        Some(("priority", priority)),
        note,
        owner,
    ];
    all.into_iter().flatten().collect()
}

/// The table's name after a change; none after it was dropped.
fn table(change: Option<Change>) -> Option<&'static str> {
    match change {
        Some(Change::DropTable) => None,
        Some(Change::RenameTable) => Some("jobs"),
        _ => Some("runs"),
    }
}

fn link_node_modules(project: &Project) {
    std::os::unix::fs::symlink(node_modules(), project.path("node_modules")).unwrap();
}

mod drizzle {
    use super::{
        Change, Command, Finished, Project, Snippet, columns, docs, link_node_modules, node_tool,
        python_tools, repository, table, write,
    };

    const CONFIG: &str = "
import { defineConfig } from 'drizzle-kit'
SNIPPET
export default defineConfig({
  dialect: 'sqlite', schema: './schema.ts', dbCredentials: { url: 'file:.state/orchestration.db' }, tablesFilter,
})
";

    pub(super) fn create(project: &Project, snippet: Snippet) -> Finished {
        link_node_modules(project);
        let (filter, views) = match snippet {
            Snippet::With => (docs::snippet("drizzle-kit", 0), docs::snippet("drizzle-kit", 1)),
            Snippet::Without => ("const tablesFilter = undefined".to_owned(), String::new()),
        };
        write(project, "drizzle.config.ts", &CONFIG.replace("SNIPPET", &filter));
        write(project, "runchain_views.ts", &views);
        model(project, None, Snippet::Without);
        let created = push(project, &["--force"], "");
        // From here on the database has what the views of the snippet describe.
        model(project, None, snippet);
        created
    }

    pub(super) fn change(project: &Project, change: Change) -> Finished {
        model(project, Some(change), Snippet::With);
        let menu = match change {
            Change::Rename | Change::RenameStatus | Change::RenameTable => "created or renamed from another",
            _ => "",
        };
        push(project, &["--force"], menu)
    }

    /// `menu`: where drizzle-kit asks whether something is new or was renamed, answer "renamed".
    pub(super) fn push(project: &Project, options: &[&str], menu: &str) -> Finished {
        let mut push = node_tool(project.root(), "drizzle-kit/bin.cjs");
        push.arg("push").args(options);
        if menu.is_empty() {
            return super::run(&mut push, "");
        }
        let mut terminal: Command = python_tools(project.root());
        terminal
            .arg(repository().join("tests/migrations/answer.py"))
            .arg(menu)
            .arg(push.get_program())
            .args(push.get_args());
        super::run(&mut terminal, "")
    }

    fn model(project: &Project, change: Option<Change>, snippet: Snippet) {
        let mut text = "import { sqliteTable, text, integer } from 'drizzle-orm/sqlite-core'\n".to_owned();
        if snippet == Snippet::With {
            text += "export * from './runchain_views'\n";
        }
        if let Some(table) = table(change) {
            text += &format!("export const runs = sqliteTable('{table}', {{\n");
            for (name, kind) in columns(change) {
                let kind = match kind {
                    "key" => format!("text('{name}').primaryKey()"),
                    "status" => format!("text('{name}').notNull()"),
                    other => format!("{other}('{name}')"),
                };
                text += &format!("  {name}: {kind},\n");
            }
            text += "})\n";
        }
        write(project, "schema.ts", &text);
    }
}

mod prisma {
    use super::{
        Change, Finished, Project, Snippet, columns, docs, link_node_modules, node_tool, table, write,
    };

    const CONFIG: &str = "
import { defineConfig } from 'prisma/config'
SNIPPET
export default defineConfig({
  ...external, schema: './schema.prisma', migrations: { path: './migrations' },
  datasource: { url: 'file:.state/orchestration.db' },
})
";
    const CREATE: &str = "CREATE TABLE runs(run_id TEXT NOT NULL PRIMARY KEY, status TEXT NOT NULL, priority INTEGER, note TEXT);";

    /// By `prisma migrate`: only so can a later change be one of its migrations.
    pub(super) fn create(project: &Project, snippet: Snippet) -> Finished {
        link_node_modules(project);
        let external = match snippet {
            Snippet::With => docs::snippet("Prisma", 0),
            Snippet::Without => "const external = {}".to_owned(),
        };
        write(project, "prisma.config.ts", &CONFIG.replace("SNIPPET", &external));
        write(
            project,
            "migrations/migration_lock.toml",
            "provider = \"sqlite\"\n",
        );
        model(project, None);
        migrate(project, "0_init", CREATE)
    }

    /// `db push` renames nothing: it drops and adds. Who wants to keep the rows writes a migration.
    pub(super) fn change(project: &Project, change: Change) -> Finished {
        let sql = match change {
            Change::Rename => "ALTER TABLE runs RENAME COLUMN note TO remark;",
            Change::RenameStatus => "ALTER TABLE runs RENAME COLUMN status TO word;",
            Change::RenameTable => "ALTER TABLE runs RENAME TO jobs;",
            _ => {
                model(project, Some(change));
                return prisma(project, &["db", "push", "--accept-data-loss"]);
            }
        };
        migrate(project, "1_change", sql)
    }

    /// Without leave to lose data it ends with what it would have done.
    pub(super) fn push(project: &Project) -> Finished {
        prisma(project, &["db", "push"])
    }

    fn migrate(project: &Project, name: &str, sql: &str) -> Finished {
        write(project, &format!("migrations/{name}/migration.sql"), sql);
        prisma(project, &["migrate", "deploy"])
    }

    fn prisma(project: &Project, arguments: &[&str]) -> Finished {
        super::run(
            node_tool(project.root(), "prisma/build/index.js").args(arguments),
            "",
        )
    }

    fn model(project: &Project, change: Option<Change>) {
        let mut text = "datasource db {\n  provider = \"sqlite\"\n}\n".to_owned();
        if let Some(table) = table(change) {
            text += "model Run {\n";
            for (name, kind) in columns(change) {
                let kind = match kind {
                    "key" => "String @id",
                    "status" => "String",
                    "integer" => "Int?",
                    _ => "String?",
                };
                text += &format!("  {name} {kind}\n");
            }
            text += &format!("  @@map(\"{table}\")\n}}\n");
        }
        write(project, "schema.prisma", &text);
    }
}
