//! The JSON schemas of users, made of the attribute table.

use crate::domain::attribute::Viewer;
use crate::domain::user::ATTRIBUTES;
use crate::service::SIGN_UP;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// A user as an answer: every attribute with those who see it.
pub(super) fn user_schema(schemas: &mut SchemaGenerator) -> Schema {
    let mut members = Map::new();
    for attribute in ATTRIBUTES {
        let mut schema = (attribute.schema)(schemas).to_value();
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), attribute.doc.into());
            schema.insert("x-see".to_owned(), json!(attribute.see));
            schema.insert("x-edit".to_owned(), json!(attribute.edit));
        }
        members.insert(attribute.name.to_owned(), schema);
    }
    let description = "A user, cut to what the caller may see: an attribute that it may not see is absent.";
    object(description, members)
}

/// A user to be created: what a super-user may change, and the password.
pub(super) fn new_user_schema(schemas: &mut SchemaGenerator) -> Schema {
    let mut members = Map::new();
    for attribute in ATTRIBUTES.iter().filter(|a| a.edit.contains(&Viewer::SuperUser)) {
        members.insert(attribute.name.to_owned(), (attribute.schema)(schemas).to_value());
    }
    members.insert("password".to_owned(), json!({"type": "string", "format": "password", "writeOnly": true}));
    let link = "True: a link is mailed by which the person sets the password. Not together with `password`; needs `email`.";
    members.insert("must_set_password".to_owned(), json!({"type": "boolean", "writeOnly": true, "description": link}));
    let mut schema = object("A user to be created.", members);
    schema.insert("required".to_owned(), json!(["username"]));
    schema.insert("additionalProperties".to_owned(), false.into());
    schema
}

/// A filled sign-up form.
pub(super) fn sign_up_schema(schemas: &mut SchemaGenerator) -> Schema {
    let mut members = Map::new();
    for attribute in ATTRIBUTES.iter().filter(|a| SIGN_UP.contains(&a.name)) {
        members.insert(attribute.name.to_owned(), (attribute.schema)(schemas).to_value());
    }
    members.insert("password".to_owned(), json!({"type": "string", "format": "password", "writeOnly": true}));
    let app = "The application, instead of the one in `X-Current-App`.";
    members.insert("current_app".to_owned(), json!({"type": "string", "description": app}));
    let mut schema = object("What one says of oneself at a sign-up.", members);
    schema.insert("required".to_owned(), json!(["username", "email", "password"]));
    schema.insert("additionalProperties".to_owned(), false.into());
    schema
}

/// A change of a user: what someone may change, and who.
pub(super) fn patch_schema(schemas: &mut SchemaGenerator) -> Schema {
    let mut members = Map::new();
    for attribute in ATTRIBUTES.iter().filter(|a| !a.edit.is_empty()) {
        let mut schema = (attribute.schema)(schemas).to_value();
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("x-edit".to_owned(), json!(attribute.edit));
        }
        members.insert(attribute.name.to_owned(), schema);
    }
    let mut schema = object("A change of a user (RFC 7396).", members);
    schema.insert("minProperties".to_owned(), 1.into());
    schema.insert("additionalProperties".to_owned(), false.into());
    schema
}

fn object(description: &str, members: Map<String, Value>) -> Schema {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("description".to_owned(), description.into());
    schema.insert("properties".to_owned(), members.into());
    schema.into()
}
