//! The attribute table: the mechanism. The rows are in [`super::user`].
//!
//! A row names an attribute, its type, its SQL type, who sees it, who may change it and what an edit asks of the proof. From the rows the macro
//! [`attributes!`] makes
//!
//! - the diesel table and the row type, which has **no** `Serialize`: a row cannot become an answer by accident;
//! - [`View`](super::user::View), the only thing about a user that can be serialised: for each attribute it asks [`allows`];
//! - [`Patch`](super::user::Patch), which has exactly the attributes that someone may change, and refuses the rest;
//! - the list of [`Attribute`]s that `GET /api/v1/views` and the documentation print.
//!
//! What must not happen does not compile. This does:
//!
//! ```
//! # mod user {
//! use diesel::sql_types::{BigInt, Text};
//! use usher::domain::secret::PasswordHash;
//! #[derive(Debug)]
//! pub struct Account { pub user: User }
//! usher::attributes! {
//!     /// The key.
//!     user_id: i64 => BigInt, see [Owner SuperUser];
//!     /// The name to show.
//!     display_name: String => Text, see [Owner SuperUser], edit [Owner] Any;
//!     /// The password's hash.
//!     hidden password_hash: PasswordHash => Text;
//! }
//! # }
//! ```
//!
//! A row without a rule does not:
//!
//! ```compile_fail
//! # mod user {
//! use diesel::sql_types::{BigInt, Text};
//! #[derive(Debug)]
//! pub struct Account { pub user: User }
//! usher::attributes! {
//!     /// The key.
//!     user_id: i64 => BigInt, see [Owner SuperUser];
//!     /// The name to show.
//!     display_name: String => Text;
//! }
//! # }
//! ```
//!
//! nor one that can be edited without saying what that asks of the proof:
//!
//! ```compile_fail
//! # mod user {
//! use diesel::sql_types::{BigInt, Text};
//! #[derive(Debug)]
//! pub struct Account { pub user: User }
//! usher::attributes! {
//!     /// The key.
//!     user_id: i64 => BigInt, see [Owner SuperUser];
//!     /// The name to show.
//!     display_name: String => Text, see [Owner SuperUser], edit [Owner];
//! }
//! # }
//! ```
//!
//! nor a secret that someone is to see:
//!
//! ```compile_fail,E0277
//! # mod user {
//! use diesel::sql_types::{BigInt, Text};
//! use usher::domain::secret::PasswordHash;
//! #[derive(Debug)]
//! pub struct Account { pub user: User }
//! usher::attributes! {
//!     /// The key.
//!     user_id: i64 => BigInt, see [Owner SuperUser];
//!     /// The password's hash.
//!     password_hash: PasswordHash => Text, see [SuperUser];
//! }
//! # }
//! ```
//!
//! nor a row that becomes an answer:
//!
//! ```compile_fail,E0277
//! fn answer(user: &usher::domain::user::User) -> String {
//!     serde_json::to_string(user).unwrap_or_default()
//! }
//! ```

#![deny(clippy::wildcard_enum_match_arm, reason = "a new variant must be decided on, not fall through")]

use super::demand::EditProof;

super::words::words! {
    /// Who looks, relative to whom: computed once per request from caller and subject, never taken from the request.
    Viewer {
        /// Not signed in.
        Nobody = "nobody",
        /// Signed in, looking at someone else.
        Peer = "peer",
        /// Signed in, looking at someone else in a list of users that is open to everyone.
        Colleague = "colleague",
        /// Looking at oneself.
        Owner = "owner",
        /// A super-user, looking at anyone, oneself included.
        SuperUser = "super_user",
    }
}

/// What the table says of one attribute.
#[derive(Debug)]
pub struct Attribute {
    /// Its name in answers and requests.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Who sees it.
    pub see: &'static [Viewer],
    /// Who may change it through a patch.
    pub edit: &'static [Viewer],
    /// What such a change asks of the proof of whoever makes it.
    pub edit_proof: EditProof,
    /// The JSON schema of its value.
    pub schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
    /// Shown only while it has a value.
    pub transient: bool,
}

/// What a viewer may do with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// See its value.
    See,
    /// Change it through a patch.
    Edit,
}

/// The one decision on visibility and editability.
pub fn allows(viewer: Viewer, act: Act, attribute: &Attribute) -> bool {
    let rule = match act {
        Act::See => attribute.see,
        Act::Edit => attribute.edit,
    };
    match viewer {
        Viewer::Nobody | Viewer::Peer => false,
        Viewer::Colleague | Viewer::Owner | Viewer::SuperUser => rule.contains(&viewer),
    }
}

/// Why a member of a patch was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The member's name.
    pub member: String,
    /// The cause.
    pub why: Why,
}

/// The causes for which a member of a patch is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// No such attribute.
    Unknown,
    /// The viewer may not change it.
    Forbidden,
    /// The value does not fit; the text completes "the value …".
    Unfit(String),
}

/// Reads one member of a patch. The value is not repeated in the cause: what stands in the wrong member may be a secret.
pub fn read_member<T: serde::de::DeserializeOwned>(value: &serde_json::Value) -> Result<T, Why> {
    T::deserialize(value).map_err(|error| {
        let text = error.to_string();
        let cause = match text.split_once(", expected ") {
            Some((found, expected)) if found.starts_with("unknown variant") => format!("is not {expected}"),
            _ if ["invalid type", "invalid value", "invalid length", "unknown variant"].iter().any(|p| text.starts_with(p)) => {
                "is of the wrong type".to_owned()
            }
            _ if text.starts_with("UUID") => "is no UUID".to_owned(),
            // What is left are our own words on a text that does not fit.
            _ => text,
        };
        Why::Unfit(cause)
    })
}

/// Declares the user's attributes. Rows are one of
///
/// - `name: Type => Sql, see [Viewer…], edit [Viewer…] Proof;` stored, and changed through patches, by such an [`EditProof`];
/// - `name: Type => Sql, see [Viewer…];` stored, and changed by operations of its own;
/// - `derived name: Type = function, see [Viewer…];` computed from the account;
/// - `derived name: Option<Type> = function, see [Viewer…] while present;` absent from the answer while there is none;
/// - `hidden name: Type => Sql;` stored, never shown to anyone.
#[doc(hidden)]
#[macro_export]
macro_rules! attributes {
    (@rows $stored:tt $patch:tt $shown:tt) => { $crate::attributes! { @make $stored $patch $shown } };
    (@rows {$($stored:tt)*} {$($patch:tt)*} {$($shown:tt)*}
        $(#[doc = $doc:literal])+ $name:ident: $ty:ty => $sql:ty, see [$($see:ident)+], edit [$($edit:ident)+] $proof:ident; $($rest:tt)*) => {
        $crate::attributes! { @rows
            {$($stored)* {$(#[doc = $doc])+ $name, $ty, $sql}}
            {$($patch)* {$(#[doc = $doc])+ $name, $ty, $proof}}
            {$($shown)* {[$($doc)+] $name, $ty, [$($see)+], [$($edit)+] $proof, false, (|account| Some(&account.user.$name))}}
            $($rest)* }
    };
    (@rows {$($stored:tt)*} {$($patch:tt)*} {$($shown:tt)*}
        $(#[doc = $doc:literal])+ $name:ident: $ty:ty => $sql:ty, see [$($see:ident)+]; $($rest:tt)*) => {
        $crate::attributes! { @rows
            {$($stored)* {$(#[doc = $doc])+ $name, $ty, $sql}}
            {$($patch)*}
            {$($shown)* {[$($doc)+] $name, $ty, [$($see)+], [] Any, false, (|account| Some(&account.user.$name))}}
            $($rest)* }
    };
    (@rows {$($stored:tt)*} {$($patch:tt)*} {$($shown:tt)*}
        $(#[doc = $doc:literal])+ derived $name:ident: $ty:ty = $get:path, see [$($see:ident)+]; $($rest:tt)*) => {
        $crate::attributes! { @rows
            {$($stored)*} {$($patch)*}
            {$($shown)* {[$($doc)+] $name, $ty, [$($see)+], [] Any, false, (|account| Some($get(account)))}}
            $($rest)* }
    };
    (@rows {$($stored:tt)*} {$($patch:tt)*} {$($shown:tt)*}
        $(#[doc = $doc:literal])+ derived $name:ident: Option<$ty:ty> = $get:path, see [$($see:ident)+] while present; $($rest:tt)*) => {
        $crate::attributes! { @rows
            {$($stored)*} {$($patch)*}
            {$($shown)* {[$($doc)+] $name, $ty, [$($see)+], [] Any, true, (|account| $get(account))}}
            $($rest)* }
    };
    (@rows {$($stored:tt)*} {$($patch:tt)*} {$($shown:tt)*}
        $(#[doc = $doc:literal])+ hidden $name:ident: $ty:ty => $sql:ty; $($rest:tt)*) => {
        $crate::attributes! { @rows
            {$($stored)* {$(#[doc = $doc])+ $name, $ty, $sql}}
            {$($patch)*} {$($shown)*}
            $($rest)* }
    };
    (@make
        {$({$(#[doc = $sdoc:literal])+ $stored:ident, $sty:ty, $sql:ty})*}
        {$({$(#[doc = $pdoc:literal])+ $patch:ident, $pty:ty, $pproof:ident})*}
        {$({[$($vdoc:literal)+] $shown:ident, $vty:ty, [$($see:ident)+], [$($edit:ident)*] $proof:ident, $transient:literal, (|$account:ident| $get:expr)})*}
    ) => {
        diesel::table! {
            use $crate::domain::sql;
            use diesel::sql_types::*;

            /// In columns: see `User`.
            users (user_id) { $($(#[doc = $sdoc])+ $stored -> $sql,)* }
        }

        /// A user as the database holds it: every stored attribute, secrets included. Not serialisable; see [`View`].
        #[derive(Clone, Debug, PartialEq, Eq, diesel::Queryable, diesel::Insertable, diesel::AsChangeset)]
        #[diesel(table_name = users, primary_key(user_id), treat_none_as_null = true, treat_none_as_default_value = false)]
        pub struct User { $($(#[doc = $sdoc])+ pub $stored: $sty,)* }

        /// A change of the attributes that someone may change; `None` leaves one as it is.
        #[derive(Clone, Debug, Default)]
        pub struct Patch { $($(#[doc = $pdoc])+ pub $patch: Option<$pty>,)* }

        impl Patch {
            /// Reads the members of a JSON object on behalf of `viewer`. Every member that is unknown, forbidden or unfit is
            /// named; nothing is taken if one is.
            pub fn read(viewer: $crate::domain::attribute::Viewer, members: &serde_json::Map<String, serde_json::Value>)
                -> Result<Self, Vec<$crate::domain::attribute::Refused>>
            {
                use $crate::domain::attribute::{Act, Refused, Why, allows, read_member};
                let mut patch = Self::default();
                let mut refused = Vec::new();
                for (member, value) in members {
                    let read = match ATTRIBUTES.iter().find(|a| a.name == member) {
                        None => Err(Why::Unknown),
                        Some(attribute) if !allows(viewer, Act::Edit, attribute) => Err(Why::Forbidden),
                        Some(_) => match member.as_str() {
                            $(stringify!($patch) => read_member(value).map(|v| patch.$patch = Some(v)),)*
                            _ => Err(Why::Forbidden),
                        },
                    };
                    if let Err(why) = read {
                        refused.push(Refused { member: member.clone(), why });
                    }
                }
                if refused.is_empty() { Ok(patch) } else { Err(refused) }
            }

            /// Puts the change into `user`.
            pub fn apply(self, user: &mut User) {
                $(if let Some(value) = self.$patch { user.$patch = value; })*
            }

            /// Whether nothing would change hands.
            pub fn is_empty(&self) -> bool {
                true $(&& self.$patch.is_none())*
            }
        }

        impl User {
            /// Whether an edit that made `after` of this changes what asks for a recent proof.
            pub fn is_edit_of_recovery(&self, after: &Self) -> bool {
                use $crate::domain::demand::EditProof;
                false $(|| (EditProof::$pproof == EditProof::Fresh && self.$patch != after.$patch))*
            }
        }

        /// The attribute table.
        pub static ATTRIBUTES: &[$crate::domain::attribute::Attribute] = &[$(
            $crate::domain::attribute::Attribute {
                name: stringify!($shown),
                doc: concat!($($vdoc),+).trim_ascii(),
                see: &[$($crate::domain::attribute::Viewer::$see),+],
                edit: &[$($crate::domain::attribute::Viewer::$edit),*],
                edit_proof: $crate::domain::demand::EditProof::$proof,
                schema: <$vty as schemars::JsonSchema>::json_schema,
                transient: $transient,
            },
        )*];

        /// An account as one viewer sees it: the only serialisable form of a user. Serialised, it is shown to somebody: the trail's witness
        /// is told.
        #[derive(Clone, Copy, Debug)]
        pub struct View<'a> { account: &'a Account, viewer: $crate::domain::attribute::Viewer }

        /// The same, for what is no answer, or where the trail is told in another way. Few places need it; a test holds which.
        #[derive(Clone, Copy, Debug)]
        pub struct Unwitnessed<'a>(View<'a>);

        impl<'a> View<'a> {
            /// Without a witness.
            pub fn unwitnessed(self) -> Unwitnessed<'a> {
                Unwitnessed(self)
            }
        }

        impl Account {
            /// This account as `viewer` sees it.
            pub fn view(&self, viewer: $crate::domain::attribute::Viewer) -> View<'_> {
                View { account: self, viewer }
            }
        }

        impl serde::Serialize for Unwitnessed<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                use $crate::domain::attribute::{Act, allows};
                let mut map = serializer.serialize_map(None)?;
                let mut table = ATTRIBUTES.iter();
                $(
                    if let Some(attribute) = table.next() && allows(self.0.viewer, Act::See, attribute) {
                        let $account = self.0.account;
                        if let Some(value) = $get {
                            map.serialize_entry(stringify!($shown), &value)?;
                        }
                    }
                )*
                map.end()
            }
        }
    };
    ($($rows:tt)+) => { $crate::attributes! { @rows {} {} {} $($rows)+ } };
}
pub use attributes;
