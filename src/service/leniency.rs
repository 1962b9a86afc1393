//! What calls in an older system's dialect are allowed beyond what everyone else is: the named policies of that dialect.
//!
//! A [`Context`](super::Context) bears a leniency. It is [`Leniency::NONE`] for every call but those that claim in a dialect
//! ([`Context::claiming`](super::Context::claiming)), which get what the settings say, all off unless somebody switched it on. So a
//! switch cannot reach a native call, whichever use case asks for it.

use crate::settings::ZatoParity;

/// What a call is allowed; each field is a switch of the settings of the same name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leniency {
    pub(super) switches: ZatoParity,
    /// A new password that no sign-in demands is passed over instead of being refused.
    pub(super) is_unneeded_password_ignored: bool,
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
    };

    /// That of Zato's dialect, with these switches.
    pub(super) fn of_zato(switches: ZatoParity) -> Self {
        Self { switches, is_unneeded_password_ignored: true }
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
}
