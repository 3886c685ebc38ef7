//! Money: credits as whole micro-credits, prices as nano-credits, and the one rounding rule between them.
//!
//! No floats and no wrapping: every sum is checked. One credit is 1 000 000 micro-credits.

use std::{fmt, str::FromStr};

/// Micro-credits in one credit.
pub const MICROS_PER_CREDIT: i64 = 1_000_000;

/// Decimals of a micro-credit and of a nano-credit.
const MICRO_PLACES: u32 = 6;
const NANO_PLACES: u32 = 9;

/// An amount of credits in whole micro-credits; decimal text on the wire (`"12.5"`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Credits(i64);

/// An amount or a price in nano-credits (1e-9 credits): what price plugins speak.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct NanoCredits(i64);

/// Why an amount cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The sum leaves the range of ±9.2 billion credits.
    #[error("the amount leaves the range of a 64-bit number of micro-credits")]
    Overflow,
    /// Not a decimal number.
    #[error("expected a decimal number of credits such as \"12.5\"")]
    Malformed,
    /// More digits after the point than a micro-credit has.
    #[error("at most 6 decimals: a micro-credit is the smallest amount")]
    TooFine,
    /// More digits after the point than a nano-credit has.
    #[error("at most 9 decimals: a nano-credit is the smallest price")]
    FinerThanNano,
}

impl Credits {
    /// Nothing.
    pub const ZERO: Credits = Credits(0);

    /// An amount of `micros` micro-credits.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }
    /// The amount in micro-credits.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
    /// The sum, unless it leaves the range.
    pub fn plus(self, other: Credits) -> Result<Credits, Error> {
        self.0.checked_add(other.0).map(Credits).ok_or(Error::Overflow)
    }
    /// The difference, unless it leaves the range.
    pub fn minus(self, other: Credits) -> Result<Credits, Error> {
        self.0.checked_sub(other.0).map(Credits).ok_or(Error::Overflow)
    }
    /// Whether the amount is above zero.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }
    /// The same amount in nano-credits, unless it leaves the range.
    pub fn to_nano(self) -> Result<NanoCredits, Error> {
        self.0.checked_mul(1000).map(NanoCredits).ok_or(Error::Overflow)
    }
}

impl NanoCredits {
    /// Nothing.
    pub const ZERO: NanoCredits = NanoCredits(0);

    /// An amount of `nanos` nano-credits.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }
    /// The amount in nano-credits.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
    /// The sum, unless it leaves the range.
    pub fn plus(self, other: NanoCredits) -> Result<NanoCredits, Error> {
        self.0.checked_add(other.0).map(NanoCredits).ok_or(Error::Overflow)
    }
    /// The amount in micro-credits, a half to the even neighbour: the product's only rounding of money.
    pub fn round(self) -> Credits {
        let (whole, rest) = (self.0.div_euclid(1000), self.0.rem_euclid(1000));
        let up = rest > 500 || (rest == 500 && whole % 2 != 0);
        Credits(whole + i64::from(up))
    }
}

/// `quantity × price ÷ per`, a half to the even neighbour; exact in between (128 bits).
///
/// The nano-credits that `quantity` microseconds cost at `price` nano-credits per `per` microseconds.
pub fn prorate(price: NanoCredits, quantity: i64, per: i64) -> Result<NanoCredits, Error> {
    let (product, per) = (i128::from(price.0) * i128::from(quantity), i128::from(per));
    if per <= 0 {
        return Err(Error::Overflow);
    }
    let (whole, rest) = (product.div_euclid(per), product.rem_euclid(per));
    let up = rest * 2 > per || (rest * 2 == per && whole % 2 != 0);
    i64::try_from(whole + i128::from(up)).map(NanoCredits).map_err(|_| Error::Overflow)
}

impl utoipa::PartialSchema for NanoCredits {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::Integer)
            .description(Some("Nano-credits: 1 000 000 000 are one credit"))
            .into()
    }
}

impl utoipa::ToSchema for NanoCredits {}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal_write(f, self.0, MICRO_PLACES)
    }
}

impl FromStr for Credits {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        decimal_read(text, MICRO_PLACES, Error::TooFine).map(Self)
    }
}

impl fmt::Display for NanoCredits {
    /// Credits, as short as they are exact: `2.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal_write(f, self.0, NANO_PLACES)
    }
}

impl FromStr for NanoCredits {
    type Err = Error;
    /// Reads decimal credits: `2.5` are 2 500 000 000 nano-credits.
    fn from_str(text: &str) -> Result<Self, Error> {
        decimal_read(text, NANO_PLACES, Error::FinerThanNano).map(Self)
    }
}

/// Writes a number of which the last `places` digits stand behind the point, as short as that is exact.
fn decimal_write(f: &mut fmt::Formatter<'_>, number: i64, places: u32) -> fmt::Result {
    let (magnitude, one) = (number.unsigned_abs(), 10_u64.pow(places));
    let (whole, part) = (magnitude / one, magnitude % one);
    let sign = if number < 0 { "-" } else { "" };
    if part == 0 {
        return write!(f, "{sign}{whole}");
    }
    let digits = format!("{part:0width$}", width = places as usize);
    write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// Reads what [`decimal_write`] writes; more than `places` digits behind the point are `too_fine`.
fn decimal_read(text: &str, places: u32, too_fine: Error) -> Result<i64, Error> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let numeric = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !numeric(whole) || !numeric(part) {
        return Err(Error::Malformed);
    }
    if part.len() > places as usize {
        return Err(too_fine);
    }
    let whole: i64 = whole.parse().map_err(|_| Error::Overflow)?;
    let part: i64 =
        format!("{part:0<width$}", width = places as usize).parse().map_err(|_| Error::Malformed)?;
    let sign = if negative { -1 } else { 1 };
    let scaled =
        whole.checked_mul(sign * 10_i64.pow(places)).and_then(|whole| whole.checked_add(sign * part));
    scaled.ok_or(Error::Overflow)
}

impl fmt::Debug for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} credits")
    }
}

impl serde::Serialize for Credits {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Credits {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Credits {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some(r"^-?[0-9]{1,13}(\.[0-9]{1,6})?$"))
            .examples(["12.5"])
            .into()
    }
}

impl utoipa::ToSchema for Credits {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_exact_and_bounded() {
        assert_eq!("12.5".parse(), Ok(Credits(12_500_000)));
        assert_eq!("-0.000001".parse(), Ok(Credits(-1)));
        assert_eq!("0.0000001".parse::<Credits>(), Err(Error::TooFine));
        assert_eq!("1e3".parse::<Credits>(), Err(Error::Malformed));
        assert_eq!(".5".parse::<Credits>(), Err(Error::Malformed));
        assert_eq!("9999999999999999".parse::<Credits>(), Err(Error::Overflow));
    }

    #[test]
    fn a_price_is_exact_to_the_nano() {
        assert_eq!("2.5".parse(), Ok(NanoCredits(2_500_000_000)));
        assert_eq!("-0.000000001".parse(), Ok(NanoCredits(-1)));
        assert_eq!("0.0000000001".parse::<NanoCredits>(), Err(Error::FinerThanNano));
    }

    proptest! {
        #[test]
        fn every_amount_survives_its_text(micros: i64) {
            prop_assert_eq!(Credits(micros).to_string().parse(), Ok(Credits(micros)));
            prop_assert_eq!(NanoCredits(micros).to_string().parse(), Ok(NanoCredits(micros)));
        }

        #[test]
        fn rounding_is_never_more_than_half_a_micro_off(nanos: i64) {
            let off = i128::from(NanoCredits(nanos).round().0) * 1000 - i128::from(nanos);
            prop_assert!(off.abs() <= 500);
        }

        #[test]
        fn a_split_of_time_costs_what_the_whole_costs(
            price in 0i64..1_000_000_000_000, at in 0i64..HOURS, end in 0i64..HOURS,
        ) {
            let (at, end) = (at.min(end), at.max(end));
            let whole = prorate(NanoCredits(price), end, 3_600_000_000).unwrap();
            let first = prorate(NanoCredits(price), at, 3_600_000_000).unwrap();
            // Cumulative pricing: the second part is the difference, so nothing is lost between the two.
            prop_assert!(first <= whole);
        }
    }

    const HOURS: i64 = 1000 * 3_600_000_000;
}
