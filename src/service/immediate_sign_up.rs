//! Signing up in one call, as older systems have it: decided at once, and answered with the token that confirms it.
//!
//! Whether a name is borne is told by such an answer, and nobody proves to have a mailbox; so there is none unless a switch says so
//! ([`super::Leniency`]). What comes of it is an account like any other that signed up: not confirmed, and swept away if it never is.

use super::caller::Anyone;
use super::did::Did;
use crate::domain::attribute::Viewer;
use crate::domain::audit::Changes;
use crate::domain::ids::UserId;
use crate::domain::link::LinkPurpose;
use crate::domain::secret::{Password, SignUpToken};
use crate::domain::text::{Email, Name};
use crate::domain::user::{ApprovalStatus, CreationContext, SignUpStatus, User};
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use serde_json::Value;

/// A filled form.
#[derive(Debug)]
pub struct ImmediateSignUp {
    /// The name.
    pub username: Name,
    /// The e-mail address, if one was given.
    pub email: Option<Email>,
    /// The password.
    pub password: Password,
}

impl Anyone {
    /// Reads an e-mail address as the call's leniency has it.
    ///
    /// # Errors
    /// [`Code::Invalid`] at `email`.
    pub fn read_email(&self, text: String) -> Result<Email> {
        let is_any = self.leniency().switches.any_email;
        let email = if is_any { Email::of_any_form(text) } else { Email::try_from(text) };
        email.map_err(|flaw| Error::new(Code::Invalid).at("email", flaw.to_string()))
    }

    /// Signs up, and returns the token that confirms it.
    ///
    /// # Errors
    /// [`Code::NotEnabled`] without the switch, [`Code::SignUpClosed`], [`Code::TooManyAttempts`], [`Code::PasswordUnfit`],
    /// [`Code::ValueTaken`].
    pub async fn sign_up_at_once(self, given: ImmediateSignUp) -> Result<SignUpToken> {
        let Self { context, application, .. } = self;
        let switches = context.leniency.switches;
        if !switches.immediate_sign_up {
            return Err(Error::new(Code::NotEnabled));
        }
        if !application.is_sign_up_open && !switches.sign_up_everywhere {
            return Err(Error::new(Code::SignUpClosed));
        }
        context.count_asking().await?;
        let ImmediateSignUp { username, email, password } = given;
        let inner = &context.services.inner;
        let now = context.now();
        let creation_ctx = CreationContext {
            via: super::sign_up::VIA.to_owned(),
            by: None,
            application: context.trail.application(),
            remote_addr: context.remote_addr().map(|a| a.to_string()),
            cid: Some(context.call.cid.clone()),
        };
        let mut user = User::fresh(UserId::mint(now, &inner.entropy), username, now, creation_ctx);
        user.email = email;
        user.sign_up_status = SignUpStatus::BeforeConfirmation;
        // Nobody proved anything, and nobody has opened the application: somebody has to look.
        user.is_approval_needed = application.is_sign_up_approval_needed || !application.is_sign_up_open;
        let is_decided = !user.is_approval_needed;
        user.decide(if is_decided { ApprovalStatus::Approved } else { ApprovalStatus::BeforeDecision }, None, now);
        let fit = context.fit_password(password, &user, Some(application.name.as_str()), "password").await?;
        user.set_password(fit, false, None, now);
        user.settle_keys();
        context.trail.set_subject(user.user_id);
        let services = context.services.clone();
        let create = move |tx: &mut Tx<'_>| {
            tx.insert_user(&mut user)?;
            let user_id = user.user_id;
            let span = services.post().sign_up;
            let (token, _): (SignUpToken, _) = services.issue(tx, LinkPurpose::ConfirmSignUp, user_id, span, now)?;
            let account = tx.read().account(user, now)?;
            let broken = |e: serde_json::Error| Error::new(Code::Internal).cause(e.to_string());
            let view = serde_json::to_value(account.view(Viewer::SuperUser).unwitnessed()).map_err(broken)?;
            Ok((token, Did::to(user_id).changing(Changes::between(&Value::Null, &view))))
        };
        context.change(create).await
    }
}
