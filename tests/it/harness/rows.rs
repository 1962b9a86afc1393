//! Rows that are bound to the key file: looked at, and bound, as somebody does who has it.

use super::{Site, Town};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use usher::auth::keys::Keys;
use usher::domain::api_key::{ApiKey, api_keys};
use usher::domain::application::{Application, applications};
use usher::domain::credential::{RecoveryCode, TotpCredential, recovery_codes, totp_credentials};
use usher::domain::link::{Link, links};
use usher::domain::linked_account::{LinkedAccount, linked_accounts};
use usher::domain::row_mac::{BoundRow, RowKeys};
use usher::domain::session::{Session, sessions};
use usher::domain::user::{User, users};
use usher::store::connection::{AnyConnection, Location, Purpose};

fn open(site: &Site, purpose: Purpose) -> (AnyConnection, RowKeys) {
    let connection = AnyConnection::open(&Location::parse(&site.url).unwrap(), purpose).unwrap();
    (connection, Keys::load(&site.keys()).unwrap().rows)
}

fn judge<R: BoundRow>(rows: &[R], keys: &RowKeys, found: &mut Vec<&'static str>) {
    found.extend(rows.iter().filter(|row| !keys.confirm(*row)).map(|_| R::TABLE));
}

impl Site {
    /// The table of each row that is not as the service writes it.
    pub fn altered(&self) -> Vec<&'static str> {
        let (mut c, keys) = open(self, Purpose::Reading);
        let (c, mut found) = (&mut c, Vec::new());
        judge(&users::table.load::<User>(c).unwrap(), &keys, &mut found);
        judge(&sessions::table.load::<Session>(c).unwrap(), &keys, &mut found);
        judge(&api_keys::table.load::<ApiKey>(c).unwrap(), &keys, &mut found);
        judge(&applications::table.load::<Application>(c).unwrap(), &keys, &mut found);
        judge(&links::table.load::<Link>(c).unwrap(), &keys, &mut found);
        judge(&linked_accounts::table.load::<LinkedAccount>(c).unwrap(), &keys, &mut found);
        judge(&totp_credentials::table.load::<TotpCredential>(c).unwrap(), &keys, &mut found);
        judge(&recovery_codes::table.load::<RecoveryCode>(c).unwrap(), &keys, &mut found);
        found
    }
}

impl Town {
    /// Runs a statement that changes users or sessions, behind the service's back, and binds what it has changed: what the database holds is then what a
    /// service could have written.
    pub fn sql_with_key(&self, statement: &str) {
        self.sql(statement);
        let (mut connection, keys) = open(&self.site, Purpose::Writing);
        let begin = if self.site.engine == crate::harness::Engine::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        connection.batch_execute(begin).unwrap();
        for mut user in users::table.load::<User>(&mut connection).unwrap() {
            if !keys.confirm(&user) {
                keys.bind(&mut user);
                diesel::update(users::table.find(user.user_id)).set(&user).execute(&mut connection).unwrap();
            }
        }
        for mut session in sessions::table.load::<Session>(&mut connection).unwrap() {
            if !keys.confirm(&session) {
                keys.bind(&mut session);
                let row = diesel::update(sessions::table.find(session.session_id));
                row.set(sessions::mac.eq(&session.mac)).execute(&mut connection).unwrap();
            }
        }
        connection.batch_execute("COMMIT").unwrap();
        self.hear();
    }
}
