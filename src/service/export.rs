//! Taking data out: all users, and everything that is kept of one person.
//!
//! Both are made piece by piece while they are sent, from keyset pages, so they take no more memory for a million users or events than
//! for a few. The call's event is written before the first piece; before each further one it is asked whether what let the caller in still
//! holds.

use super::caller::{Authenticated, SuperUser};
use super::context::Context;
use super::custom_attributes::Attributes;
use crate::domain::api_key::{ApiKey, ApiKeyView};
use crate::domain::attribute::Viewer;
use crate::domain::audit::{EventView, Link};
use crate::domain::custom_attribute::{AttributeView, Holder};
use crate::domain::ids::{SessionId, UserId};
use crate::domain::linked_account::{LinkedAccount, LinkedAccountView};
use crate::domain::own_event::OwnEvent;
use crate::domain::session::SessionView;
use crate::domain::user::Account;
use crate::error::{Code, Error, Result};
use crate::store::{Filter, Mark, Order, Page, Position, Search, Snapshot};
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Duration;

/// Users or events read at a time.
const PAGE: i64 = 500;

fn append(text: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(text, value).map_err(|e| Error::new(Code::Internal).cause(e.to_string()))
}

/// All users, as lines of JSON.
pub struct Export {
    context: Context,
    /// The number of the last user so far; `None` once there are no more.
    after: Option<i64>,
}

impl SuperUser {
    /// Begins an export of all users as a super-user sees them, in order of creation.
    ///
    /// # Errors
    /// Its event cannot be written.
    pub async fn export_users(self) -> Result<Export> {
        self.context.conclude(Ok(())).await?;
        Ok(Export { context: self.context, after: Some(0) })
    }
}

impl Export {
    /// The next lines; `None` at the end.
    ///
    /// # Errors
    /// The database fails, or what let the caller in no longer holds.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(after) = self.after else { return Ok(None) };
        let context = self.context.clone();
        let read = move |snapshot: &mut Snapshot<'_>| {
            context.check_reader(snapshot)?;
            let page = Page { order: Order::Number, descending: false, after: Some(Mark::Number(after)), limit: PAGE };
            let found = snapshot.find_users(&Filter::default(), &page, context.now())?;
            let mut lines = Vec::new();
            for (account, _) in &found {
                append(&mut lines, &account.view(Viewer::SuperUser))?;
                lines.push(b'\n');
            }
            Ok((lines, found.last().map(|(account, _)| account.user.number)))
        };
        let (lines, last) = self.context.services.inner.store.search(read).await?;
        self.after = last;
        Ok((!lines.is_empty()).then_some(lines))
    }
}

/// Everything that is kept of one person, as a JSON document in pieces.
pub struct PersonData {
    context: Context,
    account: Box<Account>,
    /// As whom the caller sees the person.
    viewer: Viewer,
    sessions: Vec<SessionView>,
    api_keys: Vec<ApiKeyView>,
    linked_accounts: Vec<LinkedAccountView>,
    attributes: Vec<AttributeView>,
    part: Part,
    /// The events on the person, and those by the person.
    on: Events,
    by: Events,
    has_events: bool,
}

/// Which part of the document comes next.
#[derive(Clone, Copy)]
enum Part {
    Beginning,
    Events,
    Over,
}

/// Events in their order, read page by page.
struct Events {
    search: Search,
    read: VecDeque<Link>,
    is_over: bool,
}

impl SuperUser {
    /// Everything that is kept of a user.
    ///
    /// # Errors
    /// [`Code::NotFound`]; its event cannot be written.
    pub async fn data_of(self, user_id: UserId) -> Result<PersonData> {
        let account = self.user(user_id).await?;
        PersonData::of(self.context.clone(), account, Viewer::SuperUser, self.session_id()).await
    }
}

impl Authenticated {
    /// Everything that is kept of oneself, as far as one may see it.
    ///
    /// # Errors
    /// Its event cannot be written.
    pub async fn own_data(self) -> Result<PersonData> {
        let (account, viewer) = self.own_account().await?;
        PersonData::of(self.context.clone(), account, viewer, self.session_id()).await
    }
}

impl PersonData {
    async fn of(context: Context, account: Account, viewer: Viewer, current: Option<SessionId>) -> Result<Self> {
        let (user_id, now) = (account.user.user_id, context.now());
        let read = move |snapshot: &mut Snapshot<'_>| {
            let keys = snapshot.api_keys(Some(user_id), None, i64::MAX)?.iter().map(ApiKey::view).collect();
            let linked = snapshot.linked_accounts(Some(user_id))?.iter().map(LinkedAccount::view).collect();
            Ok((snapshot.sessions_of(user_id, now)?, keys, linked))
        };
        let (listed, api_keys, linked_accounts) = context.services.inner.store.read(read).await?;
        let sessions = listed.iter().map(|(session, name)| SessionView::of(session, name.as_str(), current)).collect();
        let attributes = Attributes::new(context.clone(), Holder::User(user_id), user_id).list().await?;
        context.conclude(Ok(())).await?;
        // Up to and including the event of this very call.
        let until = Search { to: Some(now + Duration::from_micros(1)), ..Search::default() };
        let events = |search| Events { search, read: VecDeque::new(), is_over: false };
        let on = events(Search { subject: Some(user_id.to_string()), ..until.clone() });
        let by = events(Search { actor: Some(user_id.to_string()), ..until });
        let account = Box::new(account);
        Ok(Self {
            context,
            account,
            viewer,
            sessions,
            api_keys,
            linked_accounts,
            attributes,
            part: Part::Beginning,
            on,
            by,
            has_events: false,
        })
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The database fails, or what let the caller in no longer holds.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        match self.part {
            Part::Beginning => {
                self.part = Part::Events;
                self.beginning().map(Some)
            }
            Part::Events => {
                let mut piece = Vec::new();
                for link in self.events().await? {
                    if std::mem::replace(&mut self.has_events, true) {
                        piece.push(b',');
                    }
                    match self.viewer {
                        Viewer::SuperUser => append(&mut piece, &EventView::from(link))?,
                        Viewer::Owner | Viewer::Colleague | Viewer::Peer | Viewer::Nobody => {
                            append(&mut piece, &OwnEvent::of(link, self.account.user.user_id))?;
                        }
                    }
                }
                if piece.is_empty() {
                    self.part = Part::Over;
                    piece.extend_from_slice(b"]}\n");
                }
                Ok(Some(piece))
            }
            Part::Over => Ok(None),
        }
    }

    fn beginning(&self) -> Result<Vec<u8>> {
        let mut piece = b"{\"user\":".to_vec();
        append(&mut piece, &self.account.view(self.viewer))?;
        piece.extend_from_slice(b",\"groups\":");
        append(&mut piece, &self.account.groups)?;
        piece.extend_from_slice(b",\"sessions\":");
        append(&mut piece, &self.sessions)?;
        piece.extend_from_slice(b",\"api_keys\":");
        append(&mut piece, &self.api_keys)?;
        piece.extend_from_slice(b",\"linked_accounts\":");
        append(&mut piece, &self.linked_accounts)?;
        piece.extend_from_slice(b",\"attributes\":");
        append(&mut piece, &self.attributes)?;
        piece.extend_from_slice(b",\"audit_events\":[");
        Ok(piece)
    }

    /// The next events of either kind in their common order. One that is of both kinds comes once.
    async fn events(&mut self) -> Result<Vec<Link>> {
        self.on.fill(&self.context).await?;
        self.by.fill(&self.context).await?;
        let mut merged = Vec::new();
        // As soon as one of the two has to be read on, nothing is known of which comes next.
        while (self.on.is_over || !self.on.read.is_empty()) && (self.by.is_over || !self.by.read.is_empty()) {
            let (on, by) = (self.on.read.front().map(place), self.by.read.front().map(place));
            let next = match (on, by) {
                (Some(on), Some(by)) if on == by => {
                    self.by.read.pop_front();
                    self.on.read.pop_front()
                }
                (Some(on), Some(by)) if by < on => self.by.read.pop_front(),
                (Some(_), _) => self.on.read.pop_front(),
                (None, Some(_)) => self.by.read.pop_front(),
                (None, None) => break,
            };
            merged.extend(next);
        }
        Ok(merged)
    }
}

fn place(link: &Link) -> (crate::domain::time::Utc, i64, i64) {
    (link.event.time, link.chain, link.seq)
}

impl Events {
    /// Reads the next page, if there is none at hand.
    async fn fill(&mut self, context: &Context) -> Result<()> {
        if self.is_over || !self.read.is_empty() {
            return Ok(());
        }
        let (search, by) = (self.search.clone(), context.clone());
        let read = move |snapshot: &mut Snapshot<'_>| {
            by.check_reader(snapshot)?;
            snapshot.audit_events(&search, PAGE)
        };
        self.read = context.services.inner.store.search(read).await?.into();
        self.is_over = (self.read.len() as i64) < PAGE;
        if let Some(last) = self.read.back() {
            self.search.after = Some(Position { time: last.event.time, chain: last.chain, seq: last.seq });
        }
        Ok(())
    }
}
