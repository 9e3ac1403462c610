//! Reading ranges and history, each in one snapshot.

use std::collections::HashMap;

use proto::etcd::mvccpb::{Event, KeyValue};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use store::{Interval, Revision};

use super::{COLUMNS, Columns, LATEST, Query, STEP, Slice, event, key_value, latest, within};
use crate::fault::Fault;
use crate::revision::{self, Place, place};

/// The range as it is now, in one statement and so in one snapshot.
pub(crate) async fn range_now(
    file: impl sqlx::SqliteExecutor<'_>,
    query: &Query,
) -> Result<Slice, sqlx::Error> {
    let within = within(&query.keys, "key");
    let sql = format!(
        "SELECT {LATEST},
                CASE WHEN ?3 < 0 THEN 0 ELSE (SELECT count(*) FROM current WHERE {within}) END,
                change.key, CASE WHEN ?4 THEN NULL ELSE change.value END, change.create_revision,
                change.place, change.version, change.lease
         FROM (SELECT 1)
         LEFT JOIN (SELECT place FROM current WHERE {within} ORDER BY key LIMIT ?3) AS found ON TRUE
         LEFT JOIN change ON change.place = found.place"
    );
    type Row =
        (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(&query.keys.start[..])
        .bind(&query.keys.end[..])
        .bind(query.limit)
        .bind(query.keys_only)
        .fetch_all(file)
        .await?;
    let mut slice = Slice::default();
    slice.items.reserve(rows.len());
    for (place, count, key, value, created, changed, version, lease) in rows {
        slice.revision = revision::revision(place).max(revision::FIRST);
        slice.count = count;
        slice.items.extend(key_value((key, value, created, changed, version, lease)));
    }
    // A join promises no order; these are in order already, which costs the sort one pass.
    slice.items.sort_by(|one, other| one.key.cmp(&other.key));
    if query.limit < 0 {
        slice.count = slice.items.len() as i64;
    }
    Ok(slice)
}

/// The range as it was at a revision. `file` must be within a transaction, so that all statements see one snapshot.
pub(crate) async fn range_past(file: &mut SqliteConnection, query: &Query) -> Result<Slice, Fault> {
    let latest = latest(file).await?;
    readable(file, query.at, latest).await?;
    if query.at == latest {
        return Ok(range_now(file, query).await?);
    }
    let within = within(&query.keys, "key");
    let current: Vec<(Vec<u8>, i64)> =
        sqlx::query_as(AssertSqlSafe(format!("SELECT key, place FROM current WHERE {within} ORDER BY key")))
            .bind(&query.keys.start[..])
            .bind(&query.keys.end[..])
            .fetch_all(&mut *file)
            .await?;
    let later: Vec<(Vec<u8>, i64, i64)> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT key, before, min(place) FROM change WHERE place >= ?3 AND {within} GROUP BY key"
    )))
    .bind(&query.keys.start[..])
    .bind(&query.keys.end[..])
    .bind(place(query.at + 1, 0))
    .fetch_all(&mut *file)
    .await?;
    let later = later.into_iter().map(|(key, before, _)| (key, before)).collect();
    let mut places = revision::as_of(current, later);
    let count = places.len() as i64;
    if let Ok(limit) = usize::try_from(query.limit) {
        places.truncate(limit);
    }
    let list = serde_json::to_string(&places).map_err(|error| Fault::Storage(error.to_string()))?;
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT change.key, CASE WHEN ?2 THEN NULL ELSE change.value END, change.create_revision,
                change.place, change.version, change.lease
         FROM json_each(?1) AS wanted JOIN change ON change.place = wanted.value ORDER BY wanted.key",
    )
    .bind(list)
    .bind(query.keys_only)
    .fetch_all(&mut *file)
    .await?;
    let items = rows.into_iter().filter_map(key_value).collect();
    Ok(Slice { items, count, revision: latest })
}

/// The oldest revision that can be read.
pub(crate) async fn compacted(file: &mut SqliteConnection) -> Result<Revision, sqlx::Error> {
    sqlx::query_scalar("SELECT value FROM meta WHERE name = 'compacted'").fetch_one(file).await
}

/// Whether a revision can be read in the snapshot of `file`.
pub(crate) async fn readable(
    file: &mut SqliteConnection,
    at: Revision,
    latest: Revision,
) -> Result<(), Fault> {
    let oldest = compacted(file).await?;
    if at > latest {
        Err(Fault::Future)
    } else if at < oldest {
        Err(Fault::Compacted { oldest })
    } else {
        Ok(())
    }
}

/// The events of an interval from a revision on, over at most [`STEP`] revisions, and the revision to go on from.
pub(crate) async fn replay(
    readers: &SqlitePool,
    keys: &Interval,
    from: Revision,
) -> Result<(Vec<Event>, Revision), Fault> {
    let mut snapshot = readers.begin().await?;
    let latest = latest(&mut snapshot).await?;
    readable(&mut snapshot, from.min(latest), latest).await?;
    let until = (from + STEP).min(latest + 1);
    type Row = (Vec<u8>, Vec<u8>, i64, i64, i64, i64, bool);
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT key, value, create_revision, place, version, lease, deleted FROM change
         WHERE place >= ?3 AND place < ?4 AND {} ORDER BY place",
        within(keys, "key")
    )))
    .bind(&keys.start[..])
    .bind(&keys.end[..])
    .bind(place(from, 0))
    .bind(place(until, 0))
    .fetch_all(&mut *snapshot)
    .await?;
    let mut before = before(&mut snapshot, keys, from, until).await?;
    snapshot.commit().await?;
    let events = rows.into_iter().map(|(key, value, created, changed, version, lease, deleted)| {
        let prev_kv = before.remove(&changed);
        let kv =
            key_value((Some(key), Some(value), Some(created), Some(changed), Some(version), Some(lease)));
        event(kv, prev_kv, deleted)
    });
    Ok((events.collect(), until.max(from)))
}

/// What the changes of a stretch of revisions replaced, by the place of the change.
async fn before(
    file: &mut SqliteConnection,
    keys: &Interval,
    from: Revision,
    until: Revision,
) -> Result<HashMap<Place, KeyValue>, sqlx::Error> {
    type Row = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT later.place, {COLUMNS} FROM change AS later JOIN change ON change.place = later.before
         WHERE later.place >= ?3 AND later.place < ?4 AND {}",
        within(keys, "later.key")
    )))
    .bind(&keys.start[..])
    .bind(&keys.end[..])
    .bind(place(from, 0))
    .bind(place(until, 0))
    .fetch_all(file)
    .await?;
    let pairs = rows.into_iter().filter_map(|(later, key, value, created, changed, version, lease)| {
        Some((later, key_value((key, value, created, changed, version, lease))?))
    });
    Ok(pairs.collect())
}
