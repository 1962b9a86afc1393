//! The one decision whether an account may act now, and by this way.
//!
//! It is asked at sign-in, after the credential was right, and at **every** use of a session or an API key, by every way in. There is no
//! other place that compares these attributes, so a new way in cannot forget one of them. A *way* is the application that a call comes
//! through and the address it comes from; [`stands`] leaves it out, for edits that ask whether an account could act at all.

#![deny(clippy::wildcard_enum_match_arm, reason = "a new variant must be decided on, not fall through")]

use super::application::{Access, Application, SecondFactorRule};
use super::time::Utc;
use super::user::{ApprovalStatus, SignUpStatus, User, UserRole};
use crate::settings::SecondFactor;
use std::net::IpAddr;

super::words::words! {
    /// Why an account may not act now. The words appear as reason codes in the audit trail.
    Barred {
        /// `is_active` is false.
        Inactive = "account_inactive",
        /// Locked.
        Locked = "account_locked",
        /// The sign-up is not confirmed.
        SignUpUnconfirmed = "sign_up_unconfirmed",
        /// No super-user has approved it yet.
        ApprovalPending = "approval_pending",
        /// A super-user rejected it.
        Rejected = "account_rejected",
        /// Before `valid_from`, or after `valid_to`.
        OutsideValidity = "outside_validity",
        /// The application does not list it.
        ApplicationNotAllowed = "application_not_allowed",
        /// It comes from none of the networks listed for the application, or for the user.
        AddressNotAllowed = "address_not_allowed",
        /// A second factor is demanded, and none was shown.
        SecondFactorMissing = "second_factor_missing",
        /// The password has expired.
        PasswordExpired = "password_expired",
        /// A new password is demanded.
        PasswordMustChange = "password_must_change",
    }
}

/// An application as a way in, with what has to be known of the account to read its list.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    /// The application.
    pub application: &'a Application,
    /// Whether the account is in a group that the application lists.
    pub is_in_listed_group: bool,
}

impl Door<'_> {
    /// Whether it is open to an account of this role.
    fn is_open_to(&self, role: UserRole) -> bool {
        match self.application.access {
            Access::Everyone => true,
            // A word of another build opens no more than a list does.
            Access::Listed | Access::Foreign(_) => {
                // Whoever looks after users comes in by the default application: no list shuts all of them out.
                let looks_after = self.application.is_default() && role == UserRole::Administrator;
                looks_after || self.is_in_listed_group || self.application.allowed_roles.contain(role)
            }
        }
    }
}

/// What a way in shows of a second factor, to be asked for where one is demanded (S6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// A one-time code, a recovery code or the like was shown.
    Shown,
    /// None was.
    Missing,
    /// It is not asked here: an API key stands for its user as it is, and a sign-in asks once it knows the account.
    NotAsked,
}

/// The way by which an account is to act.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The application that the call comes through.
    pub through: Door<'a>,
    /// The application that the session in use was opened through; a session stands on it as well.
    pub opened: Option<Door<'a>>,
    /// From where the call comes.
    pub call_from: Option<IpAddr>,
    /// Where the user is: as the call, unless someone else asks about the user's token.
    pub user_at: Option<IpAddr>,
    /// Of whom the settings demand a second factor.
    pub demanded: SecondFactor,
    /// What was shown of one.
    pub factor: Factor,
}

/// Whether the settings, or one of the applications that a user comes by, demand a second factor of a role.
pub fn is_factor_demanded<'a>(
    role: UserRole,
    demanded: SecondFactor,
    applications: impl IntoIterator<Item = &'a Application>,
) -> bool {
    let by_settings = match demanded {
        SecondFactor::Optional => false,
        SecondFactor::Administrators => role == UserRole::Administrator,
        SecondFactor::Everyone => true,
    };
    // A rule of another build is obeyed by the strict one that this program knows.
    by_settings || applications.into_iter().any(|application| application.second_factor != SecondFactorRule::AsSet)
}

impl Way<'_> {
    fn admits(&self, user: &User) -> Result<(), Barred> {
        let is_closed = |door: &Door<'_>| !door.is_open_to(user.user_role);
        if is_closed(&self.through) || self.opened.as_ref().is_some_and(is_closed) {
            return Err(Barred::ApplicationNotAllowed);
        }
        if !self.through.application.allowed_networks.admit(self.call_from) || !user.networks.admit(self.user_at) {
            return Err(Barred::AddressNotAllowed);
        }
        match self.factor {
            Factor::Shown | Factor::NotAsked => Ok(()),
            Factor::Missing => {
                let applications = [Some(&self.through), self.opened.as_ref()].into_iter().flatten().map(|door| door.application);
                let is_demanded = is_factor_demanded(user.user_role, self.demanded, applications);
                if is_demanded { Err(Barred::SecondFactorMissing) } else { Ok(()) }
            }
        }
    }
}

/// Whether `user` may act at `now` by this way; if not, the first cause in a fixed order.
///
/// The last two causes can be mended by the user at sign-in, by sending a new password along; [`Barred::is_mendable`] tells. They
/// come last: whoever may not come in by this way sets no password here either.
pub fn may_act(user: &User, way: &Way<'_>, now: Utc) -> Result<(), Barred> {
    match stands(user, now) {
        Err(barred) if !barred.is_mendable() => Err(barred),
        standing => way.admits(user).and(standing),
    }
}

/// Whether `user` could act at `now`, were the way open; if not, the first cause in the same order.
pub fn stands(user: &User, now: Utc) -> Result<(), Barred> {
    if !user.is_active {
        return Err(Barred::Inactive);
    }
    if user.is_locked {
        return Err(Barred::Locked);
    }
    match user.sign_up_status {
        SignUpStatus::Final => {}
        SignUpStatus::BeforeConfirmation | SignUpStatus::Foreign(_) => return Err(Barred::SignUpUnconfirmed),
    }
    match user.approval_status {
        ApprovalStatus::Approved => {}
        ApprovalStatus::Rejected => return Err(Barred::Rejected),
        ApprovalStatus::BeforeDecision if user.is_approval_needed => return Err(Barred::ApprovalPending),
        ApprovalStatus::BeforeDecision => {}
        ApprovalStatus::Foreign(_) => return Err(Barred::ApprovalPending),
    }
    if user.valid_from.is_some_and(|from| now < from) {
        return Err(Barred::OutsideValidity);
    }
    if !user.never_expire && user.valid_to.is_some_and(|to| now >= to) {
        return Err(Barred::OutsideValidity);
    }
    if !user.password_never_expires && user.password_expiry.is_some_and(|expiry| now >= expiry) {
        return Err(Barred::PasswordExpired);
    }
    if user.password_must_change {
        return Err(Barred::PasswordMustChange);
    }
    Ok(())
}

impl Barred {
    /// Whether the user can lift the bar by setting a new password in the same sign-in.
    pub fn is_mendable(self) -> bool {
        match self {
            Self::PasswordExpired | Self::PasswordMustChange => true,
            Self::Inactive
            | Self::Locked
            | Self::SignUpUnconfirmed
            | Self::ApprovalPending
            | Self::Rejected
            | Self::OutsideValidity
            | Self::ApplicationNotAllowed
            | Self::AddressNotAllowed
            | Self::SecondFactorMissing => false,
        }
    }
}

impl Barred {
    /// Whether the person may set a new password by a link all the same: it opens nothing that the bar would not keep shut, and whoever
    /// waits for approval, or for the first day, can be ready by then.
    pub fn allows_new_password(self) -> bool {
        match self {
            Self::PasswordExpired
            | Self::PasswordMustChange
            | Self::ApprovalPending
            | Self::OutsideValidity
            | Self::SecondFactorMissing => true,
            Self::Inactive
            | Self::Locked
            | Self::SignUpUnconfirmed
            | Self::Rejected
            | Self::ApplicationNotAllowed
            | Self::AddressNotAllowed => false,
        }
    }
}

/// Whether `user` may set a new password by a link at `now`; if not, why.
pub fn may_set_password(user: &User, now: Utc) -> Result<(), Barred> {
    match stands(user, now) {
        Ok(()) => Ok(()),
        Err(barred) if barred.allows_new_password() => Ok(()),
        Err(barred) => Err(barred),
    }
}

/// Whether `user` counts as an *active super-user*: one that can sign in and look after the others. At least one always remains.
pub fn is_active_super_user(user: &User, now: Utc) -> bool {
    user.is_super_user()
        && user.password_hash.is_some()
        && match stands(user, now) {
            Ok(()) => true,
            Err(barred) => barred.is_mendable(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::application::Roles;
    use crate::domain::ids::{ApplicationId, UserId};
    use crate::domain::network::Networks;
    use crate::domain::secret::TokenHash;
    use crate::domain::text::Name;
    use crate::domain::user::CreationContext;
    use proptest::prelude::*;

    const NOW: Utc = Utc::from_micros(0);

    fn user(role: UserRole) -> User {
        let ctx = CreationContext { via: "cli".into(), by: None, application: None, remote_addr: None, cid: None };
        let mut user = User::fresh(UserId::from_bytes([1; 16]), Name::try_from("ann".to_owned()).unwrap(), NOW, ctx);
        user.user_role = role;
        user
    }

    fn application(name: &str, access: Access, roles: &[UserRole]) -> Application {
        let name = Name::try_from(name.to_owned()).unwrap();
        let fresh = Application::fresh(ApplicationId::from_bytes([2; 16]), name, TokenHash::from_bytes(Vec::new()), NOW);
        Application { access, allowed_roles: Roles::from(roles.to_vec()), ..fresh }
    }

    fn through_alone(through: Door<'_>) -> Way<'_> {
        let (demanded, factor) = (SecondFactor::Optional, Factor::Missing);
        Way { through, opened: None, call_from: None, user_at: None, demanded, factor }
    }

    fn judged(user: &User, application: &Application, is_in_listed_group: bool, from: Option<&str>) -> Result<(), Barred> {
        let from = from.map(|a| a.parse().unwrap());
        let through = Door { application, is_in_listed_group };
        may_act(user, &Way { opened: None, call_from: from, user_at: from, ..through_alone(through) }, NOW)
    }

    #[test]
    fn an_expired_password_is_told_only_where_the_way_is_open() {
        let mut ann = user(UserRole::Viewer);
        ann.password_must_change = true;
        let shut = application("desk", Access::Listed, &[]);
        assert_eq!(judged(&ann, &shut, false, None), Err(Barred::ApplicationNotAllowed));
        assert_eq!(judged(&ann, &shut, true, None), Err(Barred::PasswordMustChange));
        ann.is_locked = true;
        assert_eq!(judged(&ann, &shut, false, None), Err(Barred::Locked));
    }

    #[test]
    fn a_session_stands_on_both_applications() {
        let ann = user(UserRole::Viewer);
        let (open, shut) = (application("crm", Access::Everyone, &[]), application("desk", Access::Listed, &[]));
        let door = |application, is_in_listed_group| Door { application, is_in_listed_group };
        let way = |through, opened| Way { opened: Some(opened), ..through_alone(through) };
        assert_eq!(may_act(&ann, &way(door(&open, false), door(&open, false)), NOW), Ok(()));
        assert_eq!(may_act(&ann, &way(door(&open, false), door(&shut, true)), NOW), Ok(()));
        for way in [way(door(&open, false), door(&shut, false)), way(door(&shut, false), door(&open, false))] {
            assert_eq!(may_act(&ann, &way, NOW), Err(Barred::ApplicationNotAllowed));
        }
    }

    #[test]
    fn either_list_of_networks_shuts_out() {
        let list = |text: &str| Networks::parse_text(text).unwrap();
        let (mut ann, mut desk) = (user(UserRole::Administrator), application("default", Access::Everyone, &[]));
        for (of_user, of_application) in [("10.0.0.0/8", ""), ("", "10.0.0.0/8"), ("10.0.0.0/8", "10.0.0.0/8")] {
            (ann.networks, desk.allowed_networks) = (list(of_user), list(of_application));
            assert_eq!(judged(&ann, &desk, false, Some("10.1.1.1")), Ok(()));
            assert_eq!(judged(&ann, &desk, false, Some("::ffff:10.1.1.1")), Ok(()));
            assert_eq!(judged(&ann, &desk, false, Some("192.0.2.1")), Err(Barred::AddressNotAllowed));
            assert_eq!(judged(&ann, &desk, false, None), Err(Barred::AddressNotAllowed));
        }
    }

    /// S6, S49: of whom a second factor is demanded, by the settings or by either application, and what shows one.
    #[test]
    fn every_cell_of_a_demanded_factor() {
        let rules = [SecondFactorRule::AsSet, SecondFactorRule::Required];
        for (setting, role) in [SecondFactor::Optional, SecondFactor::Administrators, SecondFactor::Everyone]
            .into_iter()
            .flat_map(|setting| UserRole::ALL.iter().map(move |role| (setting, *role)))
        {
            for (through, opened) in rules.into_iter().flat_map(|through| rules.map(|opened| (through, opened))) {
                let ruled = |second_factor| Application { second_factor, ..application("crm", Access::Everyone, &[]) };
                let (through_app, opened_app) = (ruled(through), ruled(opened));
                let door = |application| Door { application, is_in_listed_group: false };
                let by_setting = setting == SecondFactor::Everyone
                    || (setting == SecondFactor::Administrators && role == UserRole::Administrator);
                let is_demanded = by_setting || through == SecondFactorRule::Required || opened == SecondFactorRule::Required;
                for factor in [Factor::Shown, Factor::Missing, Factor::NotAsked] {
                    let way =
                        Way { opened: Some(door(&opened_app)), demanded: setting, factor, ..through_alone(door(&through_app)) };
                    let expected =
                        if is_demanded && factor == Factor::Missing { Err(Barred::SecondFactorMissing) } else { Ok(()) };
                    assert_eq!(may_act(&user(role), &way, NOW), expected, "{setting:?} {role} {through} {opened} {factor:?}");
                }
            }
        }
    }

    proptest! {
        /// A list admits exactly those it names, by role or by group; and administrators, where it is the default application's.
        #[test]
        fn lists_admit_whom_they_name(
            role in prop::sample::select(UserRole::ALL), roles in prop::sample::subsequence(UserRole::ALL.to_vec(), 0..=3),
            is_member: bool, is_listed: bool, is_default: bool,
        ) {
            let access = if is_listed { Access::Listed } else { Access::Everyone };
            let named = application(if is_default { "default" } else { "desk" }, access, &roles);
            let is_admitted = !is_listed || is_member || roles.contains(&role) || (is_default && role == UserRole::Administrator);
            prop_assert_eq!(judged(&user(role), &named, is_member, None).is_ok(), is_admitted);
        }
    }
}
