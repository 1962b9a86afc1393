//! What a user is. The table below is the single place that says which attributes there are, of which type, who sees them and
//! who may change them; see [`super::attribute`] for what is made from it.

use super::attribute::{Viewer, attributes};
use super::ids::{GroupId, UserId};
use super::network::Networks;
use super::row_mac::RowMac;
use super::secret::{PasswordHash, TotpKey};
use super::text::{Email, Line, Name, Note};
use super::time::Utc;
use super::{witness, words};
use diesel::sql_types::Text;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

words::kept_words! {
    /// What a user may do. A super-user is an administrator.
    UserRole {
        /// Sees what is shared.
        Viewer = "viewer",
        /// Also publishes.
        Publisher = "publisher",
        /// Also looks after users: a super-user.
        Administrator = "administrator",
    }

    /// Why an account is locked.
    LockCause {
        /// A super-user or operator locked it.
        Administrator = "administrator",
        /// Too many consecutive failed sign-ins.
        FailedLogins = "failed_logins",
    }

    /// Whether a super-user has decided on the account.
    ApprovalStatus {
        /// Not yet.
        BeforeDecision = "before_decision",
        /// Approved.
        Approved = "approved",
        /// Rejected.
        Rejected = "rejected",
    }

    /// Whether the person has confirmed the sign-up.
    SignUpStatus {
        /// Not yet.
        BeforeConfirmation = "before_confirmation",
        /// Confirmed, or never in need of it.
        Final = "final",
    }

}

words::words! {
    /// A summary of an account for lists.
    AccountStatus {
        /// Locked.
        Locked = "locked",
        /// Unlocked, and active within the last 365 days.
        Licensed = "licensed",
        /// The rest.
        Inactive = "inactive",
    }
}

attributes! {
    /// The key by which other programs know the user.
    user_id: UserId => sql::Uuid, see [Colleague Owner SuperUser];
    /// A positive integer in order of creation.
    number: i64 => BigInt, see [SuperUser];
    /// The user's name; unique without regard to case.
    username: Name => Text, see [Colleague Owner SuperUser], edit [SuperUser] Fresh;
    /// The username's key: what makes it unique.
    hidden username_key: String => Text;
    /// The name used to sign in, besides the username; unique the same way.
    login_name: Name => Text, see [Owner SuperUser], edit [SuperUser] Fresh;
    /// The login name's key.
    hidden login_name_key: String => Text;
    /// The identity provider's subject; unique.
    external_id: Option<Line> => Nullable<Text>, see [SuperUser], edit [SuperUser] Fresh;
    /// The e-mail address.
    email: Option<Email> => Nullable<Text>, see [Owner SuperUser], edit [Owner SuperUser] Fresh;
    /// The e-mail address's key: what it is found by without regard to case.
    hidden email_key: Option<String> => Nullable<Text>;
    /// The name to show: by default the first, middle and last name joined, else the username.
    display_name: Line => Text, see [Owner SuperUser], edit [Owner SuperUser] Any;
    /// First name.
    first_name: Option<Line> => Nullable<Text>, see [Colleague Owner SuperUser], edit [Owner SuperUser] Any;
    /// Middle name.
    middle_name: Option<Line> => Nullable<Text>, see [Owner SuperUser], edit [Owner SuperUser] Any;
    /// Last name.
    last_name: Option<Line> => Nullable<Text>, see [Colleague Owner SuperUser], edit [Owner SuperUser] Any;
    /// Whether sign-in asks for a one-time code.
    is_totp_enabled: bool => Bool, see [Owner SuperUser];
    /// The label an authenticator shows.
    totp_label: Option<Line> => Nullable<Text>, see [Owner SuperUser], edit [Owner SuperUser] Any;
    /// The one-time code's key in base32, only while its enrolment is unconfirmed.
    derived totp_key: Option<String> = Account::totp_key_in_enrolment, see [Owner] while present;
    /// Until when an enrolment that is not confirmed can be.
    hidden totp_enrolment_end: Option<Utc> => Nullable<sql::Instant>;
    /// The role.
    user_role: UserRole => Text, see [Colleague Owner SuperUser], edit [SuperUser] Fresh;
    /// The groups the user is a member of.
    derived groups: Vec<GroupRef> = Account::groups, see [Owner SuperUser];
    /// The language; null is the server's default.
    lang_id: Option<i64> => Nullable<BigInt>, see [Owner SuperUser], edit [Owner SuperUser] Any;
    /// When the user last signed in.
    login_time: Option<Utc> => Nullable<sql::Instant>, see [Owner SuperUser];
    /// From which address the user last signed in.
    login_station: Option<String> => Nullable<Text>, see [Owner SuperUser];
    /// Whether the user's role is administrator.
    derived is_super_user: bool = Account::is_super_user, see [SuperUser];
    /// False: may not sign in.
    is_active: bool => Bool, see [SuperUser], edit [SuperUser] Fresh;
    /// A technical account.
    is_internal: bool => Bool, see [SuperUser];
    /// Locked: may not sign in, and sessions have ended.
    is_locked: bool => Bool, see [SuperUser];
    /// Why it is locked.
    lock_cause: Option<LockCause> => Nullable<Text>, see [SuperUser];
    /// Since when it is locked.
    locked_time: Option<Utc> => Nullable<sql::Instant>, see [SuperUser];
    /// Who locked it; null if no user did.
    locked_by: Option<UserId> => Nullable<sql::Uuid>, see [SuperUser];
    /// The reason given for the lock.
    lock_reason: Option<Line> => Nullable<Text>, see [SuperUser];
    /// Whether the account is of no use before a super-user approves it.
    is_approval_needed: bool => Bool, see [SuperUser];
    /// What was decided.
    approval_status: ApprovalStatus => Text, see [SuperUser];
    /// Who set the approval status; null if no user did.
    approval_status_mod_by: Option<UserId> => Nullable<sql::Uuid>, see [SuperUser];
    /// When the approval status was set.
    approval_status_mod_time: Option<Utc> => Nullable<sql::Instant>, see [SuperUser];
    /// Who approved or rejected; null while undecided.
    derived approv_rej_by: Option<UserId> = Account::approv_rej_by, see [SuperUser];
    /// When it was approved or rejected; null while undecided.
    derived approv_rej_time: Option<Utc> = Account::approv_rej_time, see [SuperUser];
    /// Whether the sign-up is confirmed.
    sign_up_status: SignUpStatus => Text, see [SuperUser];
    /// When the user signed up: the time of creation.
    derived sign_up_time: Utc = Account::sign_up_time, see [SuperUser];
    /// How and from where the account came.
    creation_ctx: CreationContext => Text, see [SuperUser];
    /// The password's hash.
    hidden password_hash: Option<PasswordHash> => Nullable<Text>;
    /// Whether the password is too short to be the only factor: it was set while one-time codes were enabled.
    hidden password_needs_totp: bool => Bool;
    /// Whether there is a password.
    derived password_is_set: bool = Account::password_is_set, see [SuperUser];
    /// The next sign-in must set a new password.
    password_must_change: bool => Bool, see [SuperUser], edit [SuperUser] Fresh;
    /// When the password was last set.
    password_last_set: Option<Utc> => Nullable<sql::Instant>, see [SuperUser];
    /// When the password expires.
    password_expiry: Option<Utc> => Nullable<sql::Instant>, see [SuperUser], edit [SuperUser] Fresh;
    /// True: the password's expiry is ignored.
    password_never_expires: bool => Bool, see [SuperUser], edit [SuperUser] Fresh;
    /// Successful sign-ins.
    login_count: i64 => BigInt, see [SuperUser];
    /// Consecutive failed sign-ins.
    failed_login_count: i64 => BigInt, see [SuperUser];
    /// No sign-in before this time.
    valid_from: Option<Utc> => Nullable<sql::Instant>, see [SuperUser], edit [SuperUser] Fresh;
    /// No sign-in from this time on.
    valid_to: Option<Utc> => Nullable<sql::Instant>, see [SuperUser], edit [SuperUser] Fresh;
    /// True: `valid_to` is ignored.
    never_expire: bool => Bool, see [SuperUser], edit [SuperUser] Fresh;
    /// The profile; null is none.
    profile_id: Option<i64> => Nullable<BigInt>, see [SuperUser], edit [SuperUser] Any;
    /// The supervisor; null is none.
    supervisor_id: Option<UserId> => Nullable<sql::Uuid>, see [SuperUser], edit [SuperUser] Any;
    /// The account's home server.
    server_id: Option<i64> => Nullable<BigInt>, see [SuperUser], edit [SuperUser] Any;
    /// The account's type.
    account_type: i64 => BigInt, see [SuperUser], edit [SuperUser] Any;
    /// A bit field.
    flags: i64 => BigInt, see [SuperUser], edit [SuperUser] Any;
    /// The default station.
    station: Option<Line> => Nullable<Text>, see [SuperUser], edit [SuperUser] Any;
    /// A remark.
    remark: Option<Note> => Nullable<Text>, see [SuperUser], edit [SuperUser] Any;
    /// When the account was created.
    created_time: Utc => sql::Instant, see [SuperUser];
    /// When the profile was last edited.
    updated_time: Utc => sql::Instant, see [SuperUser];
    /// The last authenticated use, to the minute.
    active_time: Option<Utc> => Nullable<sql::Instant>, see [SuperUser];
    /// Who moved the e-mail address, if it was somebody else than its owner; null if no user did.
    hidden email_mod_by: Option<UserId> => Nullable<sql::Uuid>;
    /// When somebody else than its owner moved the e-mail address.
    hidden email_mod_time: Option<Utc> => Nullable<sql::Instant>;
    /// The networks that the user may come from: a resource of its own.
    hidden networks: Networks => Text;
    /// What binds names, ways of recovery, password, role and factors to the key file.
    hidden credential_mac: RowMac => Binary;
    /// Whether the sign-up is final.
    derived confirmed: bool = Account::confirmed, see [SuperUser];
    /// Locked, licensed or inactive.
    derived account_status: AccountStatus = Account::account_status, see [SuperUser];
}

impl serde::Serialize for View<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !witness::note(self.account.user.user_id, self.viewer) {
            return Err(serde::ser::Error::custom("the trail does not know that this user is shown"));
        }
        self.unwitnessed().serialize(serializer)
    }
}

/// The viewer that `caller` is towards the user `subject`.
pub fn viewer_of(caller: Option<&User>, subject: UserId) -> Viewer {
    match caller {
        None => Viewer::Nobody,
        Some(user) if user.is_super_user() => Viewer::SuperUser,
        Some(user) if user.user_id == subject => Viewer::Owner,
        Some(_) => Viewer::Peer,
    }
}

impl Viewer {
    /// The viewer that one is in the list of users, which is open to everyone who is signed in or is not.
    pub fn in_list(self, is_open: bool) -> Self {
        match self {
            Self::Peer if is_open => Self::Colleague,
            Self::Nobody | Self::Peer | Self::Colleague | Self::Owner | Self::SuperUser => self,
        }
    }
}

/// For so long an address that somebody else moved gets no link that anybody may ask for.
const ADDRESS_HELD: std::time::Duration = std::time::Duration::from_secs(72 * 60 * 60);

/// A group, as its members' accounts show it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[schemars(inline)]
pub struct GroupRef {
    /// The group's id.
    pub group_id: GroupId,
    /// The group's name.
    pub name: Name,
}

/// How and from where an account came.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
    diesel::deserialize::FromSqlRow,
    diesel::expression::AsExpression,
)]
#[diesel(sql_type = Text)]
#[schemars(inline)]
pub struct CreationContext {
    /// By which way: `api`, `cli`, `first_start`, `sign_up`, `import`, `ecm`.
    pub via: String,
    /// By whom: a user's id, or an operator's `user@host`.
    pub by: Option<String>,
    /// Through which application.
    pub application: Option<String>,
    /// From which address.
    pub remote_addr: Option<String>,
    /// In which call.
    pub cid: Option<String>,
}

impl User {
    /// A super-user is an administrator; nothing else makes one.
    pub fn is_super_user(&self) -> bool {
        match self.user_role {
            UserRole::Administrator => true,
            UserRole::Viewer | UserRole::Publisher | UserRole::Foreign(_) => false,
        }
    }

    /// A fresh account: active, approved, final, a viewer without a password. `number` is given by the store.
    pub fn fresh(user_id: UserId, username: Name, now: Utc, creation_ctx: CreationContext) -> Self {
        Self {
            user_id,
            number: 0,
            username_key: username.key(),
            login_name: username.clone(),
            login_name_key: username.key(),
            display_name: Line::from(username.clone()),
            username,
            external_id: None,
            email: None,
            email_key: None,
            first_name: None,
            middle_name: None,
            last_name: None,
            is_totp_enabled: false,
            totp_label: None,
            totp_enrolment_end: None,
            user_role: UserRole::Viewer,
            lang_id: None,
            login_time: None,
            login_station: None,
            is_active: true,
            is_internal: false,
            is_locked: false,
            lock_cause: None,
            locked_time: None,
            locked_by: None,
            lock_reason: None,
            is_approval_needed: false,
            approval_status: ApprovalStatus::Approved,
            approval_status_mod_by: None,
            approval_status_mod_time: Some(now),
            sign_up_status: SignUpStatus::Final,
            creation_ctx,
            password_hash: None,
            password_needs_totp: false,
            password_must_change: false,
            password_last_set: None,
            password_expiry: None,
            password_never_expires: false,
            login_count: 0,
            failed_login_count: 0,
            valid_from: None,
            valid_to: None,
            never_expire: false,
            profile_id: None,
            supervisor_id: None,
            server_id: None,
            account_type: 0,
            flags: 0,
            station: None,
            remark: None,
            created_time: now,
            updated_time: now,
            active_time: None,
            email_mod_by: None,
            email_mod_time: None,
            networks: Networks::default(),
            credential_mac: RowMac::default(),
        }
    }

    /// Notes who made this of `before`, if that moves the e-mail address. A first address is no move, unless its owner has been here.
    pub fn note_address(&mut self, before: &Self, by: Option<UserId>, now: Utc) {
        if self.email == before.email {
            return;
        }
        let is_move = by != Some(self.user_id) && (before.email.is_some() || before.login_time.is_some());
        self.email_mod_by = by.filter(|_| is_move);
        self.email_mod_time = is_move.then_some(now);
    }

    /// Whether somebody else moved the address lately, and the owner has not signed in since: then what anybody can ask for is not mailed
    /// there. It would hand the account to whoever has the new mailbox.
    pub fn is_address_held(&self, now: Utc) -> bool {
        self.email_mod_time.is_some_and(|moved| now < moved + ADDRESS_HELD && self.login_time.is_none_or(|seen| seen <= moved))
    }

    /// Locks the account.
    pub fn lock(&mut self, cause: LockCause, by: Option<UserId>, reason: Option<Line>, now: Utc) {
        self.is_locked = true;
        self.lock_cause = Some(cause);
        self.locked_time = Some(now);
        self.locked_by = by;
        self.lock_reason = reason;
    }

    /// Unlocks the account; its failures are forgotten with the lock.
    pub fn unlock(&mut self) {
        self.is_locked = false;
        self.lock_cause = None;
        self.locked_time = None;
        self.locked_by = None;
        self.lock_reason = None;
        self.failed_login_count = 0;
    }

    /// Decides on the account.
    pub fn decide(&mut self, status: ApprovalStatus, by: Option<UserId>, now: Utc) {
        self.approval_status = status;
        self.approval_status_mod_by = by;
        self.approval_status_mod_time = Some(now);
    }

    /// Sets the password. It expires at `expiry`, or else after its life.
    pub fn set_password(&mut self, password: FitPassword, must_change: bool, expiry: Option<Utc>, now: Utc) {
        let FitPassword { hash, needs_totp, life } = password;
        let end_of_life = life.filter(|_| !self.password_never_expires).map(|life| now + life);
        self.password_hash = Some(hash);
        self.password_needs_totp = needs_totp;
        self.password_must_change = must_change;
        self.password_expiry = expiry.or(end_of_life);
        self.password_last_set = Some(now);
        self.ask_for_a_longer_password();
    }

    /// From now on sign-in asks for a one-time code.
    pub fn enable_totp(&mut self) {
        self.is_totp_enabled = true;
        self.totp_enrolment_end = None;
    }

    /// From now on sign-in asks for no one-time code. A password that was long enough only beside one must be changed.
    pub fn disable_totp(&mut self) {
        self.is_totp_enabled = false;
        self.totp_enrolment_end = None;
        self.ask_for_a_longer_password();
    }

    fn ask_for_a_longer_password(&mut self) {
        if self.password_needs_totp && !self.is_totp_enabled {
            self.password_must_change = true;
        }
    }

    /// Gives a fresh account its attributes.
    pub fn furnish(&mut self, patch: Patch) {
        let has_display_name = patch.display_name.is_some();
        patch.apply(self);
        self.settle_keys();
        if !has_display_name {
            self.display_name = self.default_display_name();
        }
    }

    /// What follows from other attributes: the keys of the names and of the e-mail address.
    pub fn settle_keys(&mut self) {
        self.email_key = self.email.as_ref().map(Email::key);
        self.username_key = self.username.key();
        self.login_name_key = self.login_name.key();
    }

    /// The name to show when none was given.
    pub fn default_display_name(&self) -> Line {
        let names = [&self.first_name, &self.middle_name, &self.last_name];
        let joined = names.into_iter().flatten().map(Line::as_str).filter(|n| !n.is_empty()).collect::<Vec<_>>().join(" ");
        match Line::try_from(joined) {
            Ok(line) if !line.as_str().is_empty() => line,
            Ok(_) | Err(_) => Line::from(self.username.clone()),
        }
    }
}

/// A password that was found fit to be set.
#[derive(Clone, Debug)]
pub struct FitPassword {
    /// Its hash.
    pub hash: PasswordHash,
    /// Whether it is too short to be the only factor.
    pub needs_totp: bool,
    /// After how long it expires, where passwords do.
    pub life: Option<Duration>,
}

/// For how long after the last use an unlocked account counts as licensed.
pub const LICENSED_FOR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A user with what hangs on it, as it was at one instant.
#[derive(Clone, Debug)]
pub struct Account {
    /// The row.
    pub user: User,
    /// The groups the user is a member of, by name.
    pub groups: Vec<GroupRef>,
    /// The key of an unconfirmed one-time code enrolment.
    pub enrolment: Option<TotpKey>,
    /// When this was loaded.
    pub as_of: Utc,
}

impl Account {
    /// What `viewer` sees of those attributes that someone may edit, as an entity tag (RFC 9110, section 8.8.3): it changes with an edit
    /// that the viewer sees, and not with a sign-in or a lock.
    pub fn etag(&self, viewer: Viewer) -> String {
        let view = serde_json::to_value(self.view(viewer).unwitnessed()).unwrap_or_default();
        let mut hash = Sha256::new().chain_update(self.user.user_id.as_bytes());
        for attribute in ATTRIBUTES.iter().filter(|a| !a.edit.is_empty()) {
            if let Some(value) = view.get(attribute.name) {
                hash.update(attribute.name);
                hash.update([0]);
                hash.update(value.to_string());
                hash.update([0]);
            }
        }
        let digest: String = hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect();
        format!("\"{digest}\"")
    }

    fn totp_key_in_enrolment(&self) -> Option<&str> {
        self.enrolment.as_ref().filter(|_| !self.user.is_totp_enabled).map(TotpKey::expose)
    }

    fn groups(&self) -> &[GroupRef] {
        &self.groups
    }

    fn is_super_user(&self) -> bool {
        self.user.is_super_user()
    }

    fn decided(&self) -> bool {
        match self.user.approval_status {
            ApprovalStatus::BeforeDecision | ApprovalStatus::Foreign(_) => false,
            ApprovalStatus::Approved | ApprovalStatus::Rejected => true,
        }
    }

    fn approv_rej_by(&self) -> Option<UserId> {
        self.user.approval_status_mod_by.filter(|_| self.decided())
    }

    fn approv_rej_time(&self) -> Option<Utc> {
        self.user.approval_status_mod_time.filter(|_| self.decided())
    }

    fn sign_up_time(&self) -> Utc {
        self.user.created_time
    }

    fn password_is_set(&self) -> bool {
        self.user.password_hash.is_some()
    }

    fn confirmed(&self) -> bool {
        self.user.sign_up_status == SignUpStatus::Final
    }

    fn account_status(&self) -> AccountStatus {
        if self.user.is_locked {
            AccountStatus::Locked
        } else if self.user.active_time.is_some_and(|t| t + LICENSED_FOR > self.as_of) {
            AccountStatus::Licensed
        } else {
            AccountStatus::Inactive
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attribute::{Act, allows};
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn any_member() -> impl Strategy<Value = String> {
        let known: Vec<String> = ATTRIBUTES.iter().map(|attribute| attribute.name.to_owned()).collect();
        prop_oneof![4 => prop::sample::select(known), 1 => "[a-z_]{1,12}".prop_map(String::from), 1 => Just("password_hash".to_owned())]
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            Just(json!("administrator")),
            Just(json!("2031-05-04T03:02:01Z")),
            Just(json!({"a": []})),
        ]
    }

    proptest! {
        /// S29, R1, R15: a patch that is taken has members alone that are in the table and that this viewer may edit; whatever else is in it
        /// is named, and then nothing is taken.
        #[test]
        fn any_members_are_a_patch_or_refused(members in prop::collection::hash_map(any_member(), any_value(), 0..4)) {
            let members: Map<String, Value> = members.into_iter().collect();
            for viewer in [Viewer::Nobody, Viewer::Peer, Viewer::Owner, Viewer::SuperUser] {
                let editable = |name: &String| ATTRIBUTES.iter().any(|a| a.name == name && allows(viewer, Act::Edit, a));
                match Patch::read(viewer, &members) {
                    Ok(patch) => {
                        prop_assert!(members.keys().all(editable));
                        prop_assert_eq!(patch.is_empty(), members.is_empty());
                    }
                    Err(refused) => {
                        prop_assert!(!refused.is_empty());
                        let named = |name: &&String| refused.iter().any(|r| r.member == **name);
                        prop_assert!(members.keys().filter(|name| !editable(name)).all(|name| named(&name)));
                    }
                }
            }
        }
    }
}
