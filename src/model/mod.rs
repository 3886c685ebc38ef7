//! The nouns and their rules, pure: what a role is, which states an instance may pass through, where it fits.
//!
//! Nothing here waits, reads a clock or talks to anybody; who decides and who stores is further up.

pub mod action;
pub mod alert;
pub mod audit;
pub mod delivery;
pub mod destination;
pub mod diff;
pub mod host;
pub mod instance;
pub mod manifest;
pub mod page;
pub mod placement;
pub mod price;
pub mod quota;
pub mod request;
pub mod snapshot;
pub mod storage;
pub mod subnet;
pub mod team;
pub mod terms;
