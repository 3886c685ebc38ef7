//! The first start: an installation id, a one-time operator token, and the price that every team begins with.

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::secrets::{Token, TokenKind};
use crate::{
    digest::Digest,
    error::{Error, Result},
    ids::InstallationId,
    op::{Op, SystemWarrant},
    plugins::{self, Plugins},
    store::{Component, Db, Plugin, PriceVersion, Tx, identity::InstallationRow},
};

/// The installation of a database, made if there is none. While nobody has claimed it, every start gives a new
/// one-time token and the one before is no longer good.
pub(super) async fn installation_ensure(db: &Db, op: &Op) -> Result<(InstallationId, Option<Token>)> {
    let mut tx = db.begin().await?;
    let known = tx.installation_fetch().await?;
    let token = Token::fresh(TokenKind::OperatorClaim, op.chance());
    let (id, token) = match known {
        Some(row) if row.operator_claim_hash.is_none() => return Ok((row.id, None)),
        Some(row) => {
            tx.installation_claim_renew(&token.hash()).await?;
            (row.id, token)
        }
        None => {
            let id: InstallationId = op.id();
            let hash = Some(token.hash());
            let row = InstallationRow { id, created_at: op.now(), operator_claim_hash: hash };
            tx.installation_insert(&row).await?;
            (id, token)
        }
    };
    commit(op, tx).await?;
    Ok((id, Some(token)))
}

/// The site's default price, and a new version of it when the binary ships another component.
pub(super) async fn default_price_ensure(db: &Db, op: &Op, plugins: &Plugins) -> Result<()> {
    let wasm = plugins::default_price();
    let digest = Digest::of(wasm).to_string();
    let mut read = db.read().await?;
    let current = read.price_versions_current(None, op.now()).await?;
    let known = read.plugins_page(None, None, u32::MAX).await?.iter().any(|plugin| plugin.digest == digest);
    drop(read);
    if known {
        return Ok(());
    }
    // A price that the operator has chosen stays; the new component is there to be chosen.
    let general = current.iter().find(|version| version.product.is_none());
    let chosen = general.is_some_and(|version| version.created_by != op.actor.name());
    let said = plugins.admit(Bytes::from_static(wasm)).await?.manifest;
    let mut tx = db.begin().await?;
    let world = plugins::PRICING_WORLD.to_owned();
    let component =
        Component { digest: digest.clone(), wasm: wasm.to_vec(), world: world.clone(), created_at: op.now() };
    tx.component_put(&component).await?;
    tx.plugin_insert(&Plugin {
        id: op.id(),
        team: None,
        name: "list-price".to_owned(),
        digest: digest.clone(),
        size_bytes: wasm.len() as u64,
        world,
        created_by: op.actor.name(),
        created_at: op.now(),
        manifest: said.map(|manifest| json!(manifest).to_string()),
    })
    .await?;
    if chosen {
        return commit(op, tx).await;
    }
    let config = json!({}).to_string();
    tx.price_version_insert(&PriceVersion {
        id: op.id(),
        team: None,
        number: 0,
        digest,
        config_digest: hex::encode(Sha256::digest(config.as_bytes())),
        config,
        created_by: op.actor.name(),
        created_at: op.now(),
        product: None,
        effective_at: op.now(),
    })
    .await?;
    commit(op, tx).await
}

async fn commit(op: &Op, tx: Tx) -> Result<()> {
    let warrant = SystemWarrant::of(op).ok_or_else(|| Error::internal("the set-up is the system's alone"))?;
    Ok(tx.commit(&warrant).await?)
}
