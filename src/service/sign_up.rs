//! Signing up: from a form to an account whose mailbox is confirmed.
//!
//! The call answers the same whatever exists; what came of it is told to the mailbox alone ([`super::errands`]). An account that is not
//! confirmed cannot sign in, holds its name for a while, and is swept away. Whose mailbox it is decides by opening the link of one mail
//! which of several sign-ups with the address is the real one.

use super::caller::Anyone;
use super::context::Call;
use super::did::Did;
use super::difference::changes;
use super::errands::Errand;
use super::post::Page;
use super::users::{read_patch, refusals};
use super::{Password, Services};
use crate::domain::attribute::{Refused, Viewer, Why, read_member};
use crate::domain::audit::Changes;
use crate::domain::ids::UserId;
use crate::domain::letter::{Letter, LetterKind};
use crate::domain::link::LinkPurpose;
use crate::domain::secret::{PasswordHash, SignUpToken};
use crate::domain::text::{Email, Line, Name};
use crate::domain::throttle::Bucket;
use crate::domain::time::Utc;
use crate::domain::user::{ATTRIBUTES, ApprovalStatus, CreationContext, FitPassword, Patch, SignUpStatus, User};
use crate::error::{Code, Error, Result};
use crate::outbound::mail::can_be_mailed;
use crate::store::Tx;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// What one may say of oneself at a sign-up, besides the password and the application: a part of what an owner may edit, and the name.
pub const SIGN_UP: &[&str] = &["username", "email", "display_name", "first_name", "middle_name", "last_name", "lang_id"];

/// How accounts that signed up came: the `via` of their creation.
pub(super) const VIA: &str = "sign_up";

/// A filled form.
#[derive(Debug)]
pub struct SignUp {
    username: Name,
    email: Email,
    password: Password,
    patch: Patch,
    /// The application, instead of the one that the call names.
    current_app: Option<String>,
}

/// A form as an errand has it: the password is hashed by then.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Form {
    username: Name,
    email: Email,
    display_name: Option<Line>,
    first_name: Option<Line>,
    middle_name: Option<Line>,
    last_name: Option<Line>,
    lang_id: Option<i64>,
    password_hash: String,
    password_life: Option<Duration>,
    is_approval_needed: bool,
}

impl SignUp {
    /// Reads the members of a JSON object.
    ///
    /// # Errors
    /// [`Code::Invalid`] or [`Code::MemberForbidden`], naming every member at fault.
    pub fn read(mut members: Map<String, Value>) -> Result<Self> {
        let mut text = |name: &str| match members.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Error::new(Code::Invalid).at(name, "is no string")),
        };
        let missing = |name: &str| Error::new(Code::Invalid).at(name, "is missing");
        let password = Password::new(text("password")?.ok_or_else(|| missing("password"))?);
        let current_app = text("current_app")?;
        let username = members.remove("username").ok_or_else(|| missing("username"))?;
        let username =
            read_member::<Name>(&username).map_err(|why| refusals(vec![Refused { member: "username".to_owned(), why }]))?;
        // Whatever is not on the form is refused as it would be of an owner, also what an owner may edit later.
        let strays: Vec<Refused> = members
            .keys()
            .filter(|name| !SIGN_UP.contains(&name.as_str()))
            .map(|name| {
                let is_known = ATTRIBUTES.iter().any(|a| a.name == name);
                Refused { member: name.clone(), why: if is_known { Why::Forbidden } else { Why::Unknown } }
            })
            .collect();
        if !strays.is_empty() {
            return Err(refusals(strays));
        }
        let patch = read_patch(Viewer::Owner, &members)?;
        let email = patch.email.clone().flatten().ok_or_else(|| missing("email"))?;
        if !can_be_mailed(&email) {
            return Err(Error::new(Code::Invalid).at("email", "is no address that mail can be sent to"));
        }
        // A name that looks like someone's address must be the own one: people would take it for that person's.
        if username.as_str().contains('@') && username.key() != email.key() {
            return Err(Error::new(Code::Invalid).at("username", "has an @ but is not the e-mail address"));
        }
        Ok(Self { username, email, password, patch, current_app })
    }
}

impl Form {
    /// The account that the form asks for, as it is until it is confirmed.
    fn user(&self, user_id: UserId, creation_ctx: CreationContext, now: Utc) -> User {
        let mut user = User::fresh(user_id, self.username.clone(), now, creation_ctx);
        self.fill(&mut user, now);
        user
    }

    fn fill(&self, user: &mut User, now: Utc) {
        user.username = self.username.clone();
        user.login_name = self.username.clone();
        user.email = Some(self.email.clone());
        user.first_name = self.first_name.clone();
        user.middle_name = self.middle_name.clone();
        user.last_name = self.last_name.clone();
        user.lang_id = self.lang_id;
        user.display_name = self.display_name.clone().unwrap_or_else(|| user.default_display_name());
        user.sign_up_status = SignUpStatus::BeforeConfirmation;
        user.is_approval_needed = self.is_approval_needed;
        let decided = if self.is_approval_needed { ApprovalStatus::BeforeDecision } else { ApprovalStatus::Approved };
        user.decide(decided, None, now);
        // There is no second factor yet, so the password was judged as the only one.
        let hash = PasswordHash::new(self.password_hash.clone());
        user.set_password(FitPassword { hash, needs_totp: false, life: self.password_life }, false, None, now);
        user.settle_keys();
    }
}

impl Anyone {
    /// Signs up: what came of it is told by mail.
    ///
    /// # Errors
    /// [`Code::SignUpClosed`], [`Code::LinksUnavailable`], [`Code::TooManyAttempts`], [`Code::PasswordUnfit`]: none of them depends on
    /// who else has an account.
    pub async fn sign_up(self, given: SignUp) -> Result<()> {
        let Self { context, application, .. } = match &given.current_app {
            Some(name) => self.through(&name.clone()).await?,
            None => self,
        };
        if !application.is_sign_up_open {
            return Err(Error::new(Code::SignUpClosed));
        }
        context.services.post().require_mailed_links()?;
        context.count_asking().await?;
        let SignUp { username, email, password, patch, .. } = given;
        let mut form = Form {
            username,
            email,
            display_name: patch.display_name,
            first_name: patch.first_name.flatten(),
            middle_name: patch.middle_name.flatten(),
            last_name: patch.last_name.flatten(),
            lang_id: patch.lang_id.flatten(),
            password_hash: String::new(),
            password_life: context.services.inner.policy.life,
            is_approval_needed: application.is_sign_up_approval_needed,
        };
        let nobody = CreationContext { via: VIA.to_owned(), by: None, application: None, remote_addr: None, cid: None };
        let draft = form.user(UserId::from_bytes([0; 16]), nobody, context.now());
        // It was asked for, and counted so.
        if let Err(unfit) = context.services.inner.policy.check(&password, &draft, Some(application.name.as_str()), "password") {
            return Err(context.advised(unfit, password, &draft).await);
        }
        form.password_hash = context.hash(password).await?.expose().to_owned();
        context.send_on_errand(Errand::SignUp(Box::new(form))).await
    }

    /// Confirms a sign-up by the link that was mailed; tells the account's name and whether it waits for approval.
    ///
    /// # Errors
    /// [`Code::LinkInvalid`], whatever is wrong with the token.
    pub async fn confirm_sign_up(self, token: &str) -> Result<Confirmed> {
        let context = self.context;
        let invalid = |reason| move || Error::new(Code::LinkInvalid).because(reason);
        let hash = SignUpToken::parse(token).ok_or_else(invalid("link_malformed"))?.hash();
        let (services, now) = (context.services.clone(), context.now());
        let confirm = move |tx: &mut Tx<'_>| {
            let link = tx.read().link(&hash)?.ok_or_else(invalid("link_unknown"))?;
            if !link.is_good(LinkPurpose::ConfirmSignUp, now) {
                return Err(invalid("link_expired")());
            }
            // One after the other for a mailbox, so that two sign-ups that are rivals do not wait for each other crosswise.
            let email_key = tx.read().user(link.user_id)?.and_then(|user| user.email_key).unwrap_or_default();
            let mailbox = Bucket::Mailbox(email_key.clone()).key();
            tx.found_tally(&mailbox, None, now)?;
            tx.hold_tally(&mailbox)?;
            let before = tx.hold_user(link.user_id)?.ok_or_else(invalid("link_unknown"))?;
            if !tx.use_link(&hash)? {
                return Err(invalid("link_unknown")());
            }
            let mut after = before.clone();
            after.sign_up_status = SignUpStatus::Final;
            tx.save_user(&before, &after)?;
            tx.end_links_for(after.user_id, LinkPurpose::ConfirmSignUp)?;
            tx.end_rival_links(after.user_id, &email_key)?;
            let is_approval_pending = after.approval_status != ApprovalStatus::Approved;
            if !is_approval_pending {
                services.notify(tx, &after, LetterKind::Welcome, now)?;
            }
            let did = Did::to(after.user_id).changing(changes(tx, &before, &after, now)?);
            Ok((Confirmed { username: after.username, is_approval_pending }, did))
        };
        context.change(confirm).await
    }
}

/// What a confirmed sign-up is told.
#[derive(Debug)]
pub struct Confirmed {
    /// The name to sign in with.
    pub username: Name,
    /// Whether a super-user has to approve the account first.
    pub is_approval_pending: bool,
}

/// What becomes of a sign-up.
enum Course {
    /// There is an account with this address.
    AccountExists(UserId),
    /// Someone else bears the name.
    NameTaken(UserId),
    /// The same person again, before the first one was confirmed: the last one counts.
    Again(Box<User>),
    /// A new account.
    Create,
}

/// Decides on a sign-up.
pub(super) fn decide(services: &Services, tx: &mut Tx<'_>, form: &Form, call: &Call, application: Option<String>) -> Result<Did> {
    let (now, email_key) = (call.now, form.email.key());
    if services.inner.lockout.ask(tx, &Bucket::Mailbox(email_key.clone()), now)?.is_err() {
        return Ok(Did::refused("throttled", None));
    }
    let course = match (tx.read().users_by_email(&email_key, 1)?.first(), tx.read().user_by_name(&form.username.key())?) {
        (Some(known), _) => Course::AccountExists(known.user_id),
        (None, Some(other)) => {
            let is_same =
                other.sign_up_status == SignUpStatus::BeforeConfirmation && other.email_key.as_ref() == Some(&email_key);
            if is_same { Course::Again(Box::new(other)) } else { Course::NameTaken(other.user_id) }
        }
        (None, None) => Course::Create,
    };
    let letter = |kind| Letter {
        kind,
        language: services.post().language(form.lang_id),
        to: form.email.clone(),
        username: None,
        link: None,
        expiry: None,
        time: now,
    };
    let (user_id, did) = match course {
        Course::AccountExists(user_id) => {
            let letter = Letter { link: Some(services.post().forgot_link()?), ..letter(LetterKind::AccountExists) };
            services.write(tx, &letter, None)?;
            return Ok(Did::refused("email_taken", Some(user_id)));
        }
        Course::NameTaken(user_id) => {
            services.write(tx, &letter(LetterKind::NameTaken), None)?;
            return Ok(Did::refused("username_taken", Some(user_id)));
        }
        Course::Again(other) => {
            let gone = || Error::new(Code::ValueTaken);
            let before = tx.hold_user(other.user_id)?.ok_or_else(gone)?;
            // Confirmed in this very moment: the next try finds the account.
            if before.sign_up_status != SignUpStatus::BeforeConfirmation || before.email_key.as_ref() != Some(&email_key) {
                return Err(gone());
            }
            let mut after = before.clone();
            form.fill(&mut after, now);
            after.updated_time = now;
            tx.save_user(&before, &after)?;
            tx.end_links(after.user_id)?;
            (after.user_id, Did::to(after.user_id).changing(changes(tx, &before, &after, now)?))
        }
        Course::Create => {
            let creation_ctx = CreationContext {
                via: VIA.to_owned(),
                by: None,
                application,
                remote_addr: call.remote_addr.map(|a| a.to_string()),
                cid: Some(call.cid.clone()),
            };
            let mut user = form.user(UserId::mint(now, &services.inner.entropy), creation_ctx, now);
            tx.insert_user(&mut user)?;
            let user_id = user.user_id;
            let account = tx.read().account(user, now)?;
            let broken = |e: serde_json::Error| Error::new(Code::Internal).cause(e.to_string());
            let view = serde_json::to_value(account.view(Viewer::SuperUser).unwitnessed()).map_err(broken)?;
            (user_id, Did::to(user_id).changing(Changes::between(&Value::Null, &view)))
        }
    };
    let span = services.post().sign_up;
    let (token, expiry): (SignUpToken, Utc) = services.issue(tx, LinkPurpose::ConfirmSignUp, user_id, span, now)?;
    let link = services.post().link(Page::Confirm, &token)?;
    let letter = Letter { link: Some(link), expiry: Some(expiry), ..letter(LetterKind::ConfirmSignUp) };
    services.write(tx, &letter, Some(user_id))?;
    Ok(did)
}

impl Services {
    /// Removes accounts that signed up and were not confirmed while their link was good, each with its audit event.
    ///
    /// # Errors
    /// The database fails.
    pub(super) async fn sweep_unconfirmed(&self) -> Result<()> {
        /// Accounts in one round.
        const STRIDE: i64 = 200;
        let (now, span) = (self.inner.clock.now(), self.post().sign_up);
        let stale = self.inner.store.read(move |snapshot| Ok(snapshot.unconfirmed_users(now - span, now, STRIDE)?)).await?;
        for user_id in stale {
            let cid = format!("sweep-{}", UserId::mint(now, &self.inner.entropy));
            let call = Call::internal(now, cid, crate::domain::audit::Action::UserDelete);
            let context = super::Context::new(self.clone(), call);
            context.trail.set_actor(crate::domain::audit::Actor {
                kind: crate::domain::audit::ActorType::System,
                id: None,
                session: None,
            });
            let lockout = self.inner.lockout.clone();
            let remove = move |tx: &mut Tx<'_>| {
                let gone = || Error::new(Code::NotFound);
                let user = tx.hold_user(user_id)?.ok_or_else(gone)?;
                if user.sign_up_status != SignUpStatus::BeforeConfirmation {
                    return Err(gone());
                }
                tx.delete_user(user_id)?;
                lockout.forgive(tx, user_id)?;
                Ok(((), Did::to(user_id)))
            };
            match context.change(remove).await {
                Err(error) if error.code() != Code::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}
