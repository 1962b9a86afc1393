//! What is asked of a caller's proof before a change is made (S26, S49): by two tables, one of actions and one of attributes.
//!
//! The table of actions is [`Action::demand`], which does not compile without a row for each action. The table of attributes is that of
//! [`super::user`], where an attribute that can be edited does not compile without a demand. Both are asked within the transaction of the
//! change, whichever route, dialect or command it comes by.

#![deny(clippy::wildcard_enum_match_arm, reason = "a new variant must be decided on, not fall through")]

use super::audit::Action;

/// What an edit of an attribute asks of the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditProof {
    /// Nothing beyond what lets the caller in.
    Any,
    /// A recent proof: the attribute decides where recovery goes, or who may come in and when.
    Fresh,
}

/// When a change asks for a recent proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recent {
    /// At no time.
    Never,
    /// Where it is about the caller's own account.
    ForOneself,
    /// Where it is about a super-user.
    ForSuperUsers,
    /// Always.
    Always,
}

/// What an API key is good for, which nobody proves anything by at the time of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByKey {
    /// It stands for a recent proof.
    Counts,
    /// It stands for one, but not for its own user's account and not for a super-user's.
    ForOrdinaryUsers,
    /// It is refused.
    Refused,
}

/// What is asked of the proof of whoever makes a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// When a session must have been proved lately.
    pub recent: Recent,
    /// What an API key is good for.
    pub by_key: ByKey,
}

/// How a caller proved who it is, as far as a demand goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// Lately, and by as much as the account asks for.
    Recent,
    /// Not lately, or by less than that.
    Stale,
    /// By an API key.
    Key,
}

/// Whom a change is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whom {
    /// The caller.
    pub is_own: bool,
    /// A super-user, before or after the change.
    pub is_super_user: bool,
}

/// What a caller lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// A recent proof.
    RecentProof,
    /// A session.
    Session,
}

impl Demand {
    /// Nothing beyond what lets the caller in.
    pub const ANY: Self = Self { recent: Recent::Never, by_key: ByKey::Counts };
    /// A recent proof; a key stands for one.
    const RECENT: Self = Self { recent: Recent::Always, by_key: ByKey::Counts };
    /// A recent proof; a key stands for one where neither its own user nor a super-user is concerned.
    pub const RECOVERY: Self = Self { recent: Recent::Always, by_key: ByKey::ForOrdinaryUsers };
    /// A recent proof, and by a session alone: it makes or takes a credential, or opens a way in.
    const CREDENTIAL: Self = Self { recent: Recent::Always, by_key: ByKey::Refused };
    /// A recent proof where a super-user is concerned; a key does not stand for one there.
    const OF_SUPER_USERS: Self = Self { recent: Recent::ForSuperUsers, by_key: ByKey::ForOrdinaryUsers };
    /// A recent proof for one's own account, for which a key does not stand.
    const OF_ONESELF: Self = Self { recent: Recent::ForOneself, by_key: ByKey::Counts };

    /// Whether the answer takes knowing whom the change is about.
    pub fn depends_on_whom(self, strength: Strength) -> bool {
        match strength {
            Strength::Recent => false,
            Strength::Stale => matches!(self.recent, Recent::ForOneself | Recent::ForSuperUsers),
            Strength::Key => self.recent == Recent::ForOneself || self.by_key == ByKey::ForOrdinaryUsers,
        }
    }

    /// Whether this proof will do for a change that is about `whom`.
    ///
    /// # Errors
    /// What is lacking.
    pub fn judge(self, strength: Strength, whom: Whom) -> Result<(), Lack> {
        let asks = match self.recent {
            Recent::Never => false,
            Recent::ForOneself => whom.is_own,
            Recent::ForSuperUsers => whom.is_super_user,
            Recent::Always => true,
        };
        match strength {
            Strength::Recent => Ok(()),
            Strength::Stale if asks => Err(Lack::RecentProof),
            Strength::Stale => Ok(()),
            Strength::Key => match self.by_key {
                ByKey::Counts if self.recent == Recent::ForOneself && asks => Err(Lack::Session),
                ByKey::Counts => Ok(()),
                ByKey::ForOrdinaryUsers if asks && (whom.is_own || whom.is_super_user) => Err(Lack::Session),
                ByKey::ForOrdinaryUsers => Ok(()),
                ByKey::Refused => Err(Lack::Session),
            },
        }
    }
}

impl Action {
    /// What the action asks of the proof of whoever does it, beside what its attributes ask.
    pub fn demand(self) -> Demand {
        match self {
            // What makes a credential, takes one away, or opens a way in.
            Self::PasswordSet
            | Self::ResetIssue
            | Self::TotpEnrol
            | Self::TotpDisable
            | Self::TotpReset
            | Self::TotpReplace
            | Self::RecoveryCodesRenew
            | Self::ApplicationCreate
            | Self::ApplicationUpdate
            | Self::ApplicationRenewKey
            | Self::ApplicationDelete
            | Self::NetworksSet
            | Self::ApiKeyCreate
            | Self::ApiKeyRevoke
            | Self::HookCreate
            | Self::HookUpdate
            | Self::HookDelete
            | Self::HookRenewSecret
            | Self::DeliveryRetry
            | Self::LinkedAccountCreate
            | Self::LinkedAccountLink
            | Self::LinkedAccountUnlink
            | Self::LinkedAccountDelete => Demand::CREDENTIAL,
            // Who may come in, and what applications open to them.
            Self::UserApprove | Self::UserUnlock | Self::MemberAdd | Self::MemberRemove | Self::GroupEmpty => Demand::RECOVERY,
            // What applications know their users' groups by.
            Self::GroupUpdate | Self::GroupDelete => Demand::RECENT,
            // Whoever makes a super-user gives away all there is, and whoever removes one takes from all.
            Self::UserCreate | Self::UserDelete => Demand::OF_SUPER_USERS,
            // A stolen session is not to throw its owner out (S22).
            Self::SessionRevokeAll => Demand::OF_ONESELF,
            Self::SessionRevokeOfApplication | Self::SessionRevokeOfEveryone => Demand::RECENT,
            // What others hold is good no more.
            Self::SigningKeysRotate => Demand::RECENT,
            // Edits: the attributes that change have demands of their own.
            Self::CurrentUserUpdate | Self::UserUpdate => Demand::ANY,
            // Each row has the demands of what it does.
            Self::UserImport => Demand::ANY,
            // These bring a proof of their own along: a password, a code, a token of a link.
            Self::SignIn
            | Self::SessionConfirm
            | Self::PasswordChange
            | Self::SignUp
            | Self::SignUpConfirm
            | Self::ResetRequest
            | Self::ResetSend
            | Self::ResetOpen
            | Self::ResetFinish
            | Self::AccountCheck
            | Self::PasswordJudge
            // Begun soon after a proof, in this session, and confirmed by a code.
            | Self::TotpConfirm => Demand::ANY,
            // What protects is not to wait for a proof.
            Self::SignOut | Self::UserLock | Self::UserReject => Demand::ANY,
            // One of one's own sessions is ended by the use case's rule: the one in use at any time.
            Self::SessionRevoke => Demand::ANY,
            // Nobody's recovery hangs on these.
            Self::SessionRenew
            | Self::GroupCreate
            | Self::UserAttributeSet
            | Self::UserAttributesSet
            | Self::UserAttributeDelete
            | Self::UserAttributesDelete
            | Self::SessionAttributeSet
            | Self::SessionAttributesSet
            | Self::SessionAttributeDelete
            | Self::SessionAttributesDelete
            | Self::TokenIssue => Demand::ANY,
            // Reads.
            Self::SessionRead
            | Self::SessionIntrospect
            | Self::SessionList
            | Self::CurrentUserRead
            | Self::UserRead
            | Self::UserList
            | Self::UserCount
            | Self::UserExport
            | Self::UserData
            | Self::CurrentUserData
            | Self::ViewsRead
            | Self::AuditRead
            | Self::AuditExport
            | Self::AuditVerify
            | Self::ApplicationRead
            | Self::ApplicationList
            | Self::NetworksRead
            | Self::ApiKeyList
            | Self::GroupRead
            | Self::GroupList
            | Self::MemberList
            | Self::UserAttributeList
            | Self::UserAttributeRead
            | Self::SessionAttributeList
            | Self::SessionAttributeRead
            | Self::HookRead
            | Self::HookList
            | Self::DeliveryList
            | Self::SettingsRead
            | Self::ContentList
            | Self::LinkedAccountList
            | Self::Unrouted => Demand::ANY,
            // At the command line alone, by whoever has the key file, or by the service itself.
            Self::AuditExpire
            | Self::AuditAcceptRollback
            | Self::AuditRefusals
            | Self::SecretsRotate
            | Self::AuditKeyRotate
            | Self::DatabaseBackup => Demand::CREDENTIAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOMEONE: Whom = Whom { is_own: false, is_super_user: false };
    const ONESELF: Whom = Whom { is_own: true, is_super_user: true };
    const ANOTHER_SUPER_USER: Whom = Whom { is_own: false, is_super_user: true };

    #[test]
    fn a_recent_proof_is_enough_for_everything() {
        for action in Action::ALL {
            for whom in [SOMEONE, ONESELF, ANOTHER_SUPER_USER] {
                assert_eq!(action.demand().judge(Strength::Recent, whom), Ok(()), "{action}");
            }
        }
    }

    #[test]
    fn who_does_not_matter_is_not_asked_for() {
        for action in Action::ALL {
            let demand = action.demand();
            for strength in [Strength::Recent, Strength::Stale, Strength::Key] {
                let answers = [SOMEONE, ONESELF, ANOTHER_SUPER_USER].map(|whom| demand.judge(strength, whom));
                assert!(demand.depends_on_whom(strength) || answers.iter().all(|answer| *answer == answers[0]), "{action}");
            }
        }
    }

    /// S49: a key makes no credential, and moves neither its own user's recovery nor a super-user's.
    #[test]
    fn a_key_stands_for_a_proof_where_others_are_concerned() {
        let by_key = |action: Action, whom| action.demand().judge(Strength::Key, whom);
        assert_eq!(by_key(Action::UserUnlock, SOMEONE), Ok(()));
        assert_eq!(by_key(Action::UserUnlock, ANOTHER_SUPER_USER), Err(Lack::Session));
        assert_eq!(by_key(Action::MemberAdd, ONESELF), Err(Lack::Session));
        assert_eq!(by_key(Action::UserCreate, ANOTHER_SUPER_USER), Err(Lack::Session));
        assert_eq!(by_key(Action::ApplicationUpdate, SOMEONE), Err(Lack::Session));
        assert_eq!(by_key(Action::PasswordSet, SOMEONE), Err(Lack::Session));
    }
}
