//! Time as data: microseconds UTC, and the clock that everything else takes by parameter.

use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
    sync::atomic::{AtomicI64, Ordering},
};

/// Microseconds in one second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in one hour.
pub const HOUR: i64 = 3_600 * SECOND;

/// An instant: microseconds since 1970-01-01T00:00:00Z. RFC 3339 in UTC on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A length of time in microseconds; may be negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span(i64);

impl Timestamp {
    /// The instant `micros` microseconds after the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }
    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

impl Span {
    /// A span of `micros` microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }
    /// A span of `seconds` seconds.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }
    /// The length in microseconds.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
    /// The length for timers; a negative span waits not at all.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }
}

impl FromStr for Span {
    type Err = jiff::Error;
    /// Reads lengths such as `90s`, `15m`, `1h30m` or `PT36H`; digits finer than a microsecond are cut off.
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        let length: jiff::SignedDuration = text.parse()?;
        Ok(Self(length.as_micros().try_into().unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", jiff::SignedDuration::from_micros(self.0))
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.0))
    }
}

impl Sub for Timestamp {
    type Output = Span;
    fn sub(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => fmt::Display::fmt(&time, f),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;
    /// Reads RFC 3339; digits finer than a microsecond are cut off.
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        let time: jiff::Timestamp = text.parse()?;
        Ok(Self(time.as_nanosecond().div_euclid(1000).try_into().unwrap_or(i64::MAX)))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse()
            .map_err(|_| serde::de::Error::custom("expected an RFC 3339 time such as 2026-11-22T08:00:00Z"))
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples(["2026-11-22T08:00:00Z"])
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

/// A time zone by its name in the IANA database, such as `Europe/Berlin`. The rules are those that this binary carries,
/// so that two machines never disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone(jiff::tz::TimeZone);

/// A calendar month of some time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    /// Its year.
    pub year: i16,
    /// Its number, from 1.
    pub month: i8,
    /// Its first instant.
    pub start_at: Timestamp,
    /// The first instant of the next.
    pub end_at: Timestamp,
}

/// An instant, and what a clock on the wall shows then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WallTime {
    /// The instant.
    pub at: Timestamp,
    /// The hour, 0 to 23.
    pub hour: u8,
    /// The minute, 0 to 59.
    pub minute: u8,
    /// The day of the week, from 1 for Monday to 7.
    pub weekday: u8,
}

impl Default for WallTime {
    fn default() -> Self {
        TimeZone::UTC.wall_at(Timestamp(0))
    }
}

impl TimeZone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(jiff::tz::TimeZone::UTC);

    /// What a clock in this zone shows at `at`.
    pub fn wall_at(&self, at: Timestamp) -> WallTime {
        let instant = jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::MIN);
        let wall = instant.to_zoned(self.0.clone()).datetime();
        // A civil time has no sign, whatever the type says.
        let small = |number: i8| u8::try_from(number).unwrap_or_default();
        WallTime {
            at,
            hour: small(wall.hour()),
            minute: small(wall.minute()),
            weekday: small(wall.weekday().to_monday_one_offset()),
        }
    }

    /// The calendar month that `at` lies in.
    pub fn month_at(&self, at: Timestamp) -> Month {
        let instant = jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::MIN);
        let date = instant.to_zoned(self.0.clone()).date();
        let first = date.first_of_month();
        let next = first.checked_add(jiff::Span::new().months(1)).unwrap_or(jiff::civil::Date::MAX);
        Month {
            year: first.year(),
            month: first.month(),
            start_at: self.midnight(first),
            end_at: self.midnight(next),
        }
    }

    /// The first instant of the day that `at` lies in.
    pub fn day_at(&self, at: Timestamp) -> Timestamp {
        let instant = jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::MIN);
        self.midnight(instant.to_zoned(self.0.clone()).date())
    }

    /// The month that is written `2026-11`.
    pub fn month_named(&self, text: &str) -> Option<Month> {
        let (year, month) =
            text.split_once('-').filter(|(year, month)| (year.len(), month.len()) == (4, 2))?;
        let first = jiff::civil::Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
        Some(self.month_at(self.midnight(first)))
    }

    /// The first instant of a day: where the clocks skip midnight, the first that there is.
    fn midnight(&self, date: jiff::civil::Date) -> Timestamp {
        let instant = self.0.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible();
        Timestamp(instant.map_or(i64::MAX, jiff::Timestamp::as_microsecond))
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl FromStr for TimeZone {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = jiff::tz::TimeZoneDatabase::bundled().get(name);
        known
            .map(Self)
            .map_err(|_| format!("expected a time zone such as UTC or Europe/Berlin, got {name:?}"))
    }
}

impl Month {
    /// The month as it is written: `2026-11`.
    pub fn name(&self) -> String {
        format!("{:04}-{:02}", self.year, self.month)
    }
}

impl serde::Serialize for TimeZone {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for TimeZone {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for TimeZone {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .examples(["Europe/Berlin"])
            .into()
    }
}

impl utoipa::ToSchema for TimeZone {}

/// Where "now" comes from.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }
}

/// A clock that stands still until it is moved: for tests and the simulator.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.0))
    }
    /// Moves the clock by `span`, backwards too.
    pub fn advance(&self, span: Span) {
        self.0.fetch_add(span.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_at_the_zones_own_midnight_also_when_the_clocks_change() {
        let berlin: TimeZone = "Europe/Berlin".parse().unwrap();
        let month = berlin.month_at("2026-10-31T23:30:00Z".parse().unwrap());
        assert_eq!(
            (month.name().as_str(), month.start_at.to_string().as_str()),
            ("2026-11", "2026-10-31T23:00:00Z")
        );
        let october = berlin.month_named("2026-10").unwrap();
        assert_eq!(october.start_at.to_string(), "2026-09-30T22:00:00Z");
        assert_eq!(october.end_at, month.start_at);
        assert!("Mars/Olympus".parse::<TimeZone>().is_err());
        for wrong in ["2026-13", "2026", "26-01", "2026-1"] {
            assert!(berlin.month_named(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn nanoseconds_of_a_container_engine_are_cut_to_microseconds() {
        let time: Timestamp = "2026-11-22T06:31:19.123456789Z".parse().unwrap();
        assert_eq!(time.as_micros() % SECOND, 123_456);
        assert_eq!(time.to_string(), "2026-11-22T06:31:19.123456Z");
    }
}
