//! Users: looking at them, finding, creating, changing, deciding, locking and deleting them.

use super::answer::{self, Told};
use super::null;
use super::sent::{Sent, time_of};
use crate::domain::attribute::Viewer;
use crate::domain::ids::UserId;
use crate::domain::secret::SentCode;
use crate::domain::user::{ApprovalStatus, SignUpStatus};
use crate::error::{Code, Error, Result};
use crate::service::{Authenticated, Filter, Names, NewUser, Numbered, Revision, SuperUser};
use serde_json::{Map, Value, json};
use std::str::FromStr;

/// Users on a page where no size is asked for, and at most.
const PAGE: (i64, i64) = (50, 100);

pub(super) async fn read(caller: Authenticated, sent: Sent) -> Result<Told> {
    let (account, viewer) = caller.account_of(sent.user()?).await?;
    answer::user(&account, viewer).map(Told::of)
}

/// One of a few words.
fn word<T: FromStr<Err = String>>(sent: &Sent, name: &'static str) -> Result<Option<T>> {
    let word = sent.text(name)?.map(|word| word.parse()).transpose();
    word.map_err(|flaw| Error::new(Code::Invalid).at(name, flaw))
}

pub(super) async fn create(caller: SuperUser, sent: Sent) -> Result<Told> {
    let mut members = Map::new();
    let mut put = |name: &str, value: Option<String>| members.extend(value.map(|value| (name.to_owned(), Value::from(value))));
    for name in ["email", "display_name", "first_name", "middle_name", "last_name", "totp_label"] {
        put(name, sent.filled(name)?.map(|text| text.trim().to_owned()));
    }
    put("username", Some(sent.text("username")?.unwrap_or_default()));
    members.insert("password_must_change".to_owned(), sent.flag("password_must_change")?.into());
    let mut new = NewUser::read_with(Viewer::SuperUser, members, caller.leniency())?;
    new.password = Some(sent.secret("password")?.unwrap_or_else(|| caller.password_for_nobody()));
    new.awaits_approval = !sent.flag("auto_approve")?;
    new.sign_up_status = word::<SignUpStatus>(&sent, "sign_up_status")?;
    // A key that nothing asks for a code of is not kept.
    if sent.flag("is_totp_enabled")? {
        new.totp_key = Some(caller.key_for_new_user(sent.totp_key()?.as_ref())?);
    }
    let account = caller.create_user_as(new, "zato", sent.flag("is_locked")?).await?;
    answer::created(&account, sent.value("email").is_some()).map(Told::of)
}

/// What is to be changed, as it stands in the body.
fn revision(sent: &Sent) -> Result<Revision> {
    let mut members = Map::new();
    for name in ["username", "email", "display_name", "first_name", "middle_name", "last_name", "totp_label"] {
        if sent.has(name) {
            let value = match (name, sent.text(name)?) {
                // A text that may not be null natively is empty instead.
                ("display_name", text) => text.unwrap_or_default().into(),
                ("username", None) => return Err(null("username")),
                ("username", Some(text)) => text.into(),
                (_, text) => Value::from(text.filter(|text| !text.is_empty())),
            };
            members.insert(name.to_owned(), value);
        }
    }
    if sent.has("password_expiry") {
        let text = sent.text("password_expiry")?.ok_or_else(|| null("password_expiry"))?;
        let no_time = || Error::new(Code::Invalid).at("password_expiry", "is no time");
        members.insert("password_expiry".to_owned(), json!(time_of(&text).ok_or_else(no_time)?));
    }
    members.extend(sent.flag_in_body("password_must_change")?.map(|flag| ("password_must_change".to_owned(), flag.into())));
    let decided = |name| if sent.has(name) { word(sent, name)?.ok_or_else(|| null(name)).map(Some) } else { Ok(None) };
    let sign_up_status = if sent.has("sign_up_status") {
        Some(word(sent, "sign_up_status")?.ok_or_else(|| null("sign_up_status"))?)
    } else {
        None
    };
    Ok(Revision {
        members,
        lock: sent.flag_in_body("is_locked")?,
        approval_status: decided("approval_status")?,
        sign_up_status,
        is_totp_enabled: sent.flag_in_body("is_totp_enabled")?,
    })
}

pub(super) async fn update(caller: Authenticated, sent: Sent) -> Result<Told> {
    let named = sent.user()?;
    let mut revision = revision(&sent)?;
    if caller.leniency().is_totp_changed_without_code() {
        caller.revise(named, revision).await?;
        return Ok(Told::done());
    }
    let is_own = named.is_none_or(|user_id| user_id == caller.user_id());
    match revision.is_totp_enabled.take() {
        Some(wanted) if is_own && caller.has_totp() == wanted && revision.is_empty() => Ok(Told::done()),
        Some(wanted) if !is_own || caller.has_totp() != wanted => {
            let is_alone = revision.is_empty();
            revision.is_totp_enabled = Some(wanted);
            if is_alone {
                return switch(caller, named.filter(|_| !is_own), wanted, sent.filled("totp_code")?.map(SentCode::new)).await;
            }
            caller.revise(named, revision).await?;
            Ok(Told::done())
        }
        _ => {
            caller.revise(named, revision).await?;
            Ok(Told::done())
        }
    }
}

/// Switches one-time codes on or off, by a code; or another's off, who has lost them.
async fn switch(caller: Authenticated, other: Option<UserId>, wanted: bool, code: Option<SentCode>) -> Result<Told> {
    if let Some(other) = other {
        let caller = caller.rise()?;
        if wanted {
            return Err(Error::new(Code::MemberForbidden).at("is_totp_enabled", "may not be set for others"));
        }
        caller.reset_totp(other).await?;
        return Ok(Told::done());
    }
    let caller = caller.by_session()?;
    let code = code.ok_or_else(|| Error::new(Code::TotpRequired).because("totp_code_missing"))?;
    if !wanted {
        caller.disable_totp(&code).await?;
        return Ok(Told::done());
    }
    let codes = caller.confirm_totp(&code).await?;
    let codes: Vec<Value> = codes.iter().map(|code| code.expose().as_str().into()).collect();
    Ok(Told::done().with("recovery_codes", codes))
}

pub(super) async fn delete(caller: SuperUser, sent: Sent) -> Result<Told> {
    caller.delete(sent.one_user()?).await?;
    Ok(Told::done())
}

pub(super) async fn approve(caller: SuperUser, sent: Sent) -> Result<Told> {
    caller.decide(sent.one_user()?, ApprovalStatus::Approved).await?;
    Ok(Told::done())
}

pub(super) async fn reject(caller: SuperUser, sent: Sent) -> Result<Told> {
    caller.decide(sent.one_user()?, ApprovalStatus::Rejected).await?;
    Ok(Told::done())
}

pub(super) async fn lock(caller: SuperUser, sent: Sent) -> Result<Told> {
    // Oneself as well, if that is who is named; the last super-user never.
    caller.lock(sent.one_user()?, None, true).await?;
    Ok(Told::done())
}

pub(super) async fn unlock(caller: SuperUser, sent: Sent) -> Result<Told> {
    caller.unlock(sent.one_user()?).await?;
    Ok(Told::done())
}

/// Whom a search is for: an id decides alone, else a name does, else all that is given.
fn wanted(sent: &Sent) -> Result<(Filter, Names)> {
    let nobody = || Filter { is_contradiction: true, ..Filter::default() };
    let none = Names::default();
    if sent.filled("user_id")?.is_some() {
        let only = sent.user().ok().flatten();
        return Ok((only.map_or_else(nobody, |only| Filter { only: Some(only), ..Filter::default() }), none));
    }
    if let Some(username) = sent.filled("username")? {
        return Ok((Filter { username: Some(username), ..Filter::default() }, none));
    }
    let name = |name| sent.text(name).map(|text| text.filter(|text| !text.trim().is_empty()));
    let operator = sent.filled("name_op")?.map(|word| word.to_lowercase());
    let is_any = match operator.as_deref() {
        None | Some("and") => false,
        Some("or") => true,
        Some(_) => return Err(Error::new(Code::BadType).at("name_op", "is neither and nor or")),
    };
    let names = Names {
        display_name: name("display_name")?,
        first_name: name("first_name")?,
        middle_name: name("middle_name")?,
        last_name: name("last_name")?,
        is_any,
        is_whole: sent.flag("is_name_exact")?,
    };
    let mut filter = Filter { email: sent.filled("email")?, ..Filter::default() };
    // A word that is none is nobody's.
    if let Some(word) = sent.filled("approval_status")? {
        filter.approval_status = word.parse().ok();
        filter.is_contradiction |= filter.approval_status.is_none();
    }
    if let Some(word) = sent.filled("sign_up_status")? {
        filter.sign_up_status = word.parse().ok();
        filter.is_contradiction |= filter.sign_up_status.is_none();
    }
    Ok((filter, names))
}

pub(super) async fn search(caller: SuperUser, sent: Sent) -> Result<Told> {
    let (filter, names) = wanted(&sent)?;
    let (default, most) = PAGE;
    let number = sent.number("cur_page")?.unwrap_or(1).clamp(1, i64::from(i32::MAX));
    let size = sent.number("page_size")?.filter(|size| *size > 0).unwrap_or(default).min(most);
    let found = caller.search_names(filter, names, Numbered { number, size }).await?;
    let pages = found.total.saturating_add(size - 1) / size;
    let items = found.items.iter().map(answer::item).collect::<Result<Vec<Value>>>()?;
    let has_next = number < pages;
    Ok(Told::done()
        .with("total", found.total)
        .with("num_pages", pages)
        .with("page_size", size)
        .with("cur_page", number)
        .with("has_next_page", has_next)
        .with("has_prev_page", number > 1)
        .with("next_page", if has_next { json!(number + 1) } else { Value::Null })
        .with("prev_page", number - 1)
        .with("result", items))
}
