//! The attribute table, as far as it concerns the caller.

use super::reply::Found;
use crate::domain::attribute::{Act, Viewer, allows};
use crate::domain::user::ATTRIBUTES;
use crate::error::Result;
use crate::service::Authenticated;
use schemars::JsonSchema;
use serde::Serialize;

/// What the caller may do with the attributes of a user.
#[derive(Serialize, JsonSchema)]
pub(super) struct ViewsBody {
    /// As whom the caller sees itself.
    viewer: Viewer,
    /// The attributes that the caller can read or change; others do not exist for it.
    attributes: Vec<AttributeBody>,
}

impl super::reply::Body for ViewsBody {}

/// What the caller may do with one attribute.
#[derive(Serialize, JsonSchema)]
struct AttributeBody {
    /// Its name.
    name: &'static str,
    /// What it means.
    description: &'static str,
    /// Whether it is in the answer.
    readable: bool,
    /// Whether a patch may change it.
    editable: bool,
}

pub(super) async fn list(caller: Authenticated, (): ()) -> Result<Found<ViewsBody>> {
    let viewer = caller.viewer_of(caller.user_id());
    let of = |a: &'static crate::domain::attribute::Attribute| AttributeBody {
        name: a.name,
        description: a.doc,
        readable: allows(viewer, Act::See, a),
        editable: allows(viewer, Act::Edit, a),
    };
    let attributes = ATTRIBUTES.iter().map(of).filter(|a| a.readable || a.editable).collect();
    Ok(Found(ViewsBody { viewer, attributes }))
}
