//! The file: its schema, how it is opened, and every statement.
//!
//! `change` is the history, one row a change, in the order of [`crate::revision::Place`]; `current` names the row that
//! holds each key now, and follows `change` by triggers. A change knows the row it replaced, so the past is read by
//! undoing what came later, and no second index over history is needed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use proto::etcd::mvccpb::event::EventType;
use proto::etcd::mvccpb::{Event, KeyValue};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use store::{Interval, LeaseId, Revision};

use crate::durability;
use crate::revision::{self, Place, place};

mod range;

pub(crate) use range::{compacted, range_now, range_past, readable, replay};

/// The schema this program writes; it is the file's `user_version`.
const SCHEMA: i64 = 1;

/// Marks the file as ours, as SQLite's `application_id`: the letters ISOP.
const APPLICATION: i64 = 0x4953_4f50;

const TABLES: &str = "
CREATE TABLE change (
    place INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    before INTEGER NOT NULL
);
CREATE TABLE current (
    key BLOB PRIMARY KEY,
    place INTEGER NOT NULL,
    lease INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX current_by_lease ON current (lease) WHERE lease != 0;
CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl INTEGER NOT NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER change_put AFTER INSERT ON change WHEN NOT new.deleted BEGIN
    INSERT INTO current VALUES (new.key, new.place, new.lease)
        ON CONFLICT (key) DO UPDATE SET place = excluded.place, lease = excluded.lease;
END;
CREATE TRIGGER change_delete AFTER INSERT ON change WHEN new.deleted BEGIN
    DELETE FROM current WHERE key = new.key;
END;
";

/// Connections that read: one for a long list, one for what comes meanwhile; each costs a thread and a page cache.
const READERS: u32 = 2;

/// How long to wait for another program that holds the file, such as the sqlite3 shell.
const BUSY: Duration = Duration::from_secs(10);

/// The log is cut back to this many bytes after a burst, so that a card with little space gets it back.
const LOG_BYTES: &str = "8388608";

/// Pages that each connection caches, in KiB (negative, as SQLite writes it).
const CACHE_KIB: &str = "-2000";

/// Revisions that one step of a replay or a compaction covers: short enough to let others in between.
pub(crate) const STEP: i64 = 500;

/// The opened file.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) writer: SqliteConnection,
    pub(crate) readers: SqlitePool,
}

/// What a file remembers about itself beside keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meta {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) scrubbed: Revision,
    /// Up to which revision numbers may have been given that are not in the file.
    pub(crate) reserved: Revision,
    pub(crate) cluster: u64,
    pub(crate) member: u64,
}

/// A range as read in one snapshot.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Slice {
    pub(crate) items: Vec<KeyValue>,
    pub(crate) count: i64,
    pub(crate) revision: Revision,
}

/// What to read of an interval.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) keys: Interval,
    /// Items at most; negative means all.
    pub(crate) limit: i64,
    /// The revision to read at; 0 means now.
    pub(crate) at: Revision,
    pub(crate) keys_only: bool,
}

/// A row of `change`, without its place.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) create_revision: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    pub(crate) deleted: bool,
    pub(crate) before: Place,
}

type Columns = (Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);

/// The place up to which revisions have been given: that of the last change, or beyond it after a loss.
const LATEST: &str = "max((SELECT ifnull(max(place), 0) FROM change),
    (SELECT ifnull(max(value), 0) FROM meta WHERE name = 'floor'))";

const COLUMNS: &str =
    "change.key, change.value, change.create_revision, change.place, change.version, change.lease";

fn key_value(columns: Columns) -> Option<KeyValue> {
    let (key, value, create_revision, place, version, lease) = columns;
    Some(KeyValue {
        key: key?.into(),
        value: value.unwrap_or_default().into(),
        create_revision: create_revision?,
        mod_revision: revision::revision(place?),
        version: version?,
        lease: lease?,
    })
}

/// The condition for an interval whose bounds are bound as ?1 and ?2. An open end must not cost the upper bound of
/// the others its index, hence two texts.
fn within(keys: &Interval, column: &str) -> String {
    if keys.end.is_empty() {
        format!("{column} >= ?1 AND ?2 IS NOT NULL")
    } else {
        format!("{column} >= ?1 AND {column} < ?2")
    }
}

impl Database {
    /// Opens the file, or makes it.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<(Self, Meta)> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .pragma("journal_size_limit", LOG_BYTES)
            .pragma("cache_size", CACHE_KIB)
            .disable_statement_logging();
        let named = || format!("could not open {}", path.display());
        let mut writer = SqliteConnection::connect_with(&options).await.with_context(named)?;
        prepare(&mut writer).await.with_context(named)?;
        let meta = meta(&mut writer).await.with_context(named)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options.read_only(true).create_if_missing(false));
        Ok((Self { writer, readers }, meta))
    }
}

async fn prepare(file: &mut SqliteConnection) -> anyhow::Result<()> {
    let schema: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *file).await?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *file).await?;
    let application: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *file).await?;
    match schema {
        0 if tables == 0 => {}
        _ if application != APPLICATION => {
            bail!("it is not a file of isopod-datastore; choose another --data-dir")
        }
        SCHEMA => return remember(file).await,
        newer if newer > SCHEMA => bail!(
            "it was written by a newer isopod-datastore (schema {newer}, this one knows {SCHEMA}); \
             start that version, or restore a snapshot taken before the upgrade"
        ),
        other => bail!("its schema {other} is unknown; restore a snapshot"),
    }
    let mut transaction = file.begin().await?;
    sqlx::raw_sql(TABLES).execute(&mut *transaction).await?;
    sqlx::raw_sql(AssertSqlSafe(format!(
        "PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA};
         INSERT INTO meta VALUES ('cluster', random()), ('member', random()), ('compacted', 0), ('scrubbed', 0);"
    )))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    remember(file).await
}

/// Adds what files of the first days did not remember.
async fn remember(file: &mut SqliteConnection) -> anyhow::Result<()> {
    let missing = "INSERT OR IGNORE INTO meta VALUES ('reserved', 0), ('floor', 0), ('boot', 0)";
    sqlx::query(missing).execute(file).await?;
    Ok(())
}

/// Which run of the machine this is; nothing where that cannot be told.
fn boot() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).ok().map(u64::cast_signed)
}

/// Goes beyond every revision that may have been given and that the file does not hold.
///
/// Where the machine has been off since, some may have been seen and lost, so what came before is called history. As
/// long as the machine runs, what was written is there, however the process ended; only the numbers are left out,
/// should the disk have failed to take what the system wrote later.
async fn recover(file: &mut SqliteConnection, mut meta: Meta, last_boot: i64) -> Result<Meta, sqlx::Error> {
    let boot = boot();
    let (rebooted, open) = (boot != Some(last_boot), meta.reserved > meta.revision);
    if !rebooted && !open {
        return Ok(meta);
    }
    let mut transaction = file.begin().await?;
    if open {
        let revision = durability::beyond(meta.reserved);
        set_meta(&mut transaction, "floor", place(revision, 0)).await?;
        set_meta(&mut transaction, "reserved", revision).await?;
        (meta.revision, meta.reserved) = (revision, revision);
        if rebooted {
            tracing::warn!("the machine stopped without warning: what did not wait for the disk may be lost");
            set_meta(&mut transaction, "compacted", revision).await?;
            meta.compacted = revision;
        }
    }
    set_meta(&mut transaction, "boot", boot.unwrap_or_default()).await?;
    transaction.commit().await?;
    Ok(meta)
}

/// Has commits wait for the disk, or not. Not to be called within a transaction.
pub(crate) async fn wait_for_disk(file: &mut SqliteConnection, wait: bool) -> Result<(), sqlx::Error> {
    let text = if wait { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
    sqlx::raw_sql(text).execute(file).await.map(drop)
}

async fn meta(file: &mut SqliteConnection) -> Result<Meta, sqlx::Error> {
    let mut read = Vec::new();
    for name in ["compacted", "scrubbed", "reserved", "boot", "cluster", "member"] {
        let value: i64 = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?1")
            .bind(name)
            .fetch_one(&mut *file)
            .await?;
        read.push(value);
    }
    let revision = latest(file).await?;
    let [compacted, scrubbed, reserved, boot, cluster, member] = read[..] else {
        return Err(sqlx::Error::RowNotFound);
    };
    let (cluster, member) = (cluster.unsigned_abs(), member.unsigned_abs());
    recover(file, Meta { revision, compacted, scrubbed, reserved, cluster, member }, boot).await
}

async fn latest(file: &mut SqliteConnection) -> Result<Revision, sqlx::Error> {
    let place: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {LATEST}"))).fetch_one(file).await?;
    Ok(revision::revision(place).max(revision::FIRST))
}

/// An event; that of a deletion shows nothing but the key and the revision.
pub(crate) fn event(kv: Option<KeyValue>, prev_kv: Option<KeyValue>, deleted: bool) -> Event {
    let kind = if deleted { EventType::Delete } else { EventType::Put };
    Event { r#type: kind as i32, kv, prev_kv }
}

/// The key as it is now, with the place of its change.
pub(crate) async fn find(
    file: &mut SqliteConnection,
    key: &[u8],
) -> Result<Option<(KeyValue, Place)>, sqlx::Error> {
    let found: Option<Columns> = sqlx::query_as(
        "SELECT change.key, change.value, change.create_revision, change.place, change.version, change.lease
         FROM current JOIN change ON change.place = current.place WHERE current.key = ?1",
    )
    .bind(key)
    .fetch_optional(file)
    .await?;
    Ok(found.and_then(placed))
}

/// Writes a change; `current` follows.
pub(crate) async fn write(
    file: &mut SqliteConnection,
    place: Place,
    change: &Change,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO change VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
        .bind(place)
        .bind(&change.key[..])
        .bind(&change.value[..])
        .bind(change.create_revision)
        .bind(change.version)
        .bind(change.lease)
        .bind(change.deleted)
        .bind(change.before)
        .execute(file)
        .await?;
    Ok(())
}

pub(crate) async fn set_meta(
    file: &mut SqliteConnection,
    name: &'static str,
    value: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE meta SET value = ?2 WHERE name = ?1").bind(name).bind(value).execute(file).await?;
    Ok(())
}

/// Removes what the changes of `from..until` replaced, and deletions among them: nothing that can be read from
/// revision `until` on.
pub(crate) async fn scrub(
    file: &mut SqliteConnection,
    from: Revision,
    until: Revision,
) -> Result<(), sqlx::Error> {
    let (from, end) = (place(from, 0), place(until, 0));
    sqlx::query(
        "DELETE FROM change WHERE place IN
             (SELECT before FROM change WHERE place >= ?1 AND place < ?2 AND before != 0)",
    )
    .bind(from)
    .bind(end)
    .execute(&mut *file)
    .await?;
    sqlx::query("DELETE FROM change WHERE place >= ?1 AND place < ?2 AND deleted")
        .bind(from)
        .bind(end)
        .execute(&mut *file)
        .await?;
    set_meta(file, "scrubbed", until).await
}

/// The keys attached to a lease.
pub(crate) async fn leased(
    file: impl sqlx::SqliteExecutor<'_>,
    lease: LeaseId,
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("SELECT key FROM current WHERE lease = ?1 AND lease != 0 ORDER BY key")
        .bind(lease)
        .fetch_all(file)
        .await
}

pub(crate) async fn leases(file: &mut SqliteConnection) -> Result<Vec<(LeaseId, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT id, ttl FROM lease").fetch_all(file).await
}

pub(crate) async fn add_lease(file: &mut SqliteConnection, id: LeaseId, ttl: i64) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO lease VALUES (?1, ?2)").bind(id).bind(ttl).execute(file).await?;
    Ok(())
}

pub(crate) async fn remove_lease(file: &mut SqliteConnection, id: LeaseId) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM lease WHERE id = ?1").bind(id).execute(file).await?;
    Ok(())
}

/// Bytes of the file, and those of them that hold something.
pub(crate) async fn size(readers: &SqlitePool) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as(
        "SELECT page_count * page_size, (page_count - freelist_count) * page_size
         FROM pragma_page_count(), pragma_page_size(), pragma_freelist_count()",
    )
    .fetch_one(readers)
    .await
}

/// The keys of an interval as they are now, each with the place of its change.
pub(crate) async fn find_all(
    file: &mut SqliteConnection,
    keys: &Interval,
) -> Result<Vec<(KeyValue, Place)>, sqlx::Error> {
    let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM current JOIN change ON change.place = current.place WHERE {} ORDER BY current.key",
        within(keys, "current.key")
    )))
    .bind(&keys.start[..])
    .bind(&keys.end[..])
    .fetch_all(file)
    .await?;
    Ok(rows.into_iter().filter_map(placed).collect())
}

fn placed(columns: Columns) -> Option<(KeyValue, Place)> {
    let place = columns.3?;
    Some((key_value(columns)?, place))
}

/// Whether a lease has been granted and not ended.
pub(crate) async fn has_lease(file: &mut SqliteConnection, id: LeaseId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM lease WHERE id = ?1)").bind(id).fetch_one(file).await
}

/// Rewrites the file without the space that nothing is in, and empties the log.
pub(crate) async fn shrink(file: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);").execute(file).await.map(drop)
}
