//! Taking data out: all users, and everything that is kept of one person.
//!
//! Both are made piece by piece while they are sent, from keyset pages, so they take no more memory for a million users or events than
//! for a few. The call's event is written before the first piece; before each further one it is asked whether what let the caller in still
//! holds.

use super::audit::persons_of;
use super::caller::{Authenticated, SuperUser};
use super::context::Context;
use super::custom_attributes::Attributes;
use super::showing::MOST_SHOWN;
use crate::domain::api_key::{ApiKey, ApiKeyView};
use crate::domain::attribute::Viewer;
use crate::domain::audit::{ActorType, EventView, Link};
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

/// All users, as lines of JSON. Whom the next lines show stands in the trail before they go.
pub struct Export {
    context: Context,
    /// The number of the last user so far.
    after: i64,
    /// Up to which number the trail tells of them; `None` once there are no more.
    told: Option<i64>,
}

impl SuperUser {
    /// Begins an export of all users as a super-user sees them, in order of creation.
    ///
    /// # Errors
    /// Its event cannot be written.
    pub async fn export_users(self) -> Result<Export> {
        self.context.trail.counts_for(Viewer::SuperUser);
        let mut export = Export { context: self.context, after: 0, told: Some(0) };
        export.tell_next().await?;
        Ok(export)
    }
}

impl Export {
    /// Writes down who comes next.
    async fn tell_next(&mut self) -> Result<()> {
        let Some(told) = self.told else { return Ok(()) };
        let context = self.context.clone();
        let limit = i64::try_from(MOST_SHOWN).unwrap_or(i64::MAX);
        let read = move |snapshot: &mut Snapshot<'_>| {
            context.check_reader(snapshot)?;
            Ok(snapshot.users_after(told, limit)?)
        };
        let coming = self.context.services.inner.store.search(read).await?;
        coming.iter().for_each(|(_, user_id)| self.context.trail.shows(*user_id, Viewer::SuperUser));
        self.context.tell_shown(Viewer::SuperUser).await?;
        self.told = coming.last().map(|(number, _)| *number);
        Ok(())
    }

    /// The next lines; `None` at the end.
    ///
    /// # Errors
    /// The database fails, or what let the caller in no longer holds.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        while let Some(told) = self.told {
            let (context, after) = (self.context.clone(), self.after);
            let read = move |snapshot: &mut Snapshot<'_>| {
                context.check_reader(snapshot)?;
                let page = Page { order: Order::Number, descending: false, after: Some(Mark::Number(after)), limit: PAGE };
                let found = snapshot.find_users(&Filter::default(), &page, context.now())?;
                let mut lines = Vec::new();
                let mut last = None;
                for (account, _) in found.iter().filter(|(account, _)| account.user.number <= told) {
                    append(&mut lines, &account.view(Viewer::SuperUser).unwitnessed())?;
                    lines.push(b'\n');
                    last = Some(account.user.number);
                }
                Ok((lines, last))
            };
            let (lines, last) = self.context.services.inner.store.search(read).await?;
            self.after = last.unwrap_or(told);
            if self.after >= told {
                self.tell_next().await?;
            }
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
        Ok(None)
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
        context.trail.shows(user_id, viewer);
        // Up to and including the event of this very call.
        let until = Search { to: Some(now + Duration::from_micros(1)), ..Search::default() };
        let events = |search| Events { search, read: VecDeque::new(), is_over: false };
        let on = events(Search { subject: Some(user_id.to_string()), ..until.clone() });
        let by = events(Search { actor: Some(user_id.to_string()), ..until });
        let account = Box::new(account);
        let mut data = Self {
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
        };
        data.tell_first_events().await?;
        data.context.tell_shown(viewer).await?;
        Ok(data)
    }

    /// Whom the first events show, so that as a rule the call's own event tells of all.
    async fn tell_first_events(&mut self) -> Result<()> {
        // The caller stands in the event of this very call, which comes last.
        let caller = self.context.trail.actor();
        if self.viewer == Viewer::SuperUser && caller.kind == ActorType::User {
            caller.id.iter().filter_map(|id| id.parse().ok()).for_each(|id| self.context.trail.shows(id, Viewer::SuperUser));
        }
        for search in [self.on.search.clone(), self.by.search.clone()] {
            let read = move |snapshot: &mut Snapshot<'_>| snapshot.audit_events(&search, PAGE);
            let links = self.context.services.inner.store.search(read).await?;
            self.tell_of(&links);
        }
        Ok(())
    }

    /// What a super-user sees of events are those who acted and on whom; an owner sees of them nobody else.
    fn tell_of(&self, links: &[Link]) {
        if self.viewer == Viewer::SuperUser {
            links.iter().flat_map(persons_of).for_each(|id| self.context.trail.shows(id, Viewer::SuperUser));
        }
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
                let links = self.events().await?;
                self.tell_of(&links);
                self.context.tell_shown(self.viewer).await?;
                for link in links {
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
        append(&mut piece, &self.account.view(self.viewer).unwitnessed())?;
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
