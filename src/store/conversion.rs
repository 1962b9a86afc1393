//! What a database of before schema 16 lacks is filled in at the first start, before anything is served: in one transaction, and only if
//! every chain of the trail holds. The same fills in what the migrations themselves put into a new database.
//!
//! The heads of the trail say whether it has happened: those of format 1 are of a database that lacks it, and from the first of format 2 on
//! a row without a right MAC is not there. They are signed last of all, in the same transaction.

use super::Tx;
use super::audit::{self, Found};
use super::connection::AnyConnection;
use super::error::StoreError;
use super::rows;
use crate::domain::chance::Entropy;
use crate::domain::row_mac::RowKeys;
use crate::domain::secret::MacKey;
use diesel::RunQueryDsl as _;
use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Bool;
use std::time::Duration;

/// The keys of the key file by which the store confirms what it reads.
#[derive(Clone, Debug)]
pub struct Macs {
    /// For the heads and beginnings of the audit chains.
    pub audit: MacKey,
    /// For the rows of users, sessions and whatever else opens something.
    pub rows: RowKeys,
}

/// Fills in what rows lack. It is run once in the life of a database, or again if the transaction that it was in came to nothing.
type Fill = fn(&mut Tx<'_>, &Macs, &Entropy) -> Result<(), StoreError>;

/// What is filled in, in this order.
const FILLS: &[Fill] = &[rows::bind_all];

/// Keeps two nodes from converting one database at once; asked for again and again, as nobody knows how long the other one takes.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(8461300257123107) AS is_held";
const PAUSE: Duration = Duration::from_millis(250);

#[derive(diesel::QueryableByName)]
struct Lock {
    #[diesel(sql_type = Bool)]
    is_held: bool,
}

/// Makes the chains of a new database, or converts one of before; of any other, checks the heads.
///
/// # Errors
/// The database fails, or something in the trail does not hold: then nothing was signed.
pub(super) fn prepare(connection: &mut AnyConnection, macs: &Macs, is_marked: bool, entropy: &Entropy) -> Result<(), StoreError> {
    // Almost always there is nothing to do, and nobody is to wait for it.
    if audit::is_converted(connection)? {
        return audit::prepare(connection, &macs.audit).map(drop);
    }
    // Whoever leaves a mark has converted it. To fill in what rows of before lack, once more, would make them rows of today.
    if is_marked && audit::has_heads(connection)? {
        return Err(StoreError::Broken(
            "the database is of before schema 16, and there is a mark of its audit trail, which only later programs leave: it was put back. \
             Where that was meant, remove the mark (setting audit.mark_file)"
                .to_owned(),
        ));
    }
    connection.begin_write()?;
    while connection.is_postgres() && !diesel::sql_query(LOCK).get_result::<Lock>(connection)?.is_held {
        std::thread::park_timeout(PAUSE);
    }
    let prepared = fill(connection, macs, entropy);
    connection.batch_execute(if prepared.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    prepared
}

fn fill(connection: &mut AnyConnection, macs: &Macs, entropy: &Entropy) -> Result<(), StoreError> {
    let found = audit::prepare(connection, &macs.audit)?;
    if found == Found::Converted {
        return Ok(());
    }
    if found == Found::Unconverted {
        tracing::info!("the audit trail is walked, and signed in its new form");
        audit::sign_anew(connection, &macs.audit)?;
    }
    FILLS.iter().try_for_each(|fill| fill(&mut Tx(connection, &macs.rows), macs, entropy))
}
