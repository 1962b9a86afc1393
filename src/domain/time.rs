//! Time as an argument.
//!
//! [`Utc`] is an instant in whole microseconds since the Unix epoch: the resolution that both databases keep. It is written
//! as RFC 3339 in UTC. Nothing in this crate asks the operating system for the time except [`Clock::system`]; everything else
//! is handed a [`Clock`], or better still the instant at which the call in hand began.

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromSqlRow, AsExpression)]
#[diesel(sql_type = super::sql::Instant)]
pub struct Utc(i64);

/// The instants that RFC 3339 can spell: the years 0001 to 9999.
const EARLIEST: i64 = -62_135_596_800_000_000;
const LATEST: i64 = 253_402_300_799_999_999;

impl Utc {
    /// From microseconds since the epoch; kept within what RFC 3339 can spell.
    pub const fn from_micros(micros: i64) -> Self {
        if micros < EARLIEST {
            Self(EARLIEST)
        } else if micros > LATEST {
            Self(LATEST)
        } else {
            Self(micros)
        }
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 with any offset; digits beyond the microsecond are dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let instant = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let micros = i64::try_from(instant.unix_timestamp_nanos().div_euclid(1000)).ok()?;
        (EARLIEST..=LATEST).contains(&micros).then_some(Self(micros))
    }

    /// The second that it is in.
    #[must_use]
    pub const fn whole_second(self) -> Self {
        Self(self.0.div_euclid(1_000_000) * 1_000_000)
    }

    /// The month that it is in: the year times a hundred, and the month's number.
    pub fn month(self) -> i64 {
        let instant = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1_000_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        i64::from(instant.year()) * 100 + i64::from(u8::from(instant.month()))
    }

    /// The month that is so many before the one that it is in.
    pub fn month_before(self, months: u32) -> i64 {
        let month = self.month();
        let counted = month / 100 * 12 + month % 100 - 1 - i64::from(months);
        counted.div_euclid(12) * 100 + counted.rem_euclid(12) + 1
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Utc {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        let micros = i64::try_from(rhs.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }
}

impl Sub<Duration> for Utc {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        let micros = i64::try_from(rhs.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0) * 1000;
        let text = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().and_then(|t| t.format(&Rfc3339).ok());
        f.write_str(text.as_deref().ok_or(fmt::Error)?)
    }
}

impl fmt::Debug for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Utc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("is not an RFC 3339 time between the years 1 and 9999"))
    }
}

impl schemars::JsonSchema for Utc {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}

/// Where the present comes from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Utc + Send + Sync>);

impl Clock {
    /// A clock that asks `now`: tests move time as they like.
    pub fn new(now: impl Fn() -> Utc + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The operating system's clock.
    pub fn system() -> Self {
        Self::new(|| {
            #[expect(clippy::disallowed_methods, reason = "the one place that asks the operating system for the time")]
            let now = std::time::SystemTime::now();
            let micros = now.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_micros());
            Utc::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
        })
    }

    /// The present.
    pub fn now(&self) -> Utc {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(micros in EARLIEST..=LATEST) {
            let instant = Utc::from_micros(micros);
            prop_assert_eq!(Utc::parse(&instant.to_string()), Some(instant));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Some(instant) = Utc::parse(&text) {
                prop_assert_eq!(Utc::parse(&instant.to_string()), Some(instant));
            }
        }
    }

    #[test]
    fn arithmetic_stays_within_what_can_be_written() {
        assert_eq!((Utc::from_micros(i64::MAX) + Duration::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(Utc::parse("0001-01-01T00:00:00Z").map(|t| t - Duration::MAX), Utc::parse("0001-01-01T00:00:00Z"));
    }
}
