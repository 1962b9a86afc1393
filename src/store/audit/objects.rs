//! The trail's objects in the database, held against what the migrations make: a view that shows something else, a trigger that erases, a
//! rule that drops what is written, would leave chains that hold and a trail that lies.
//!
//! What the migrations make is made anew and asked in the same words as what there is: on SQLite by the migrations themselves, in memory;
//! on PostgreSQL from a text (`objects_postgres.sql`) as temporary objects in a transaction that is rolled back, so that no version's way of
//! writing a view matters. A fresh database is sound by this, so a migration that the text does not follow fails every test of `verify`.

use super::super::connection::{AnyConnection, Location, Purpose};
use super::super::error::StoreError;
use super::super::migrations;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;
use std::collections::BTreeSet;

const POSTGRES: &str = include_str!("objects_postgres.sql");

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

fn lines(connection: &mut AnyConnection, query: &str) -> Result<BTreeSet<String>, StoreError> {
    let rows: Vec<Line> = diesel::sql_query(query).load(connection)?;
    // Where a line is broken is nobody's doing.
    Ok(rows.into_iter().map(|row| row.line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
}

/// What of the trail's objects is not as the migrations make it; `None` if nothing is.
pub(super) fn flaw_of_objects(location: &Location) -> Result<Option<String>, StoreError> {
    let (expected, found, strangers) = match location {
        Location::Sqlite(_) => of_sqlite(location)?,
        Location::Postgres(_) => of_postgres(location)?,
    };
    let other =
        |line: &String| format!("the trail's objects in the database are not as the migrations make them: {}", short(line));
    let missing = expected.difference(&found).next().map(|line| format!("{}; that is altered or missing", other(line)));
    Ok(missing.or_else(|| strangers.difference(&expected).next().map(|line| format!("{}; that is not theirs", other(line)))))
}

fn short(line: &str) -> String {
    line.chars().take(120).collect()
}

type Objects = (BTreeSet<String>, BTreeSet<String>, BTreeSet<String>);

fn of_sqlite(location: &Location) -> Result<Objects, StoreError> {
    // What is temporary would be another connection's.
    let all = "SELECT type || ' ' || name || ' on ' || tbl_name || ': ' || coalesce(sql, '') AS line FROM sqlite_master \
               WHERE tbl_name LIKE 'audit\\_%' ESCAPE '\\'";
    let strangers = "SELECT type || ' ' || name || ' on ' || tbl_name || ': ' || coalesce(sql, '') AS line FROM sqlite_master \
                     WHERE type = 'trigger' AND (tbl_name LIKE 'audit\\_%' ESCAPE '\\' OR sql LIKE '%audit\\_%' ESCAPE '\\')";
    let expected = lines(&mut migrations::in_memory()?, all)?;
    let mut connection = AnyConnection::open(location, Purpose::Reading)?;
    Ok((expected, lines(&mut connection, all)?, lines(&mut connection, strangers)?))
}

/// Relations of a schema by these names: what each is made of, a line for each part.
fn parts(schema: &str, named: &str) -> String {
    let of = format!("FROM pg_class c WHERE c.relnamespace = {schema} AND c.relname IN ({named})");
    let join = |table: &str, on: &str| {
        format!("FROM pg_class c JOIN {table} WHERE {on} AND c.relnamespace = {schema} AND c.relname IN ({named})")
    };
    [
        format!(
            "SELECT c.relname || ' is of kind ' || c.relkind::text || ', by ' || coalesce(pg_get_partkeydef(c.oid), 'nothing') || \
             CASE WHEN c.relrowsecurity OR c.relforcerowsecurity THEN ', with hidden rows' ELSE '' END AS line {of}"
        ),
        format!(
            "SELECT c.relname || '.' || a.attname || ' is ' || format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END \
             || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') {}",
            join("pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum", "a.attnum > 0 AND NOT a.attisdropped")
        ),
        format!(
            "SELECT c.relname || ' has the index ' || x.relname || CASE WHEN i.indisunique THEN ' unique' ELSE '' END || CASE WHEN i.indisvalid THEN '' ELSE ' invalid' END || ' of ' \
             || (SELECT string_agg(pg_get_indexdef(i.indexrelid, k, true), ', ' ORDER BY k) FROM generate_series(1, i.indnkeyatts::int) k) \
             || coalesce(' where ' || pg_get_expr(i.indpred, i.indrelid), '') {}",
            join("pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid", "true")
        ),
        format!("SELECT c.relname || ' shows ' || pg_get_viewdef(c.oid) {of} AND c.relkind = 'v'"),
        format!("SELECT c.relname || ' has the rule ' || r.rulename {}", join("pg_rewrite r ON r.ev_class = c.oid", "r.rulename <> '_RETURN'")),
        format!("SELECT c.relname || ' has the policy ' || p.polname {}", join("pg_policy p ON p.polrelid = c.oid", "true")),
        format!("SELECT c.relname || ' has the trigger ' || t.tgname {}", join("pg_trigger t ON t.tgrelid = c.oid", "NOT t.tgisinternal")),
    ]
    .join(" UNION ALL ")
}

/// What may be added to a relation and would act on the trail: on the trail's own relations and their partitions, and triggers elsewhere
/// whose function names them.
const STRANGERS: &str = "WITH trail AS (SELECT oid, relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname LIKE 'audit\\_%') \
    SELECT c.relname || ' has the trigger ' || t.tgname AS line FROM trail c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT t.tgisinternal \
    UNION ALL SELECT c.relname || ' has the rule ' || r.rulename FROM trail c JOIN pg_rewrite r ON r.ev_class = c.oid WHERE r.rulename <> '_RETURN' \
    UNION ALL SELECT c.relname || ' has the policy ' || p.polname FROM trail c JOIN pg_policy p ON p.polrelid = c.oid \
    UNION ALL SELECT 'a trigger on ' || c.relname || ' acts on the trail: ' || t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
        JOIN pg_proc f ON f.oid = t.tgfoid WHERE NOT t.tgisinternal AND f.prosrc LIKE '%audit\\_%' AND c.oid NOT IN (SELECT oid FROM trail) \
    UNION ALL SELECT x.relname || ' is no partition of the month in its name' FROM trail p JOIN pg_inherits i ON i.inhparent = p.oid \
        JOIN pg_class x ON x.oid = i.inhrelid WHERE x.relkind = 'r' AND CASE WHEN x.relname ~ ('^' || p.relname || '_[0-9]{1,9}$') \
        THEN pg_get_expr(x.relpartbound, x.oid) <> format('FOR VALUES FROM (%L) TO (%L)', substr(x.relname, length(p.relname) + 2), \
        (substr(x.relname, length(p.relname) + 2)::bigint + 1)::text) ELSE true END";

fn of_postgres(location: &Location) -> Result<Objects, StoreError> {
    // Of a connection of its own, which ends with it: nobody else's sees what is temporary.
    let mut connection = AnyConnection::open(location, Purpose::Writing)?;
    let named = POSTGRES.lines().filter_map(|line| line.strip_prefix("CREATE TEMP ")?.split_whitespace().nth(1));
    let named = named.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    // Names are written without their schema where they are found without it: what there is, before what is made hides it.
    let found = lines(&mut connection, &parts("current_schema()::regnamespace", &named))?;
    let strangers = lines(&mut connection, STRANGERS)?;
    connection.batch_execute("BEGIN")?;
    connection.batch_execute(POSTGRES)?;
    let expected = lines(&mut connection, &parts("pg_my_temp_schema()", &named))?;
    connection.batch_execute("ROLLBACK")?;
    Ok((expected, found, strangers))
}
