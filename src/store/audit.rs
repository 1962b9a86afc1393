//! The audit trail in the database: appending to chains, searching, verifying. What an event and a chain are is told in
//! [`crate::domain::audit`].
//!
//! There is a fixed number of chains, so that writers need not wait for each other: one on SQLite, which has one writer anyway,
//! eight on PostgreSQL. A transaction takes whichever chain is free and holds it until it commits; a chain belongs to nobody and
//! nothing is left behind by a writer that dies.

use super::connection::AnyConnection;
use super::error::StoreError;
use super::{Snapshot, Store, Tx, is_unstorable};
use crate::domain::audit::{Action, Actor, ActorType, Changes, Event, Head, Link, Outcome, audit_chains, audit_events};
use crate::domain::chance::Entropy;
use crate::domain::ids::{CredentialId, UserId};
use crate::domain::secret::MacKey;
use crate::domain::time::Utc;
use crate::error::Result;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary};

const SQLITE_CHAINS: i64 = 1;
const POSTGRES_CHAINS: i64 = 8;

/// Links read at a time while walking a chain.
const STRIDE: i64 = 1000;

fn chains(connection: &AnyConnection) -> i64 {
    if connection.is_postgres() { POSTGRES_CHAINS } else { SQLITE_CHAINS }
}

#[derive(diesel::QueryableByName)]
struct HeadRow {
    #[diesel(sql_type = BigInt)]
    chain: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Binary)]
    hash: Vec<u8>,
    #[diesel(sql_type = Binary)]
    mac: Vec<u8>,
}

impl HeadRow {
    /// The head, if its MAC holds. Going on from one that does not would sign what someone else wrote.
    fn confirmed(self, key: &MacKey) -> Result<Head, StoreError> {
        let head = Head { chain: self.chain, seq: self.seq, hash: self.hash };
        if key.confirms(&head.canonical(), &self.mac) {
            return Ok(head);
        }
        Err(StoreError::Broken(format!(
            "audit chain {} at event {}: its head does not match its MAC; either the key file is not this database's or the trail was altered",
            head.chain, head.seq
        )))
    }
}

#[derive(Queryable, Insertable)]
#[diesel(table_name = audit_events, treat_none_as_default_value = false)]
struct LinkRow {
    chain: i64,
    seq: i64,
    time: Utc,
    cid: String,
    action: Action,
    outcome: Outcome,
    reason: Option<String>,
    actor_type: ActorType,
    actor: Option<String>,
    actor_session: Option<CredentialId>,
    subject: Option<String>,
    application: Option<String>,
    remote_addr: Option<String>,
    traceparent: Option<String>,
    changes: Option<String>,
    changes_salt: Option<Vec<u8>>,
    changes_digest: Option<Vec<u8>>,
    hash: Vec<u8>,
}

impl From<Link> for LinkRow {
    fn from(link: Link) -> Self {
        let Event { time, cid, action, outcome, reason, actor, subject, application, remote_addr, traceparent, changes } =
            link.event;
        Self {
            chain: link.chain,
            seq: link.seq,
            time,
            cid,
            action,
            outcome,
            reason,
            actor_type: actor.kind,
            actor: actor.id,
            actor_session: actor.session,
            subject,
            application,
            remote_addr,
            traceparent,
            changes: changes.map(|c| c.as_text().to_owned()),
            changes_salt: link.changes_salt,
            changes_digest: link.changes_digest,
            hash: link.hash,
        }
    }
}

impl LinkRow {
    fn into_link(self) -> Link {
        Link {
            chain: self.chain,
            seq: self.seq,
            event: Event {
                time: self.time,
                cid: self.cid,
                action: self.action,
                outcome: self.outcome,
                reason: self.reason,
                actor: Actor { kind: self.actor_type, id: self.actor, session: self.actor_session },
                subject: self.subject,
                application: self.application,
                remote_addr: self.remote_addr,
                traceparent: self.traceparent,
                changes: self.changes.map(Changes::from_text),
            },
            changes_digest: self.changes_digest,
            changes_salt: self.changes_salt,
            hash: self.hash,
        }
    }
}

/// Makes the chains of an empty database; of any other, checks that their heads are this key's. Chains are made at no other time: a
/// head that is missing was removed, and a new one would sign the gap.
pub(super) fn prepare(connection: &mut AnyConnection, key: &MacKey) -> Result<(), StoreError> {
    let heads = diesel::sql_query(HEADS).load::<HeadRow>(connection)?;
    if heads.is_empty() && is_unused(connection)? {
        for chain in 1..=chains(connection) {
            let head = Head::of_empty(chain);
            // Another node may do the same at the same time.
            diesel::sql_query(
                "INSERT INTO audit_chains (chain, seq, hash, mac) VALUES ($1, $2, $3, $4) ON CONFLICT (chain) DO NOTHING",
            )
            .bind::<BigInt, _>(chain)
            .bind::<BigInt, _>(head.seq)
            .bind::<Binary, _>(&head.hash)
            .bind::<Binary, _>(key.mac(&head.canonical()))
            .execute(connection)?;
        }
        return Ok(());
    }
    for chain in 1..=chains(connection) {
        if !heads.iter().any(|row| row.chain == chain) {
            return Err(StoreError::Broken(format!(
                "audit chain {chain} at event 0: its head is missing; the trail was altered"
            )));
        }
    }
    heads.into_iter().try_for_each(|row| row.confirmed(key).map(drop))
}

/// Whether nothing has happened yet in this database.
fn is_unused(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    let event: Option<i64> = audit_events::table.select(audit_events::seq).limit(1).get_result(connection).optional()?;
    Ok(event.is_none() && Snapshot(connection).has_no_users()?)
}

const HEADS: &str = "SELECT chain, seq, hash, mac FROM audit_chains";

/// Takes a free chain and holds it until the transaction ends.
fn take_chain(connection: &mut AnyConnection, key: &MacKey, entropy: &Entropy) -> Result<Head, StoreError> {
    if !connection.is_postgres() {
        return diesel::sql_query(HEADS).get_result::<HeadRow>(connection)?.confirmed(key);
    }
    let free = diesel::sql_query(format!("{HEADS} ORDER BY chain LIMIT 1 FOR UPDATE SKIP LOCKED"))
        .get_result::<HeadRow>(connection)
        .optional()?;
    if let Some(row) = free {
        return row.confirmed(key);
    }
    // All are busy: wait for any one.
    let [byte] = entropy.bytes();
    let row = diesel::sql_query(format!("{HEADS} WHERE chain = $1 FOR UPDATE"))
        .bind::<BigInt, _>(1 + i64::from(byte) % POSTGRES_CHAINS)
        .get_result::<HeadRow>(connection)?;
    row.confirmed(key)
}

/// Appends events to a chain, within the transaction that `connection` is in.
pub(super) fn append(
    connection: &mut AnyConnection,
    events: Vec<Event>,
    key: &MacKey,
    entropy: &Entropy,
) -> Result<(), StoreError> {
    let mut head = take_chain(connection, key, entropy)?;
    for event in events {
        let salt = if event.changes.is_some() { entropy.bytes() } else { [0; 16] };
        let link = Link::forge(&head, event, salt);
        head = link.as_head();
        diesel::insert_into(audit_events::table).values(LinkRow::from(link)).execute(connection)?;
    }
    diesel::update(audit_chains::table.find(head.chain))
        .set((
            audit_chains::seq.eq(head.seq),
            audit_chains::hash.eq(&head.hash),
            audit_chains::mac.eq(key.mac(&head.canonical())),
        ))
        .execute(connection)?;
    Ok(())
}

impl Tx<'_> {
    /// Removes the values of a user's changed attributes from the trail. The chains go on holding their digests.
    ///
    /// # Errors
    /// The database fails.
    pub(super) fn erase_changes(&mut self, user_id: UserId) -> Result<(), StoreError> {
        let of_user = audit_events::table.filter(audit_events::subject.eq(user_id.to_string()));
        let (gone, no_salt): (Option<String>, Option<Vec<u8>>) = (None, None);
        diesel::update(of_user).set((audit_events::changes.eq(gone), audit_events::changes_salt.eq(no_salt))).execute(self.0)?;
        Ok(())
    }
}

/// An event's place in the order of answers: by time, then by chain and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// When the call began.
    pub time: Utc,
    /// The chain.
    pub chain: i64,
    /// The number in it.
    pub seq: i64,
}

/// What to look for; everything given must hold.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The correlation id.
    pub cid: Option<String>,
    /// Who acted.
    pub actor: Option<String>,
    /// On whom or what.
    pub subject: Option<String>,
    /// Who acted, or on whom or what.
    pub about: Option<String>,
    /// What the call set out to do.
    pub action: Option<Action>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Through which application.
    pub application: Option<String>,
    /// Not before.
    pub from: Option<Utc>,
    /// Before.
    pub to: Option<Utc>,
    /// After this place.
    pub after: Option<Position>,
    /// Newest first.
    pub newest_first: bool,
}

impl Snapshot<'_> {
    /// The first `limit` events that match, in order.
    ///
    /// # Errors
    /// The database fails.
    pub fn audit_events(&mut self, search: &Search, limit: i64) -> Result<Vec<Link>> {
        use audit_events::dsl;
        let texts = [&search.cid, &search.actor, &search.subject, &search.about, &search.application];
        if texts.into_iter().flatten().any(|text| is_unstorable(text)) {
            return Ok(Vec::new());
        }
        let mut query = dsl::audit_events.into_boxed();
        if let Some(cid) = &search.cid {
            query = query.filter(dsl::cid.eq(cid));
        }
        if let Some(actor) = &search.actor {
            query = query.filter(dsl::actor.eq(actor));
        }
        if let Some(subject) = &search.subject {
            query = query.filter(dsl::subject.eq(subject));
        }
        if let Some(about) = &search.about {
            query = query.filter(dsl::actor.eq(about).or(dsl::subject.eq(about)));
        }
        if let Some(action) = search.action {
            query = query.filter(dsl::action.eq(action));
        }
        if let Some(outcome) = search.outcome {
            query = query.filter(dsl::outcome.eq(outcome));
        }
        if let Some(application) = &search.application {
            query = query.filter(dsl::application.eq(application));
        }
        if let Some(from) = search.from {
            query = query.filter(dsl::time.ge(from));
        }
        if let Some(to) = search.to {
            query = query.filter(dsl::time.lt(to));
        }
        if let Some(Position { time, chain, seq }) = search.after {
            // The first comparison alone says nothing new; it lets the index be entered at the right place.
            let later_in_chain = dsl::chain.eq(chain).and(dsl::seq.gt(seq));
            let earlier_in_chain = dsl::chain.eq(chain).and(dsl::seq.lt(seq));
            query = if search.newest_first {
                query.filter(dsl::time.le(time)).filter(dsl::time.lt(time).or(dsl::chain.lt(chain)).or(earlier_in_chain))
            } else {
                query.filter(dsl::time.ge(time)).filter(dsl::time.gt(time).or(dsl::chain.gt(chain)).or(later_in_chain))
            };
        }
        query = if search.newest_first {
            query.order((dsl::time.desc(), dsl::chain.desc(), dsl::seq.desc()))
        } else {
            query.order((dsl::time.asc(), dsl::chain.asc(), dsl::seq.asc()))
        };
        let rows: Vec<LinkRow> = query.limit(limit).load(self.0).map_err(StoreError::from)?;
        Ok(rows.into_iter().map(LinkRow::into_link).collect())
    }

    fn links_after(&mut self, chain: i64, seq: i64) -> Result<Vec<Link>, StoreError> {
        use audit_events::dsl;
        let rows: Vec<LinkRow> = dsl::audit_events
            .filter(dsl::chain.eq(chain).and(dsl::seq.gt(seq)))
            .order(dsl::seq.asc())
            .limit(STRIDE)
            .load(self.0)?;
        Ok(rows.into_iter().map(LinkRow::into_link).collect())
    }
}

/// What a walk along the chains found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Every chain holds.
    Sound(Verified),
    /// The first break: where, and what is wrong.
    Broken {
        /// The chain.
        chain: i64,
        /// The number of the event, or where one should be.
        seq: i64,
        /// What is wrong.
        flaw: String,
    },
}

/// The extent of a sound trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Events walked.
    pub events: i64,
    /// Events whose changed values have been erased.
    pub erased: i64,
    /// The heads. Kept elsewhere, they prove later that nothing up to here was put back.
    pub heads: Vec<Head>,
}

impl Store {
    /// The heads as they are now.
    ///
    /// # Errors
    /// The database fails, or a head does not match its MAC.
    pub async fn audit_heads(&self) -> Result<Vec<Head>> {
        let key = self.inner.key.clone();
        let heads = move |snapshot: &mut Snapshot<'_>| {
            let rows = diesel::sql_query(HEADS).load::<HeadRow>(snapshot.0).map_err(StoreError::from)?;
            Ok(rows.into_iter().map(|row| row.confirmed(&key)).collect::<Result<Vec<_>, _>>()?)
        };
        self.read(heads).await
    }

    /// Walks every chain from its first event to its head.
    ///
    /// # Errors
    /// The database fails.
    pub async fn verify_audit(&self) -> Result<Finding> {
        let key = self.inner.key.clone();
        let inner = std::sync::Arc::clone(&self.inner);
        let walk = tokio::task::spawn_blocking(move || {
            inner.read(|snapshot| {
                snapshot.0.begin_snapshot().map_err(StoreError::from)?;
                let found = verify(snapshot, &key);
                snapshot.0.batch_execute("ROLLBACK").map_err(StoreError::from)?;
                found
            })
        });
        walk.await.unwrap_or_else(|_| Err(StoreError::Broken("the verification panicked".to_owned()).into()))
    }
}

fn verify(snapshot: &mut Snapshot<'_>, key: &MacKey) -> Result<Finding> {
    if !snapshot.0.is_postgres()
        && let Some(flaw) = sqlite_damage(snapshot)?
    {
        return Ok(Finding::Broken { chain: 1, seq: 0, flaw });
    }
    let mut verified = Verified::default();
    for chain in 1..=chains(snapshot.0) {
        let stored = head_of(snapshot, chain)?;
        let Some((end, mac)) = stored else {
            return Ok(Finding::Broken { chain, seq: 0, flaw: "the chain's head is missing".to_owned() });
        };
        let broken = |seq, flaw: &str| Finding::Broken { chain, seq, flaw: flaw.to_owned() };
        if !key.confirms(&end.canonical(), &mac) {
            return Ok(broken(end.seq, "the chain's head does not match its MAC"));
        }
        let mut head = Head::of_empty(chain);
        while head.seq < end.seq {
            let links = match snapshot.links_after(chain, head.seq) {
                Ok(links) => links,
                Err(StoreError::Broken(cause)) => {
                    return Ok(broken(head.seq + 1, &format!("an event from here on cannot be read: {cause}")));
                }
                Err(error) => return Err(error.into()),
            };
            if links.is_empty() {
                return Ok(broken(head.seq + 1, "the chain ends before its head"));
            }
            for link in links {
                if link.seq > end.seq {
                    return Ok(broken(link.seq, "the event stands beyond the chain's head"));
                }
                if let Some(flaw) = link.flaw_after(&head) {
                    return Ok(broken(link.seq, flaw));
                }
                verified.events += 1;
                verified.erased += i64::from(link.is_erased());
                head = link.as_head();
            }
        }
        if let Some(beyond) = snapshot.links_after(chain, end.seq)?.first() {
            return Ok(broken(beyond.seq, "the event stands beyond the chain's head"));
        }
        if head != end {
            return Ok(broken(end.seq, "the chain's last event does not match its head"));
        }
        verified.heads.push(end);
    }
    if let Some((chain, seq)) = stray(snapshot)? {
        return Ok(Finding::Broken { chain, seq, flaw: "the event belongs to no chain".to_owned() });
    }
    Ok(Finding::Sound(verified))
}

fn head_of(snapshot: &mut Snapshot<'_>, chain: i64) -> Result<Option<(Head, Vec<u8>)>, StoreError> {
    let row: Option<(i64, i64, Vec<u8>, Vec<u8>)> = audit_chains::table.find(chain).first(snapshot.0).optional()?;
    Ok(row.map(|(chain, seq, hash, mac)| (Head { chain, seq, hash }, mac)))
}

/// An event outside the chains that there are.
fn stray(snapshot: &mut Snapshot<'_>) -> Result<Option<(i64, i64)>, StoreError> {
    use audit_events::dsl;
    let chains = chains(snapshot.0);
    let outside = dsl::chain.lt(1).or(dsl::chain.gt(chains)).or(dsl::seq.lt(1));
    Ok(dsl::audit_events.filter(outside).select((dsl::chain, dsl::seq)).first(snapshot.0).optional()?)
}

#[derive(diesel::QueryableByName)]
struct Integrity {
    #[diesel(sql_type = diesel::sql_types::Text)]
    integrity_check: String,
}

/// What SQLite itself finds wrong with the pages of the trail: an index that disagrees with its table, for one.
fn sqlite_damage(snapshot: &mut Snapshot<'_>) -> Result<Option<String>, StoreError> {
    let rows: Vec<Integrity> = match diesel::sql_query("PRAGMA integrity_check(audit_events)").load(snapshot.0) {
        Ok(rows) => rows,
        Err(error) => return Ok(Some(format!("the database file is damaged: {error}"))),
    };
    Ok(rows
        .into_iter()
        .map(|r| r.integrity_check)
        .find(|line| line != "ok")
        .map(|line| format!("the database file is damaged: {line}")))
}
