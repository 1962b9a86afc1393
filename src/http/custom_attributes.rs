//! Endpoints of custom attributes: six for each shelf, written once. A value goes through as the text that it was sent as, never as a
//! number or string that was read and written anew.

use super::input::{Input, Parts, UserSegment, read_raw_object, read_tags};
use super::reply::{Answer, Body, Done, Found, Items, Reply};
use crate::domain::custom_attribute::{AttributeName, AttributeValue, AttributeView, LONGEST_LIFE, Setting};
use crate::domain::precondition::Precondition;
use crate::domain::raw::RawObject;
use crate::error::{Code, Error, Fault, Result, WITHIN};
use crate::service::{Attributes, Authenticated, SignedIn, SuperUser};
use actix_web::http::header::{IF_MATCH, IF_NONE_MATCH};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A shelf: who may come to it, and by which path.
pub(super) trait Shelf {
    /// The caller, which is the gate.
    type Caller: super::gate::Gate + 'static;
    /// What of the path says whose it is.
    type Path: Input + 'static;

    /// The attributes on it.
    fn attributes(caller: Self::Caller, path: Self::Path) -> Attributes;
}

/// One's own.
pub(super) struct Own;

impl Shelf for Own {
    type Caller = Authenticated;
    type Path = ();
    fn attributes(caller: Authenticated, (): ()) -> Attributes {
        caller.own_attributes()
    }
}

/// Those of the session in use.
pub(super) struct OfSession;

impl Shelf for OfSession {
    type Caller = SignedIn;
    type Path = ();
    fn attributes(caller: SignedIn, (): ()) -> Attributes {
        caller.session_attributes()
    }
}

/// Those of a user.
pub(super) struct OfUser;

impl Shelf for OfUser {
    type Caller = SuperUser;
    type Path = UserSegment;
    fn attributes(caller: SuperUser, path: UserSegment) -> Attributes {
        caller.attributes_of(path.0)
    }
}

/// `{name}` in the path, fit or not.
pub(super) struct NameSegment(Result<AttributeName, &'static str>);

impl NameSegment {
    /// What cannot be a name names nothing.
    fn known(self) -> Result<AttributeName> {
        self.0.map_err(|_| Error::new(Code::NotFound).because("attribute_unknown"))
    }

    /// What is to become a name has to be fit for one.
    fn wanted(self) -> Result<AttributeName> {
        self.0.map_err(|flaw| Error::new(Code::Invalid).at("name", flaw))
    }
}

impl Input for NameSegment {
    async fn read(parts: &mut Parts) -> Result<Self> {
        Ok(Self(parts.request.match_info().get("name").unwrap_or_default().parse()))
    }

    fn describe(schemas: &mut SchemaGenerator) -> Value {
        let schema = AttributeName::json_schema(schemas);
        json!({"parameters": [{"name": "name", "in": "path", "required": true, "schema": schema}]})
    }
}

/// What the attribute must be like for it to be changed.
pub(super) struct Conditions(Precondition);

impl Input for Conditions {
    async fn read(parts: &mut Parts) -> Result<Self> {
        Ok(Self(Precondition {
            if_match: read_tags(&parts.request, IF_MATCH)?,
            if_none_match: read_tags(&parts.request, IF_NONE_MATCH)?,
        }))
    }

    fn describe(_: &mut SchemaGenerator) -> Value {
        let header =
            |name, description| json!({"name": name, "in": "header", "schema": {"type": "string"}, "description": description});
        json!({"parameters": [
            header("If-Match", "The ETag of the attribute as last read, or `*`: it must be there; else 412."),
            header("If-None-Match", "`*`: there must be no attribute of this name yet; else 412."),
        ]})
    }
}

/// What an attribute is to be.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is read by hand, for a value must not be read and written anew; this describes it")]
struct AttributeBody {
    /// Its value: any JSON, up to 16384 bytes and nested up to 16 deep.
    value: Value,
    /// After so many seconds it is gone; without it, never.
    #[schemars(range(min = 1, max = 3_153_600_000_u64))]
    expires_in: Option<u64>,
    /// Whether it is kept encrypted; false without it.
    encrypted: Option<bool>,
}

/// Attributes to be set, by name; `null` removes one.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is read by hand, for a value must not be read and written anew; this describes it")]
struct AttributesBody {
    /// What each of them is to be; `null` removes it. Others stay as they are.
    attributes: BTreeMap<String, Option<AttributeBody>>,
}

pub(super) struct AttributeInput(Setting);

impl Input for AttributeInput {
    async fn read(parts: &mut Parts) -> Result<Self> {
        setting(read_raw_object(parts).await?, "").map(Self)
    }

    fn describe(schemas: &mut SchemaGenerator) -> Value {
        let schema = schemas.subschema_for::<AttributeBody>();
        json!({"requestBody": {"required": true, "content": {"application/json": {"schema": schema}}}})
    }
}

pub(super) struct AttributesInput(Vec<(AttributeName, Option<Setting>)>);

impl Input for AttributesInput {
    async fn read(parts: &mut Parts) -> Result<Self> {
        settings(read_raw_object(parts).await?).map(Self)
    }

    fn describe(schemas: &mut SchemaGenerator) -> Value {
        let schema = schemas.subschema_for::<AttributesBody>();
        json!({"requestBody": {"required": true, "content": {"application/json": {"schema": schema}}}})
    }
}

/// Reads `{"attributes": {name: {…} or null, …}}`.
pub(super) fn settings(body: RawObject) -> Result<Vec<(AttributeName, Option<Setting>)>> {
    let mut wanted = None;
    for (member, raw) in body.0 {
        match member.as_str() {
            "attributes" if wanted.is_none() => {
                let object: RawObject =
                    serde_json::from_str(raw.get()).map_err(|_| Error::new(Code::BadType).at("attributes", "is no object"))?;
                wanted = Some(object.0);
            }
            "attributes" => return Err(Error::new(Code::Invalid).at(member, "is given twice")),
            _ => return Err(Error::new(Code::Invalid).fault(unknown(member))),
        }
    }
    let wanted = wanted.ok_or_else(|| missing("attributes"))?;
    let mut read: BTreeMap<AttributeName, Option<Setting>> = BTreeMap::new();
    for (name, raw) in wanted {
        let at = format!("attributes{WITHIN}{name}");
        let name: AttributeName = name.parse().map_err(|flaw: &str| Error::new(Code::Invalid).at(at.clone(), flaw))?;
        let setting = match raw.get() {
            "null" => None,
            json => {
                let object = serde_json::from_str(json)
                    .map_err(|_| Error::new(Code::BadType).at(at.clone(), "is neither an object nor null"))?;
                Some(setting(object, &format!("{at}{WITHIN}"))?)
            }
        };
        if read.insert(name, setting).is_some() {
            return Err(Error::new(Code::Invalid).at(at, "is given twice"));
        }
    }
    if read.is_empty() {
        return Err(Error::new(Code::Invalid).detail("There is nothing to change."));
    }
    Ok(read.into_iter().collect())
}

/// Reads `{"value": …, "expires_in"?: …, "encrypted"?: …}`; `at` is what leads to it in the body.
pub(super) fn setting(body: RawObject, at: &str) -> Result<Setting> {
    let place = |member: &str| format!("{at}{member}");
    let bad_type = |member: &str, flaw: &str| Error::new(Code::BadType).at(place(member), flaw);
    let (mut value, mut expires_in, mut encrypted) = (None::<Box<RawValue>>, None::<Box<RawValue>>, None::<Box<RawValue>>);
    let mut faults = Vec::new();
    for (member, raw) in body.0 {
        let known = match member.as_str() {
            "value" => &mut value,
            "expires_in" => &mut expires_in,
            "encrypted" => &mut encrypted,
            _ => {
                faults.push(unknown(place(&member)));
                continue;
            }
        };
        if known.replace(raw).is_some() {
            faults.push(unfit(place(&member), "is given twice"));
        }
    }
    if !faults.is_empty() {
        return Err(faults.into_iter().fold(Error::new(Code::Invalid), Error::fault));
    }
    let value = value.ok_or_else(|| missing(&place("value")))?;
    let number = |raw: Box<RawValue>| serde_json::from_str::<Option<i64>>(raw.get());
    let expires_in = expires_in.map(number).transpose();
    let expires_in = expires_in.map_err(|_| bad_type("expires_in", "is no whole number of seconds"))?.flatten();
    let flag = |raw: Box<RawValue>| serde_json::from_str::<Option<bool>>(raw.get());
    let encrypted = encrypted.map(flag).transpose();
    let encrypted = encrypted.map_err(|_| bad_type("encrypted", "is neither true nor false"))?.flatten();
    let life = expires_in.map(|seconds| u64::try_from(seconds).map(Duration::from_secs).unwrap_or_default());
    if life.is_some_and(|life| life.is_zero() || life > LONGEST_LIFE) {
        let flaw = format!("is not between 1 and {} seconds", LONGEST_LIFE.as_secs());
        faults.push(unfit(place("expires_in"), flaw));
    }
    match AttributeValue::parse(value.get()) {
        Ok(value) if faults.is_empty() => Ok(Setting { value, expires_in: life, is_encrypted: encrypted.unwrap_or(false) }),
        Ok(_) => Err(faults.into_iter().fold(Error::new(Code::Invalid), Error::fault)),
        Err(flaw) => {
            faults.push(unfit(place("value"), flaw));
            Err(faults.into_iter().fold(Error::new(Code::Invalid), Error::fault))
        }
    }
}

fn unknown(member: String) -> Fault {
    Fault { member, code: "unknown_member", detail: "is not known".to_owned() }
}

fn unfit(member: String, flaw: impl Into<String>) -> Fault {
    Fault { member, code: "unfit", detail: flaw.into() }
}

fn missing(member: &str) -> Error {
    Error::new(Code::BadType).at(member, "is missing")
}

impl Body for AttributeView {
    fn etag(&self) -> Option<String> {
        Some(self.etag.clone())
    }
}

/// An attribute that was set: 201 if there was none of its name before, else 200 (RFC 9110, section 9.3.4).
pub(super) struct Set {
    attribute: AttributeView,
    is_new: bool,
}

impl Answer for Set {
    fn into_reply(self) -> Result<Reply> {
        let reply = Found(self.attribute).into_reply()?;
        Ok(if self.is_new { Reply { status: 201, ..reply } } else { reply })
    }

    fn describe(schemas: &mut SchemaGenerator) -> (u16, Option<Value>) {
        Found::<AttributeView>::describe(schemas)
    }
}

pub(super) async fn list<S: Shelf>(caller: S::Caller, path: S::Path) -> Result<Found<Items<AttributeView>>> {
    Ok(Found(Items { items: S::attributes(caller, path).list().await? }))
}

pub(super) async fn set_several<S: Shelf>(
    caller: S::Caller,
    (path, AttributesInput(wanted)): (S::Path, AttributesInput),
) -> Result<Found<Items<AttributeView>>> {
    Ok(Found(Items { items: S::attributes(caller, path).set_several(wanted).await? }))
}

pub(super) async fn delete_all<S: Shelf>(caller: S::Caller, path: S::Path) -> Result<Done> {
    S::attributes(caller, path).delete_all().await?;
    Ok(Done)
}

pub(super) async fn get<S: Shelf>(caller: S::Caller, (path, name): (S::Path, NameSegment)) -> Result<Found<AttributeView>> {
    Ok(Found(S::attributes(caller, path).get(name.known()?).await?))
}

pub(super) async fn set<S: Shelf>(
    caller: S::Caller,
    ((path, name), (conditions, setting)): ((S::Path, NameSegment), (Conditions, AttributeInput)),
) -> Result<Set> {
    let (attribute, is_new) = S::attributes(caller, path).set(name.wanted()?, setting.0, conditions.0).await?;
    Ok(Set { attribute, is_new })
}

pub(super) async fn delete<S: Shelf>(
    caller: S::Caller,
    ((path, name), conditions): ((S::Path, NameSegment), Conditions),
) -> Result<Done> {
    S::attributes(caller, path).delete(name.known()?, conditions.0).await?;
    Ok(Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(json: &str) -> std::result::Result<String, String> {
        let object = serde_json::from_str(json).map_err(|e| e.to_string())?;
        setting(object, "").map(|s| s.value.as_json().to_owned()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_member_at_fault_is_named() {
        assert_eq!(read("{\"value\": 1.0}").as_deref(), Ok("1.0"));
        assert_eq!(read("{\"value\": null, \"expires_in\": null, \"encrypted\": null}").as_deref(), Ok("null"));
        for (json, fault) in [
            ("{}", "value: the value is missing"),
            ("{\"value\": 1, \"value\": 2}", "value: the value is given twice"),
            ("{\"value\": 1, \"expires\": 2}", "expires: the value is not known"),
            ("{\"value\": 1, \"expires_in\": 0}", "expires_in: the value is not between"),
            ("{\"value\": 1, \"expires_in\": -1}", "expires_in: the value is not between"),
            ("{\"value\": 1, \"expires_in\": 3153600001}", "expires_in: the value is not between"),
            ("{\"value\": 1, \"expires_in\": 1.5}", "expires_in: the value is no whole number"),
            ("{\"value\": 1, \"expires_in\": 99999999999999999999}", "expires_in: the value is no whole number"),
            ("{\"value\": 1, \"encrypted\": \"yes\"}", "encrypted: the value is neither"),
            ("{\"value\": {\"a\": 1, \"a\": 1}}", "value: the value has two members of one name"),
        ] {
            let refused = read(json).unwrap_err();
            assert!(refused.contains(fault), "{json}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_settings_or_refused(json in "(\\{\"attributes\":)?[\\[\\]{}\",:0-9a-e ]{0,40}(\"value\":[0-9]\\}?)?\\}?") {
            if let Ok(Ok(read)) = serde_json::from_str::<RawObject>(&json).map(settings) {
                prop_assert!(!read.is_empty());
            }
        }
    }
}
