//! The SQL types that the two databases spell differently. Only names: how values are read and written is the store's business.

/// `uuid` on PostgreSQL, a 16-byte blob on SQLite.
#[derive(Debug, Clone, Copy, diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(name = "uuid"), sqlite_type(name = "Binary"))]
pub struct Uuid;

/// `timestamptz` on PostgreSQL, microseconds since the epoch as an integer on SQLite.
#[derive(Debug, Clone, Copy, diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(name = "timestamptz"), sqlite_type(name = "Long"))]
pub struct Instant;
