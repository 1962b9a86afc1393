//! What a change of a user changes, for the audit trail: the difference of what a super-user sees before and after.

use crate::domain::attribute::Viewer;
use crate::domain::audit::{AUTH_METHODS, Changes};
use crate::domain::session::AuthMethods;
use crate::domain::time::Utc;
use crate::domain::user::{Account, User};
use crate::error::{Code, Error, Result};
use crate::store::Tx;
use serde_json::Value;

/// What of a user's visible attributes differs; for the audit trail, which sees what a super-user sees.
pub(super) fn changes(tx: &mut Tx<'_>, before: &User, after: &User, now: Utc) -> Result<Option<Changes>> {
    changes_with_codes(tx, before, after, now, CodesLeft::default())
}

/// How many recovery codes a user had, and has left.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CodesLeft {
    pub(super) before: i64,
    pub(super) after: i64,
}

impl CodesLeft {
    /// Whether the number is another one.
    pub(super) fn has_changed(self) -> bool {
        self.before != self.after
    }
}

/// The same with the number of recovery codes, which is no attribute.
pub(super) fn changes_with_codes(
    tx: &mut Tx<'_>,
    before: &User,
    after: &User,
    now: Utc,
    codes: CodesLeft,
) -> Result<Option<Changes>> {
    let before = tx.read().account(before.clone(), now)?;
    let after = Account { user: after.clone(), ..before.clone() };
    let (mut old, mut new) = (shown(&before)?, shown(&after)?);
    for (view, left) in [(&mut old, codes.before), (&mut new, codes.after)] {
        if let Some(members) = view.as_object_mut() {
            members.insert("recovery_codes".to_owned(), left.into());
        }
    }
    Ok(Changes::between(&old, &new))
}

/// What changed, and by what the user proved who it is: the event of whatever opens a session or proves one anew tells it.
pub(super) fn with_methods(changes: Option<Changes>, methods: &AuthMethods) -> Result<Option<Changes>> {
    let changes = changes.unwrap_or_else(|| Changes::from_text("{}".to_owned()));
    let told = changes.with_new(AUTH_METHODS, &methods.words());
    Ok(Some(told.map_err(|e| Error::new(Code::Internal).cause(e.to_string()))?))
}

/// What differs between two states of an account.
pub(super) fn changes_between(before: &Account, after: &Account) -> Result<Option<Changes>> {
    Ok(Changes::between(&shown(before)?, &shown(after)?))
}

/// An account as a super-user sees it.
pub(super) fn shown(account: &Account) -> Result<Value> {
    serde_json::to_value(account.view(Viewer::SuperUser).unwitnessed())
        .map_err(|e| Error::new(Code::Internal).cause(e.to_string()))
}
