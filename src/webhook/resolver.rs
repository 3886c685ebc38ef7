//! Names of hosts, resolved to the addresses that messages may go to and to no others.

use std::{io, net::SocketAddr, sync::Arc};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::refused;
use crate::model::destination::Allowed;

/// The resolver of the sender: what it gives is what is connected to.
pub(super) struct Checked(Arc<Allowed>);

impl Checked {
    pub(super) fn new(allowed: Arc<Allowed>) -> Self {
        Self(allowed)
    }
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.0.clone();
        Box::pin(async move {
            let found = resolve(&allowed, name.as_str()).await.map_err(io::Error::other)?;
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

/// The addresses of `host` that messages may go to.
///
/// # Errors
/// When it has none, or none that are allowed.
pub(super) async fn resolve(allowed: &Allowed, host: &str) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::net::lookup_host((host, 0)).await;
    let found = found.map_err(|error| format!("{host} cannot be resolved: {error}"))?;
    let named = allowed.names_host(host);
    let fine: Vec<SocketAddr> = found.filter(|address| named || allowed.admits(address.ip())).collect();
    if fine.is_empty() { Err(refused(host)) } else { Ok(fine) }
}
