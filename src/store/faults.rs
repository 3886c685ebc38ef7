//! Faults on purpose: what a simulator of the server says in the place of the database, to prove that no fault at any
//! commit makes money or loses it. A server that runs for real has none.

use super::error::Result;

/// What goes wrong, and when. Each is asked once for every transaction that writes; an error is what its caller hears.
pub trait Faults: Send + Sync {
    /// Before a transaction begins: such as [`super::Error::Busy`], or [`super::Error::ReadOnly`] for a full disk.
    ///
    /// # Errors
    /// What the caller hears; there is no transaction then.
    fn begin(&self) -> Result<()>;

    /// Before a transaction is committed.
    ///
    /// # Errors
    /// What the caller hears; nothing is stored then.
    fn commit(&self) -> Result<()>;

    /// After a transaction is committed.
    ///
    /// # Errors
    /// What the caller hears, such as [`super::Error::Uncertain`], although everything is stored.
    fn committed(&self) -> Result<()>;
}
