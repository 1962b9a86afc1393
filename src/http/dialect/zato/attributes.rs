//! Attributes of users and of sessions: one by its name, or several.
//!
//! Super-users alone come here, as in Zato; natively everyone has their own. A value in the form for one is a text, whatever it was sent as;
//! among several each keeps its kind.

use super::answer::Told;
use super::sent::{Sent, naive, number_of};
use super::sessions::target;
use crate::domain::custom_attribute::{AttributeName, AttributeValue, AttributeView, LONGEST_LIFE};
use crate::domain::zato;
use crate::error::{Code, Error, Result};
use crate::service::{Attributes, SuperUser, Write, Writing};
use serde_json::{Map, Value};
use std::time::Duration;

/// When what never expires does so.
const NEVER: &str = "9999-12-31T00:00:00";

fn unfit(member: &'static str, detail: &str) -> Error {
    Error::new(Code::Invalid).at(member, detail)
}

fn of_user(caller: SuperUser, sent: &Sent) -> Result<Attributes> {
    Ok(caller.attributes_of(sent.one_user()?))
}

async fn of_session(caller: SuperUser, sent: &Sent) -> Result<Attributes> {
    let unknown = || Error::new(Code::SessionInvalid).because("session_unknown");
    let session = target(&caller, sent).await?.ok_or_else(unknown)?;
    Ok(caller.attributes_of_session(session.session_id, session.user_id))
}

/// Which attributes are meant.
enum Which {
    One(AttributeName),
    Several(Vec<AttributeName>),
}

fn name_of(text: &str) -> Result<AttributeName> {
    text.parse().map_err(|flaw| unfit("name", flaw))
}

fn which(sent: &Sent) -> Result<Which> {
    if let Some(name) = sent.filled("name")? {
        return name_of(&name).map(Which::One);
    }
    let items = several(sent, "is no list of names, or an empty one")?;
    let names = items.iter().map(|item| item.as_str().map_or_else(|| Err(unfit("data", "has what is no name")), name_of));
    names.collect::<Result<_>>().map(Which::Several)
}

fn value_of(value: Option<Value>, writing: Writing) -> Result<Option<AttributeValue>> {
    let value = match (value, writing) {
        // In an update an empty value and none are one.
        (None | Some(Value::Null), Writing::Update) => return Ok(None),
        (Some(Value::String(text)), Writing::Update) if text.is_empty() => return Ok(None),
        (value, _) => value.unwrap_or_default(),
    };
    AttributeValue::parse(&value.to_string()).map(Some).map_err(|flaw| unfit("value", flaw))
}

/// A value in the form for one attribute: a text, or null.
fn as_text(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) => text.as_str().into(),
        Value::Bool(is_true) => if *is_true { "True" } else { "False" }.into(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string().into(),
    }
}

/// For how long an attribute lives; zero is for ever, as with Zato. In Zato a negative span makes what has expired already.
fn life(seconds: Option<i64>) -> Result<Option<Duration>> {
    let Some(seconds) = seconds.filter(|seconds| *seconds != 0) else { return Ok(None) };
    let seconds = u64::try_from(seconds).map_err(|_| unfit("expiration", "is negative"))?;
    Ok(Some(Duration::from_secs(seconds).min(LONGEST_LIFE)))
}

/// The list of several.
fn several<'a>(sent: &'a Sent, no_list: &'static str) -> Result<&'a [Value]> {
    match sent.value("data") {
        Some(Value::Array(items)) if !items.is_empty() => Ok(items),
        _ => Err(unfit("data", no_list)),
    }
}

fn writes(sent: &Sent, writing: Writing) -> Result<Vec<Write>> {
    let (expires_in, is_encrypted) = (life(sent.number("expiration")?)?, sent.flag("encrypt")?);
    if let Some(name) = sent.filled("name")? {
        let value = value_of(sent.value("value").map(as_text), writing)?;
        return Ok(vec![Write { user_id: None, name: name_of(&name)?, value, expires_in, is_encrypted }]);
    }
    let items = several(sent, "is no list, or an empty one")?;
    let write = |item: &Value| {
        let no_item = || unfit("data", "has what is no attribute");
        let item = item.as_object().ok_or_else(no_item)?;
        let name = item.get("name").and_then(Value::as_str).ok_or_else(no_item)?;
        let own = item.get("expiration").map(|seconds| number_of(seconds).ok_or_else(no_item)).transpose()?.flatten();
        let user_id = match item.get("user_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => {
                let unknown = || Error::new(Code::NotFound).because("id_malformed");
                Some(zato::read(text).ok_or_else(unknown)?)
            }
            Some(_) => return Err(no_item()),
        };
        let is_encrypted = match item.get("encrypt") {
            None | Some(Value::Null) => is_encrypted,
            Some(Value::Bool(is_encrypted)) => *is_encrypted,
            Some(_) => return Err(no_item()),
        };
        let value = value_of(item.get("value").cloned(), writing)?;
        Ok(Write { user_id, name: name_of(name)?, value, expires_in: life(own)?.or(expires_in), is_encrypted })
    };
    items.iter().map(write).collect()
}

async fn write(shelf: Attributes, sent: &Sent, writing: Writing) -> Result<Told> {
    shelf.write(writes(sent, writing)?, writing).await?;
    Ok(Told::done())
}

async fn delete(shelf: Attributes, sent: &Sent) -> Result<Told> {
    let names = match which(sent)? {
        Which::One(name) => vec![name],
        Which::Several(names) => names,
    };
    shelf.remove(names).await?;
    Ok(Told::done())
}

/// An attribute as it is told. What is kept encrypted is told in clear unless that is declined.
fn told(view: &AttributeView, decrypts: bool) -> Result<Map<String, Value>> {
    let broken = |e: serde_json::Error| Error::new(Code::Internal).cause(e.to_string());
    let is_shown = decrypts || !view.is_encrypted;
    let value = if is_shown { serde_json::from_str(view.value.as_json()).map_err(broken)? } else { Value::Null };
    let members = [
        ("name", view.name.as_str().into()),
        ("value", value),
        ("creation_time", naive(view.created_time).into()),
        ("last_modified", naive(view.updated_time).into()),
        ("expiration_time", view.expiry.map_or_else(|| NEVER.to_owned(), naive).into()),
        ("is_encrypted", view.is_encrypted.into()),
    ];
    Ok(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

async fn get(shelf: Attributes, sent: &Sent) -> Result<Told> {
    let decrypts = sent.value("decrypt").is_none() || sent.flag("decrypt")?;
    match which(sent)? {
        Which::One(name) => match shelf.some(&[name]).await?.pop().flatten() {
            Some(view) => Ok(Told::of(told(&view, decrypts)?).with("found", true)),
            None => Ok(Told::done().with("found", false)),
        },
        Which::Several(names) => {
            let found = shelf.some(&names).await?;
            let mut result = Map::new();
            for (name, view) in names.iter().zip(found) {
                let value = view.map_or(Ok(Value::Null), |view| told(&view, decrypts).map(Value::Object))?;
                result.insert(name.as_str().to_owned(), value);
            }
            Ok(Told::done().with("result", result))
        }
    }
}

async fn exist(shelf: Attributes, sent: &Sent) -> Result<Told> {
    let result: Value = match which(sent)? {
        Which::One(name) => shelf.some(&[name]).await?.iter().any(Option::is_some).into(),
        Which::Several(names) => {
            let found = shelf.some(&names).await?;
            let members = names.iter().zip(found).map(|(name, view)| (name.as_str().to_owned(), view.is_some().into()));
            Value::Object(members.collect())
        }
    };
    Ok(Told::done().with("result", result))
}

async fn names(shelf: Attributes) -> Result<Told> {
    let names: Vec<Value> = shelf.list().await?.iter().map(|view| view.name.as_str().into()).collect();
    Ok(Told::done().with("result", names))
}

macro_rules! calls {
    ($($of_user:ident, $of_session:ident: |$shelf:ident, $sent:ident| $work:expr;)*) => {$(
        pub(super) async fn $of_user(caller: SuperUser, $sent: Sent) -> Result<Told> {
            let $shelf = of_user(caller, &$sent)?;
            $work.await
        }

        pub(super) async fn $of_session(caller: SuperUser, $sent: Sent) -> Result<Told> {
            let $shelf = of_session(caller, &$sent).await?;
            $work.await
        }
    )*};
}

calls! {
    create_of_user, create_of_session: |shelf, sent| write(shelf, &sent, Writing::Create);
    update_of_user, update_of_session: |shelf, sent| write(shelf, &sent, Writing::Update);
    put_of_user, put_of_session: |shelf, sent| write(shelf, &sent, Writing::CreateOrUpdate);
    delete_of_user, delete_of_session: |shelf, sent| delete(shelf, &sent);
    get_of_user, get_of_session: |shelf, sent| get(shelf, &sent);
    exist_of_user, exist_of_session: |shelf, sent| exist(shelf, &sent);
    names_of_user, names_of_session: |shelf, _sent| names(shelf);
}
