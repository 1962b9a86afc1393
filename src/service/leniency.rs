//! What calls in an older system's dialect are allowed beyond what everyone else is: the named policies of that dialect.
//!
//! A [`Context`](super::Context) bears a leniency. It is [`Leniency::NONE`] for every call but those in a dialect, which get what that
//! dialect's clients cannot do without and what the settings say, all off unless somebody switched it on. So a switch cannot reach a
//! native call, whichever use case asks for it.

use super::caller::{Anyone, Authenticated, SuperUser};
use super::users::{read_patch, refusals};
use crate::domain::attribute::{Refused, Viewer, Why, read_member};
use crate::domain::audit::Action;
use crate::domain::demand::{ByKey, Demand};
use crate::domain::text::{Email, Name};
use crate::domain::user::Patch;
use crate::error::Result;
use crate::settings::{EcmParity, ZatoParity};
use serde_json::{Map, Value};

/// What a call is allowed; each field is a switch of the settings of the same name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leniency {
    pub(super) switches: ZatoParity,
    /// A new password that no sign-in demands is passed over instead of being refused.
    pub(super) is_unneeded_password_ignored: bool,
    /// Sessions of linked accounts are accepted.
    pub(super) are_linked_sessions_accepted: bool,
    /// A live session counts as proved lately for as long as it lives, unless what it was proved by is too weak.
    pub(super) do_sessions_stay_fresh: bool,
    /// An API key makes super-users; each of the others is told by letter.
    pub(super) do_keys_make_super_users: bool,
}

impl Leniency {
    /// None: what every native call gets.
    pub const NONE: Self = Self {
        switches: ZatoParity {
            totp_code_reuse: false,
            totp_without_code: false,
            sessions_survive_password: false,
            sessions_stay_fresh: false,
            any_email: false,
            users_rename_themselves: false,
            immediate_sign_up: false,
            sign_up_everywhere: false,
            lenient_lockout: false,
        },
        is_unneeded_password_ignored: false,
        are_linked_sessions_accepted: false,
        do_sessions_stay_fresh: false,
        do_keys_make_super_users: false,
    };

    /// That of Zato's dialect, with these switches.
    pub(super) fn of_zato(switches: ZatoParity) -> Self {
        Self {
            switches,
            is_unneeded_password_ignored: true,
            are_linked_sessions_accepted: true,
            do_sessions_stay_fresh: switches.sessions_stay_fresh,
            do_keys_make_super_users: false,
        }
    }

    /// That of Posit Connect's dialect: its clients make administrators with the key that they have.
    pub(super) fn of_connect() -> Self {
        Self { do_keys_make_super_users: true, ..Self::NONE }
    }

    /// That of the ECM's dialect, with these switches.
    pub(super) fn of_ecm(switches: EcmParity) -> Self {
        Self { do_sessions_stay_fresh: switches.sessions_stay_fresh, ..Self::NONE }
    }

    /// What an action demands: natively, but for what this dialect's clients cannot do without and for what a switch lets through.
    pub(super) fn demand(self, action: Action) -> Demand {
        match (action, action.demand()) {
            (Action::UserCreate, demand) if self.do_keys_make_super_users => Demand { by_key: ByKey::Counts, ..demand },
            // Where that switch is on, whoever has a session changes its factor by nothing else: that is what it says.
            (Action::TotpReplace, _) if self.is_totp_changed_without_code() => Demand::ANY,
            (_, demand) => demand,
        }
    }

    /// Whether one-time codes are changed without one.
    pub fn is_totp_changed_without_code(&self) -> bool {
        self.switches.totp_without_code
    }

    /// Whether sessions go on after a new password.
    pub fn do_sessions_survive_password(&self) -> bool {
        self.switches.sessions_survive_password
    }

    /// Whether a sign-up is decided at once.
    pub fn is_sign_up_immediate(&self) -> bool {
        self.switches.immediate_sign_up
    }

    /// Reads a patch: natively, but for what a switch lets through.
    pub(super) fn read_patch(self, viewer: Viewer, mut members: Map<String, Value>) -> Result<Patch> {
        let unfit = |member: &str, why| refusals(vec![Refused { member: member.to_owned(), why }]);
        let email = match members.get("email") {
            Some(Value::String(text)) if self.switches.any_email => {
                let email = Email::of_any_form(text.clone());
                Some(email.map_err(|flaw| unfit("email", Why::Unfit(flaw.to_string())))?)
            }
            Some(_) | None => None,
        };
        let username = match members.get("username") {
            Some(value) if self.switches.users_rename_themselves && viewer == Viewer::Owner => {
                Some(read_member::<Name>(value).map_err(|why| unfit("username", why))?)
            }
            Some(_) | None => None,
        };
        if email.is_some() {
            members.remove("email");
        }
        if username.is_some() {
            members.remove("username");
        }
        let mut patch = read_patch(viewer, &members)?;
        patch.email = email.map(Some).or(patch.email);
        patch.username = username.or(patch.username);
        Ok(patch)
    }
}

impl Anyone {
    /// What the call is allowed.
    pub fn leniency(&self) -> Leniency {
        self.context.leniency
    }
}

impl Authenticated {
    /// What the call is allowed.
    pub fn leniency(&self) -> Leniency {
        self.context.leniency
    }
}

impl SuperUser {
    /// What the call is allowed.
    pub fn leniency(&self) -> Leniency {
        self.context.leniency
    }
}
