//! The chain of digests over an audit log: each link covers one event and the link before.
//!
//! Links are made behind the writers, so that a chain costs them nothing, and in the order in which events are found:
//! one that was committed late takes a later place. Whoever changes or removes an event is named by its link; whoever
//! rewrites the links too differs from every link that was noted elsewhere.

use std::{fmt, str::FromStr};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The most faults that a report names.
pub const MOST_FAULTS: usize = 100;

/// A place in a chain and what it must look like, as somebody noted it: `128:9f2c…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The number of the link.
    pub number: u64,
    /// Its digest.
    pub digest: String,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.digest)
    }
}

impl FromStr for Mark {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("expected NUMBER:DIGEST as an earlier check told it, got {text:?}");
        let (number, digest) = text.split_once(':').ok_or_else(wanted)?;
        let fine = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = number.parse().ok().filter(|number| *number > 0 && fine).ok_or_else(wanted)?;
        Ok(Self { number, digest: digest.to_owned() })
    }
}

/// The digest of a link: of the chain's name (a team, or the empty text for the site), the link's number, the digest of
/// the link before (empty text before the first), and the event in its canonical form.
pub fn link_digest(chain: &str, number: u64, previous: &str, event: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("{chain} {number} {previous}\n"));
    hasher.update(event);
    hasher.update("\n");
    hex::encode(hasher.finalize())
}

/// What is wrong with an audit log, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AuditFault {
    /// The event, or the mark that is not met.
    pub event: String,
    /// What was found and what was expected.
    pub detail: String,
}

/// Walks along a chain and remembers what is wrong with it.
#[derive(Debug)]
pub struct ChainCheck {
    chain: String,
    mark: Option<Mark>,
    number: u64,
    digest: String,
    found: u64,
    faults: Vec<AuditFault>,
}

impl ChainCheck {
    /// At the beginning of a chain, which must pass `mark` if one was noted.
    pub fn new(chain: String, mark: Option<Mark>) -> Self {
        Self { chain, mark, number: 0, digest: String::new(), found: 0, faults: Vec::new() }
    }

    /// Reads the next link: its number, the event that it covers, its digest, and the event as it is now, if it is
    /// there.
    pub fn link(&mut self, number: u64, event: &str, digest: &str, content: Option<&str>) {
        if number != self.number + 1 {
            let told = format!("the link {} before it is missing", self.number + 1);
            self.note(event, told);
        }
        match content {
            None => self.note(event, "the event was removed".to_owned()),
            Some(content) if link_digest(&self.chain, number, &self.digest, content) != digest => {
                let told = format!("the event is not as it was when it was linked as number {number}");
                self.note(event, told);
            }
            Some(_) => {}
        }
        if let Some(mark) = self.mark.take_if(|mark| mark.number == number)
            && mark.digest != digest
        {
            self.note(&mark.to_string(), format!("the link {number} has the digest {digest}"));
        }
        // Goes on with what is stored, so that one changed event does not accuse all that follow it.
        (self.number, self.digest) = (number, digest.to_owned());
    }

    /// Reads an event that should have been linked long ago and was not.
    pub fn stray(&mut self, event: &str) {
        self.note(event, "no link covers the event: it was written past the server".to_owned());
    }

    fn note(&mut self, event: &str, detail: String) {
        self.found += 1;
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(AuditFault { event: event.to_owned(), detail });
        }
    }

    /// The last link, how many faults there are, and the first [`MOST_FAULTS`] of them.
    pub fn finish(mut self) -> (Option<Mark>, u64, Vec<AuditFault>) {
        if let Some(mark) = self.mark.take() {
            self.note(&mark.to_string(), format!("the chain ends at {}", self.number));
        }
        let head = (self.number > 0).then_some(Mark { number: self.number, digest: self.digest });
        (head, self.found, self.faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(events: &[&str]) -> Vec<(u64, String)> {
        let (mut links, mut previous) = (Vec::new(), String::new());
        for (number, event) in (1..).zip(events) {
            previous = link_digest("t", number, &previous, event);
            links.push((number, previous.clone()));
        }
        links
    }

    fn faults(mark: Option<Mark>, read: &[(u64, &str, Option<&str>)]) -> Vec<AuditFault> {
        let mut check = ChainCheck::new("t".to_owned(), mark);
        for (number, digest, content) in read {
            check.link(*number, &format!("e{number}"), digest, *content);
        }
        check.finish().2
    }

    #[test]
    fn a_changed_a_removed_and_an_unlinked_event_are_named_and_nothing_else() {
        let links = chain(&["a", "b", "c"]);
        let [one, two, three] = [&links[0].1, &links[1].1, &links[2].1];
        let whole = [(1, one.as_str(), Some("a")), (2, two, Some("b")), (3, three, Some("c"))];
        assert_eq!(faults(None, &whole), []);
        let named = |read: &[(u64, &str, Option<&str>)]| {
            faults(None, read).iter().map(|fault| fault.event.clone()).collect::<Vec<_>>()
        };
        assert_eq!(named(&[(1, one, Some("a")), (2, two, Some("x")), (3, three, Some("c"))]), ["e2"]);
        assert_eq!(named(&[(1, one, Some("a")), (2, two, None), (3, three, Some("c"))]), ["e2"]);
        // Without the link before it, neither the place nor the digest fits.
        assert_eq!(named(&[(1, one, Some("a")), (3, three, Some("c"))]), ["e3", "e3"]);
    }

    #[test]
    fn a_mark_tells_a_chain_that_was_rewritten_or_cut() {
        let (links, other) = (chain(&["a", "b"]), chain(&["a", "x"]));
        let mark: Mark = format!("2:{}", links[1].1).parse().unwrap();
        let read = |links: &[(u64, String)], events: &[&'static str]| {
            let read: Vec<_> =
                links.iter().zip(events).map(|((n, digest), e)| (*n, digest.as_str(), Some(*e))).collect();
            faults(Some(mark.clone()), &read)
        };
        assert_eq!(read(&links, &["a", "b"]), []);
        assert_eq!(read(&other, &["a", "x"])[0].event, mark.to_string());
        assert_eq!(read(&links[..1], &["a"])[0].detail, "the chain ends at 1");
        assert!("2:abc".parse::<Mark>().is_err());
    }
}
