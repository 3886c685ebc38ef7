//! What names and passwords look like, and the guard against guessing them.

use std::fmt;

use zeroize::Zeroizing;

use super::{App, gate::Asker};
use crate::{
    chance::Chance,
    error::{Error, Findings, Kind, Result},
    model::action::Action,
    op::{Actor, Op},
    policy::{Facts, Permit, Principal, Resource},
    time::{HOUR, SECOND, Span, Timestamp},
};

/// A password on its way in; neither printed nor left behind in memory.
#[derive(Clone, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(from = "String")]
#[schema(value_type = String, format = Password)]
pub struct Secret(Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Secret {
    /// The secret itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A password to hand out, and the form in which it is stored.
pub(crate) struct FirstPassword {
    pub(crate) plain: String,
    pub(crate) hash: String,
}

/// The form in which a login, an account or a slug is stored: without the spaces around it, in small letters.
pub(crate) fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}

/// A login, an account or a slug in its stored form; finds fault with what cannot be one.
pub(crate) fn name(text: &str, pointer: &str, findings: &mut Findings) -> String {
    let name = folded(text);
    let told = "2 to 63 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit";
    findings.check(is_name(&name), pointer, told);
    name
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (2..=63).contains(&name.len())
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|byte| plain(byte) || b"._-".contains(&byte))
}

/// Finds fault with a password that is too short or too long to be set.
pub(crate) fn password(secret: &Secret, pointer: &str, findings: &mut Findings) {
    let length = secret.reveal().chars().count();
    findings.check((10..=256).contains(&length), pointer, "10 to 256 characters");
}

/// Letters and digits that cannot be taken for one another; 32 of them, 5 bits each.
const LEGIBLE: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A password of 80 random bits that can be read out over the telephone.
fn generated(chance: &dyn Chance) -> String {
    let mut bits = Zeroizing::new([0u8; 16]);
    chance.fill(&mut *bits);
    bits.iter().map(|bits| char::from(LEGIBLE[usize::from(bits & 31)])).collect()
}

/// Wrong passwords in a row before the subject has to wait.
const FREE_FAILURES: u32 = 5;
/// The first wait; every further failure doubles it.
const FIRST_WAIT: Span = Span::from_seconds(30);
/// The longest wait.
const LONGEST_WAIT: Span = Span::from_seconds(15 * 60);
/// After this long without a failure, earlier ones no longer count.
const FORGOTTEN_AFTER: Span = Span::from_micros(24 * HOUR);

fn wait_after(failures: u32) -> Option<Span> {
    let doublings = failures.checked_sub(FREE_FAILURES)?;
    let wait = FIRST_WAIT.as_micros().saturating_mul(1 << doublings.min(10));
    Some(Span::from_micros(wait.min(LONGEST_WAIT.as_micros())))
}

fn throttled(what: &str, until: Timestamp, now: Timestamp) -> Error {
    let seconds = u32::try_from((until - now).as_micros().div_euclid(SECOND) + 1).unwrap_or(u32::MAX);
    let told = format!("too many wrong {what} in a row; try again in {seconds} s");
    Error::new(Kind::Throttled, "throttled", told).retry_after(seconds)
}

/// The error for a name and a password that do not belong together, whichever of them is wrong.
pub(crate) fn wrong_credentials() -> Error {
    let told = "the name or the password is wrong; whoever issued the account can give it a new password";
    Error::new(Kind::Unauthenticated, "wrong-credentials", told)
}

/// The context of a request that carries a password: no digest of its body is kept for repetitions, because a
/// fast digest of a password can be guessed backwards.
pub(crate) fn unrepeatable(op: &Op) -> Op {
    let mut op = op.clone();
    op.idempotency = None;
    op
}

impl App {
    /// The given password for an account, or a generated one.
    pub(crate) async fn first_password(&self, op: &Op, given: Option<&Secret>) -> Result<FirstPassword> {
        if matches!(op.actor, Actor::Anonymous) {
            // Hashing costs too much to do it for strangers.
            return Err(super::gate::signed_out());
        }
        let plain = given.map_or_else(|| generated(op.chance()), |secret| secret.reveal().to_owned());
        let hash = self.passwords.hash(&plain, op.chance()).await?;
        Ok(FirstPassword { plain, hash })
    }

    /// Checks a password against its hash and counts failures per `subject`. Without a hash it costs and looks the
    /// same as a wrong password.
    pub(crate) async fn password_check(
        &self,
        op: &Op,
        subject: &str,
        password: &Secret,
        hash: Option<String>,
    ) -> Result<()> {
        self.throttle_pass(op, subject, "passwords").await?;
        if self.passwords.verify(password.reveal(), hash).await? {
            return Ok(());
        }
        metrics::counter!("muster_login_failures_total").increment(1);
        let asker = Asker { principal: Principal::Anonymous, team: None, shadow: None };
        let decision = self.decide(&asker, Action::Login, &Resource::Site, &Facts::default());
        let permit = decision.permit(op.id())?;
        self.throttle_count(op, subject, &permit).await?;
        Err(wrong_credentials())
    }

    /// Lets nobody pass whose `subject` has failed too often of late; `what` was wrong each time.
    pub(crate) async fn throttle_pass(&self, op: &Op, subject: &str, what: &str) -> Result<()> {
        match self.db.glance().await?.throttle_fetch(subject).await? {
            Some(row) if row.blocked_until > op.now() => Err(throttled(what, row.blocked_until, op.now())),
            _ => Ok(()),
        }
    }

    /// Counts a failure of `subject`, and lets it wait where there were too many.
    pub(crate) async fn throttle_count(&self, op: &Op, subject: &str, permit: &Permit) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let failures = tx.throttle_fail(subject, op.now(), op.now() - FORGOTTEN_AFTER).await?;
        if let Some(wait) = wait_after(failures) {
            tx.throttle_block(subject, op.now() + wait).await?;
        }
        Ok(tx.commit(permit).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Seeded;

    #[test]
    fn names_are_folded_and_narrow() {
        for (text, fine) in [
            (" Ada.Lovelace ", true),
            ("a1", true),
            ("a", false),
            ("-ada", false),
            ("a da", false),
            ("ädä", false),
            (&"a".repeat(63), true),
            (&"a".repeat(64), false),
        ] {
            assert_eq!(is_name(&folded(text)), fine, "{text}");
        }
    }

    #[test]
    fn waits_begin_with_the_fifth_failure_double_and_end_at_a_quarter_of_an_hour() {
        let waits: Vec<i64> = (4..12).filter_map(wait_after).map(|span| span.as_micros() / SECOND).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900]);
        assert_eq!(wait_after(u32::MAX), Some(LONGEST_WAIT));
    }

    #[test]
    fn a_generated_password_can_be_set_and_a_secret_is_not_printed() {
        let secret = Secret(Zeroizing::new(generated(&Seeded::new(1))));
        let mut findings = Findings::new();
        password(&secret, "/password", &mut findings);
        findings.done().unwrap();
        assert_eq!(format!("{secret:?}"), "(secret)");
    }
}
