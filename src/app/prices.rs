//! Prices: which component prices a team's use, what it quotes, what it charges.
//!
//! A price version is immutable: a component, its configuration, their digests. The site has one from the start; a
//! team may activate its own. A quote pins the version for the life of a segment.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{App, gate::Outcome};
use crate::{
    digest::Digest,
    error::{Error, Findings, Result},
    ids::{PluginId, PriceVersionId, TeamId},
    ledger::rating::RatedLine,
    model::{
        action::Action,
        page::{Items, Page},
        price::{PlannedUse, RateContext, Sku, UsageRecord},
    },
    money::{Credits, NanoCredits},
    op::Op,
    plugins::Plugin,
    policy::{Facts, Resource},
    store::{Conn, PriceVersion, catalog::ProductRow},
    time::Timestamp,
};

/// A price version in use.
#[derive(Debug, Clone)]
pub(crate) struct ActivePrice {
    pub(crate) version: PriceVersionId,
    pub(crate) digest: String,
    pub(crate) config: String,
    pub(crate) config_digest: String,
}

/// A price to activate.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPrice {
    /// The plugin: one of the team's, or one of the site's.
    pub plugin: PluginId,
    /// The configuration that the plugin is given with every call, at most 64 kB.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// A price version.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct PriceView {
    /// Its id.
    pub id: PriceVersionId,
    /// Its number in the team, from 1; the highest is active. The site's default has no team.
    pub number: u32,
    /// Whether the whole site uses it where no team has its own.
    pub of_site: bool,
    /// Digest of the component.
    pub digest: String,
    /// The configuration.
    #[schema(value_type = Object)]
    pub config: serde_json::Value,
    /// Digest of the configuration.
    pub config_digest: String,
    /// Whether launches are priced by it now.
    pub active: bool,
    /// Who activated it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// What the host tells a plugin of a product.
pub(crate) fn sku_with(product: &ProductRow, unit_price: NanoCredits) -> Sku {
    Sku {
        name: product.name.clone(),
        kind: "instance".to_owned(),
        region: product.region.clone(),
        instance_type: product.instance_type.clone(),
        accelerator: product.accelerator.clone(),
        unit_price,
    }
}

impl From<PriceVersion> for ActivePrice {
    fn from(row: PriceVersion) -> Self {
        Self { version: row.id, digest: row.digest, config: row.config, config_digest: row.config_digest }
    }
}

impl App {
    /// The price that launches of a team are quoted by: its own, else the site's.
    pub(crate) async fn price_active(&self, conn: &mut Conn, team: TeamId) -> Result<ActivePrice> {
        let row = conn.price_version_active(team).await?;
        row.map(ActivePrice::from).ok_or_else(|| Error::internal("the site has no price"))
    }

    /// A price version that something refers to.
    pub(crate) async fn price_version(&self, conn: &mut Conn, id: PriceVersionId) -> Result<ActivePrice> {
        let row = conn.price_version_fetch(id).await?;
        row.map(ActivePrice::from).ok_or_else(|| Error::internal("a price version vanished"))
    }

    async fn plugin_of(&self, price: &ActivePrice) -> Result<Arc<Plugin>> {
        let digest: Digest = price.digest.parse().map_err(|_| Error::internal("a stored digest is none"))?;
        let wasm = async {
            let mut read = self.db.read().await?;
            let stored = read.component_fetch(&digest.to_string()).await?;
            stored
                .map(|component| Bytes::from(component.wasm))
                .ok_or_else(|| Error::internal(format!("component {digest} is not stored")))
        };
        self.plugins.load(digest, wasm).await
    }

    /// What a launch costs per hour by `price`; the list price, and `true`, when the plugin fails.
    pub(crate) async fn price_quote(
        &self,
        op: &Op,
        team: TeamId,
        price: &ActivePrice,
        product: &ProductRow,
        member: String,
        quantity: u32,
    ) -> Result<(Credits, bool)> {
        let sku = sku_with(product, product.price_per_hour.to_nano()?);
        self.sku_quote(op, team, price, sku, member, quantity).await
    }

    /// What `quantity` units cost per hour by `price`; the list price, and `true`, when the plugin fails.
    pub(crate) async fn sku_quote(
        &self,
        op: &Op,
        team: TeamId,
        price: &ActivePrice,
        sku: Sku,
        member: String,
        quantity: u32,
    ) -> Result<(Credits, bool)> {
        let list = sku.unit_price.as_nanos().checked_mul(i64::from(quantity));
        let list = round_up(NanoCredits::from_nanos(list.ok_or(crate::money::Error::Overflow)?));
        let context = context_of(team, price, op.now(), sku, member);
        let planned = [PlannedUse { sku: 0, member: 0, quantity, start: op.now() }];
        let asked = async {
            let plugin = self.plugin_of(price).await?;
            Ok::<_, Error>(self.plugins.quote(&plugin, &context, &planned).await?)
        };
        match asked.await {
            Ok(quote) => Ok((round_up(quote.per_hour), false)),
            Err(error) => {
                tracing::warn!(%team, price = %price.version, ?error, "a quote failed; the list price stands in");
                Ok((list, true))
            }
        }
    }

    /// What each record costs by `price`, line by line, in the records' order.
    pub(crate) async fn price_rate(
        &self,
        price: &ActivePrice,
        context: &RateContext,
        records: &[UsageRecord],
    ) -> Result<Vec<Vec<RatedLine>>> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let plugin = self.plugin_of(price).await?;
        let mut rated = vec![Vec::new(); records.len()];
        for charged in self.plugins.rate(&plugin, context, records).await? {
            let lines: &mut Vec<RatedLine> = rated
                .get_mut(charged.record as usize)
                .ok_or_else(|| Error::internal("a charge for a record that is not there"))?;
            lines.push(RatedLine { line: charged.line, nano: charged.amount });
        }
        Ok(rated)
    }

    /// The price versions of a team, the newest first, and after them the site's.
    pub async fn prices_page(&self, op: &Op, team: &str, page: &Page) -> Result<Items<PriceView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ListPrices, resource, Facts::default()).await?;
        let active = self.price_active(&mut read, scope.team.id).await?;
        let mut rows = read.price_versions_page(Some(scope.team.id), page.place()?, limit + 1).await?;
        if rows.len() <= limit as usize {
            rows.extend(read.price_versions_page(None, None, 1).await?);
        }
        let rows = Items::cut(rows, limit, |row| row.number.to_string());
        Ok(rows.map(|row| PriceView::of(row, active.version)))
    }

    /// Makes a plugin with a configuration the team's price. It must answer a quote first; running instances keep
    /// the version that they were quoted.
    pub async fn price_activate(&self, op: &Op, team: &str, new: NewPrice) -> Result<PriceView> {
        let config = serde_json::to_string(&new.config).map_err(Error::internal)?;
        let mut findings = Findings::new();
        findings.check(config.len() <= 65_536, "/config", "at most 64 kB of JSON");
        findings.done()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ActivatePrice, resource.clone(), Facts::default()).await?;
        let plugin = read.plugin_fetch(new.plugin).await?;
        let plugin = plugin.filter(|row| row.team.is_none_or(|team| team == scope.team.id));
        let plugin = plugin.ok_or_else(|| Error::field("/plugin", "there is no such plugin of this team"))?;
        drop(read);
        let price = ActivePrice {
            version: op.id(),
            digest: plugin.digest,
            config_digest: hex::encode(Sha256::digest(config.as_bytes())),
            config,
        };
        self.price_try(op, scope.team.id, &price).await?;
        let mut tx = self.begin(op).await?;
        tx.team_lock(scope.team.id).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::ActivatePrice, resource, Facts::default()).await?;
        let mut row = PriceVersion {
            id: price.version,
            team: Some(scope.team.id),
            number: 0,
            digest: price.digest,
            config: price.config,
            config_digest: price.config_digest,
            created_by: op.actor.name(),
            created_at: op.now(),
        };
        row.number = tx.price_version_insert(&row).await?;
        let view = PriceView::of(row, price.version);
        let outcome = Outcome {
            team: scope.team.id.to_string(),
            target: view.id.to_string(),
            document: serde_json::json!({ "digest": view.digest, "config_digest": view.config_digest }),
            status: 201,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// Asks the price for a trial, so that a configuration that it does not take is refused here and not at a launch.
    async fn price_try(&self, op: &Op, team: TeamId, price: &ActivePrice) -> Result<()> {
        let sku = Sku {
            name: "trial".to_owned(),
            kind: "instance".to_owned(),
            region: "trial".to_owned(),
            instance_type: "trial".to_owned(),
            accelerator: "none".to_owned(),
            unit_price: NanoCredits::from_nanos(1_000_000_000),
        };
        let context = context_of(team, price, op.now(), sku, op.actor.name());
        let plugin = self.plugin_of(price).await?;
        let planned = [PlannedUse { sku: 0, member: 0, quantity: 1, start: op.now() }];
        self.plugins.quote(&plugin, &context, &planned).await?;
        Ok(())
    }
}

fn context_of(team: TeamId, price: &ActivePrice, now: Timestamp, sku: Sku, member: String) -> RateContext {
    RateContext {
        team: team.to_string(),
        config: price.config.clone(),
        now,
        skus: vec![sku],
        members: vec![member],
    }
}

/// A quote bounds charges from above, so it is rounded up to the micro-credit.
fn round_up(nano: NanoCredits) -> Credits {
    let nanos = nano.as_nanos();
    Credits::from_micros(nanos.div_euclid(1000) + i64::from(nanos.rem_euclid(1000) > 0))
}

impl PriceView {
    fn of(row: PriceVersion, active: PriceVersionId) -> Self {
        Self {
            id: row.id,
            number: row.number,
            of_site: row.team.is_none(),
            digest: row.digest,
            config: serde_json::from_str(&row.config).unwrap_or_default(),
            config_digest: row.config_digest,
            active: row.id == active,
            created_by: row.created_by,
            created_at: row.created_at,
        }
    }
}
