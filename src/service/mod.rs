//! What can be done: use cases, each one transaction with one audit event.
//!
//! The services are reached only through a *caller*: [`Anyone`], [`Authenticated`], [`SignedIn`], [`SuperUser`] or [`TrustedApplication`]. Each has just the
//! methods that it may call, so a use case that is not allowed to a caller does not exist for it. How one becomes another is told in
//! [`caller`]. The use cases of a noun are in the file of that noun.

mod amend;
mod api_keys;
mod applications;
mod attribute_batch;
mod audit;
mod backup;
mod belongings;
pub mod caller;
mod check_account;
mod confirm;
mod context;
mod courier;
mod custom_attributes;
mod did;
mod difference;
mod enrolment;
mod errands;
mod export;
mod find;
mod first_start;
mod groups;
mod hooks;
mod immediate_sign_up;
mod import;
mod known;
mod lanes;
mod leniency;
mod linked_accounts;
mod lockout;
mod mend;
mod networks;
mod notices;
#[doc(hidden)]
pub mod outside;
mod paging;
mod passwords;
mod post;
mod proof;
mod proven;
mod quota;
mod readiness;
mod recent;
mod refusals;
mod resets;
mod revise;
mod rollback;
mod roster;
mod second_factor;
mod seen;
mod sessions;
mod showing;
mod sign_in;
mod sign_up;
mod signed_heads;
mod source;
mod tidings;
mod tokens;
mod users;
mod vault;
mod vitals;

pub use amend::Amendment;
pub use api_keys::{Lifetime, NewApiKey};
pub use attribute_batch::{Write, Writing};
pub use audit::{AuditPage, AuditQuery, Finding, Search, fresh_cid};
pub use belongings::{Belongings, Brought};
pub use caller::{Anyone, Authenticated, Bearer, Operator, SignedIn, SuperUser, TrustedApplication};
pub use check_account::Checked;
pub use context::{Call, Claims, Context, LONGEST_AGENT, Trail};
pub use custom_attributes::Attributes;
pub use enrolment::Acceptance;
pub use export::{Export, PersonData};
pub use find::{Filter, Find, Found, Order};
pub use groups::Again;
pub use hooks::{Delivery, HookPatch, NewHook};
pub use immediate_sign_up::ImmediateSignUp;
pub use import::{Import, Intake, NewIds};
pub use leniency::Leniency;
pub use paging::LARGEST_PAGE;
pub use post::Post;
pub use resets::{Addressee, Finish, Opened};
pub use revise::Revision;
pub use rollback::AcceptedRollback;
pub use roster::{Listed, Names, Numbered};
pub use second_factor::{Enrolment, RecoveryCode};
pub use seen::{Seen, Whom};
pub use sessions::{Introspection, SessionEntry};
pub use sign_in::{NewSession, SignIn};
pub use sign_up::{Confirmed, SIGN_UP, SignUp};
pub use signed_heads::SignedHead;
pub use source::{Connect, Ecm, Source, Zato};
pub use tokens::{Issued, RotatedKeys};
pub use users::{NewUser, Password};
pub use vault::Rotated;
pub use vitals::{Vitals, Waiting};

use crate::auth::hashing::Hasher;
use crate::auth::keys::Keys;
use crate::auth::mark_file::MarkFile;
use crate::auth::policy::Policy;
use crate::domain::audit::End;
use crate::domain::chance::Entropy;
use crate::domain::outbox;
use crate::domain::time::Clock;
use crate::error::Result;
use crate::outbound::Carrier;
use crate::outbound::hook::Poster;
use crate::settings::{self, Settings};
use crate::store::Store;
use audit::Distrust;
use courier::{Bells, Carriers};
use known::Memories;
pub use known::WrittenView;
use lanes::Lanes;
use lockout::Lockout;
use quota::Quota;
use readiness::Readiness;
use recent::Recent;
use refusals::Refusals;
use std::sync::Arc;
use std::time::Duration;
use vault::Vault;

/// What every use case needs. Clones share it.
#[derive(Clone)]
pub struct Services {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    hasher: Hasher,
    keys: Keys,
    vault: Vault,
    memories: Memories,
    carriers: Carriers,
    lanes: Lanes,
    /// Messages that may wait for one hook.
    max_waiting: u32,
    /// How long API keys last.
    api_keys: api_keys::Limits,
    tokens: settings::Tokens,
    audit: settings::Audit,
    bells: Bells,
    post: Post,
    readiness: Readiness,
    distrust: Distrust,
    mark_file: MarkFile,
    /// Whether this process leaves the mark: one that serves, and can write it.
    keeps_mark: std::sync::atomic::AtomicBool,
    lockout: Lockout,
    /// Refusals that one event stands for.
    refusals: Refusals,
    /// What users' own attributes may add to the trail.
    quota: Quota,
    /// Of whom a second factor is demanded.
    second_factor: settings::SecondFactor,
    /// Passwords of linked accounts that were right a moment ago.
    recent: Recent,
    policy: Policy,
    /// What ends within this time is told at sign-in.
    notice: Duration,
    /// Whose codes an authenticator says they are.
    issuer: String,
    idle: Duration,
    absolute: Duration,
    connect: settings::Connect,
    zato_parity: settings::ZatoParity,
    ecm_parity: settings::EcmParity,
    clock: Clock,
    entropy: Entropy,
}

/// What usher knows of the world outside, and how it gets there.
pub struct Outside {
    /// What the settings say of letters and links.
    pub post: Post,
    /// By which way mail goes, if there is one.
    pub mail: Option<Arc<dyn Carrier>>,
    /// What is remembered of the audit trail.
    pub mark_file: MarkFile,
}

impl Services {
    /// Puts the services together.
    ///
    /// # Errors
    /// One line: what a setting names cannot be used.
    pub fn new(
        settings: &Settings,
        store: Store,
        hasher: Hasher,
        keys: Keys,
        outside: Outside,
        clock: Clock,
        entropy: Entropy,
    ) -> std::result::Result<Self, String> {
        let passwords = &settings.passwords;
        let policy = Policy {
            min_length: passwords.min_length,
            min_length_with_totp: passwords.min_length_with_totp,
            life: passwords.life(),
        };
        let memories = Memories { uses: store.memory(), applications: store.memory() };
        let lockout = Lockout::new(&settings.lockout, &settings.links, keys.addresses.clone());
        let inner = Inner {
            store,
            memories,
            hasher,
            vault: Vault::new(keys.clone(), entropy.clone()),
            carriers: Carriers { mail: outside.mail, hook: Poster::new(&settings.hooks)? },
            lanes: Lanes::default(),
            max_waiting: settings.hooks.max_waiting,
            api_keys: api_keys::Limits::read(&settings.api_keys),
            tokens: settings.tokens.clone(),
            audit: settings.audit.clone(),
            bells: Bells::default(),
            post: outside.post,
            keys,
            readiness: Readiness::default(),
            distrust: Distrust::default(),
            mark_file: outside.mark_file,
            keeps_mark: std::sync::atomic::AtomicBool::new(false),
            lockout,
            refusals: Refusals::of(settings),
            quota: Quota::new(settings.audit.user_bytes_per_hour),
            second_factor: settings.sign_in.second_factor,
            recent: Recent::new(&entropy),
            policy,
            notice: passwords.notice(),
            issuer: settings.totp.issuer.clone(),
            idle: settings.sessions.idle(),
            absolute: settings.sessions.absolute(),
            connect: settings.connect.clone(),
            zato_parity: settings.zato_parity,
            ecm_parity: settings.ecm_parity,
            clock,
            entropy,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The clock that calls take their time from.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The source that correlation ids are drawn from.
    pub fn entropy(&self) -> &Entropy {
        &self.inner.entropy
    }

    /// Up to when every change is heard of, whoever made it; `None` if changes are not heard of now, and every call reads the database.
    pub fn heard_of_changes(&self) -> Option<std::time::Instant> {
        self.inner.store.heard()
    }

    /// Looks whether the database demands a newer program than this one, and why; if so nothing is answered until it no longer does.
    ///
    /// # Errors
    /// The database fails.
    pub async fn is_outgrown(&self) -> Result<Option<String>> {
        self.inner.store.look_at_contract().await
    }

    /// Removes what has ended by itself: expired sessions, forgotten counts. Correctness never depends on it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn sweep(&self) -> Result<()> {
        /// Rows in one transaction: few enough to keep nobody waiting.
        const STRIDE: i64 = 500;
        /// Strides in one round.
        const STRIDES: usize = 200;
        let now = self.inner.clock.now();
        for _ in 0..STRIDES {
            let sweep = move |tx: &mut crate::store::Tx<'_>| {
                let swept = [
                    tx.sweep_sessions(now, STRIDE)?,
                    tx.sweep_tallies(now - lockout::KEPT, STRIDE)?,
                    tx.sweep_known_addresses(now - lockout::KEPT, STRIDE)?,
                    tx.sweep_messages(now - outbox::KEPT, STRIDE)?,
                    tx.sweep_attributes(now, STRIDE)?,
                    tx.sweep_links(now, STRIDE)?,
                ];
                tx.sweep_hook_secrets(now)?;
                Ok(swept.into_iter().max().unwrap_or_default())
            };
            if self.inner.store.keep_count(sweep).await? < STRIDE as usize {
                break;
            }
        }
        self.sweep_unconfirmed().await
    }

    /// Takes what the audit trail has gained into its index, a stride at a time; correctness never depends on it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn index_audit(&self) -> Result<()> {
        let store = &self.inner.store;
        while store.read(|snapshot| Ok(snapshot.has_audit_tail()?)).await? {
            if store.keep_count(|tx| Ok(tx.index_audit()?)).await? == 0 {
                // Another node is at it.
                break;
            }
        }
        Ok(())
    }

    /// Writes the heads of the audit chains into the log, those that have grown since `told`: a log that is kept elsewhere shows later
    /// whether an older head was put back.
    ///
    /// # Errors
    /// The database fails.
    pub async fn tell_heads(&self, told: &mut Vec<End>) -> Result<()> {
        let heads = self.inner.store.audit_heads().await?;
        let grown: Vec<End> = heads.iter().filter(|end| end.head.seq > 0 && !told.contains(end)).cloned().collect();
        let signed = if grown.is_empty() { Vec::new() } else { self.sign_heads(&grown).await? };
        for SignedHead { chain, seq, hash, month, kid, signature } in signed {
            tracing::info!(target: "usher::audit", chain, seq, hash, month, %kid, signature, "audit head");
        }
        *told = heads;
        Ok(())
    }

    /// Finishes accepted writes and stops.
    pub fn close(&self) {
        self.inner.store.close();
        if self.inner.keeps_mark.load(std::sync::atomic::Ordering::Acquire)
            && let Err(cause) = self.keep_mark()
        {
            tracing::warn!(cause, "the mark of the audit trail is not of today");
        }
    }
}
