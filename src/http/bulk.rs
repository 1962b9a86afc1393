//! Endpoints of many users at once, and of everything about one. Their answers are made while they are sent.

use super::crowd::{Busy, Place};
use super::input::{Input, Parts, Query, UserSegment};
use super::reply::{ByteStream, JsonStream, LINES, LineStream, UserAnswer};
use super::spool::spool;
use crate::domain::api_key::ApiKeyView;
use crate::domain::audit::EventView;
use crate::domain::bulk::{RowResult, Summary};
use crate::domain::custom_attribute::AttributeView;
use crate::domain::linked_account::LinkedAccountView;
use crate::domain::ndjson::Line;
use crate::domain::own_event::OwnEvent;
use crate::domain::session::SessionView;
use crate::domain::user::GroupRef;
use crate::error::{Code, Error, Result};
use crate::service::{Authenticated, Import, Intake, NewIds, PersonData, SuperUser};
use actix_web::http::header;
use actix_web::web::{Bytes, Payload};
use futures_util::{StreamExt as _, stream};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A body of lines may keep one waiting for this long in all, and for as long again as its bytes would take at the slowest rate (S39).
const PATIENCE: Duration = Duration::from_secs(10);
const SLOWEST: u64 = 1024;
/// For so long the next bytes are waited for before an incomplete batch goes ahead.
const GATHERING: Duration = Duration::from_millis(5);

/// A body of lines of JSON, of any length, read while it comes.
pub(super) struct Lines {
    payload: Payload,
    intake: Intake,
    has_ended: bool,
    received: u64,
    waited: Duration,
    /// As long as it is read, its answer need not be taken off.
    _busy: Option<Busy>,
}

impl Input for Lines {
    async fn read(parts: &mut Parts) -> Result<Self> {
        let kind = parts.request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(LINES) {
            return Err(Error::new(Code::NotJsonType).detail(format!("The body must be {LINES}.")));
        }
        let payload = parts.payload.take().ok_or_else(|| Error::new(Code::Internal).cause("the body was read twice"))?;
        let busy = parts.request.conn_data::<Place>().map(|place| place.stir().begin());
        Ok(Self { payload, intake: Intake::default(), has_ended: false, received: 0, waited: Duration::ZERO, _busy: busy })
    }

    fn describe(schemas: &mut SchemaGenerator) -> Value {
        let schema = super::schema::import_row_schema(schemas);
        json!({"requestBody": {"required": true, "content": {LINES: {"schema": schema}}}})
    }
}

impl Lines {
    /// The next batch of lines: a whole one of so many, unless the client takes its time.
    async fn next(&mut self, rows: usize) -> Result<Option<Vec<Line>>> {
        while !self.has_ended && !self.intake.is_full(rows) {
            let arriving = self.payload.next();
            let next = match timeout(GATHERING, arriving).await {
                Ok(next) => next,
                Err(_) => match self.intake.take(rows) {
                    Some(lines) => return Ok(Some(lines)),
                    None => self.wait().await?,
                },
            };
            match next {
                Some(chunk) => {
                    let chunk =
                        chunk.map_err(|e| Error::new(Code::BadRequest).because("body_broken_off").cause(e.to_string()))?;
                    self.received += chunk.len() as u64;
                    self.intake.feed(&chunk);
                }
                None => {
                    self.has_ended = true;
                    self.intake.finish();
                }
            }
        }
        Ok(self.intake.take(rows))
    }

    /// Waits for the next bytes, as long as the client is not too slow in all.
    async fn wait(&mut self) -> Result<Option<Result<Bytes, actix_web::error::PayloadError>>> {
        let began = Instant::now();
        let allowed = PATIENCE + Duration::from_secs(self.received / SLOWEST);
        let next = timeout(allowed.saturating_sub(self.waited), self.payload.next()).await;
        self.waited += began.elapsed();
        next.map_err(|_| Error::new(Code::RequestTimeout))
    }
}

/// How to import.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportQuery {
    /// Say what would happen, and change nothing.
    #[serde(default)]
    dry_run: bool,
    /// Tell owners of changed names and addresses by letter.
    #[serde(default)]
    notify: bool,
}

/// A line of an import's answer.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum ImportLine {
    /// What became of a row.
    Row(RowResult),
    /// The last line.
    End {
        /// How the import ended. Without this line it was broken off.
        summary: Summary,
    },
}

fn append(text: &mut Vec<u8>, line: &ImportLine) {
    // Numbers, words and texts: nothing that cannot be serialised.
    if serde_json::to_writer(&mut *text, line).is_ok() {
        text.push(b'\n');
    }
}

pub(super) async fn import(
    caller: SuperUser,
    (Query(query), lines): (Query<ImportQuery>, Lines),
) -> Result<LineStream<ImportLine>> {
    let import = caller.import_users(query.dry_run, query.notify, NewIds::Minted).await?;
    Ok(LineStream::new(results(import, lines)))
}

/// Runs the import once the answer has begun, beside it: it does not wait for whoever reads the answer.
fn results(import: Import, mut lines: Lines) -> ByteStream {
    let (writer, reader) = spool();
    let name = import.temporary_name();
    let work = async move {
        let tell = async |results: Vec<RowResult>| {
            let mut text = Vec::new();
            results.into_iter().for_each(|result| append(&mut text, &ImportLine::Row(result)));
            // What cannot be told any more is the end of it.
            writer.push(text.into(), &name).await.unwrap_or(false)
        };
        let (summary, _) = import.run(async |rows| lines.next(rows).await, tell).await;
        let mut text = Vec::new();
        append(&mut text, &ImportLine::End { summary });
        let _ = writer.push(text.into(), &name).await;
    };
    let begin = stream::once(async move {
        actix_web::rt::spawn(work);
        Ok(Bytes::new())
    });
    let rest = stream::unfold(reader, async |reader| reader.next().await.transpose().map(|next| (next, reader)));
    let broken = |e: io::Error| Error::new(Code::Internal).cause(format!("the answer of an import cannot be kept: {e}"));
    begin.chain(rest.map(move |next| next.map_err(broken))).boxed_local()
}

pub(super) async fn export(caller: SuperUser, (): ()) -> Result<LineStream<UserAnswer>> {
    let export = caller.export_users().await?;
    let pieces =
        stream::try_unfold(export, async |mut export| Ok(export.next().await?.map(|piece| (Bytes::from(piece), export))));
    Ok(LineStream::new(pieces.boxed_local()))
}

/// Everything that is kept of a person.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes the document, which is made piece by piece")]
pub(super) struct PersonDocument<E> {
    /// The person, as the caller sees it.
    user: UserAnswer,
    /// The groups that the person is a member of.
    groups: Vec<GroupRef>,
    /// The person's live sessions.
    sessions: Vec<SessionView>,
    /// The person's API keys, without their tokens.
    api_keys: Vec<ApiKeyView>,
    /// The accounts of HTTP Basic that act as the person.
    linked_accounts: Vec<LinkedAccountView>,
    /// The person's custom attributes, those that are kept encrypted as well.
    attributes: Vec<AttributeView>,
    /// The events on the person and by the person, oldest first.
    audit_events: Vec<E>,
}

pub(super) async fn data(caller: SuperUser, user: UserSegment) -> Result<JsonStream<PersonDocument<EventView>>> {
    Ok(JsonStream::new(document(caller.data_of(user.0).await?)))
}

pub(super) async fn own_data(caller: Authenticated, (): ()) -> Result<JsonStream<PersonDocument<OwnEvent>>> {
    Ok(JsonStream::new(document(caller.own_data().await?)))
}

fn document(data: PersonData) -> ByteStream {
    stream::try_unfold(data, async |mut data| Ok(data.next().await?.map(|piece| (Bytes::from(piece), data)))).boxed_local()
}
