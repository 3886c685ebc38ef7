//! Prices: which component prices a team's use, what it quotes, what it charges.
//!
//! A price version is immutable: a component, its configuration, their digests. The site has one from the start; the
//! operator may activate others, and a team its own, each for one product or for all, at once or from an instant on.
//! The team's go before the site's, and a product's before that of all. A quote pins the version for the life of a
//! segment.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    App,
    gate::{Granted, Outcome},
};
use crate::{
    digest::Digest,
    error::{Error, Findings, Result},
    ids::{PluginId, PriceVersionId, ProductId, TeamId},
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
    store::{Conn, Plugin as PluginRow, PriceVersion, Tx, catalog::ProductRow},
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
    /// The only product that it prices, by id or name; absent: every product that has no price of its own.
    pub product: Option<String>,
    /// From when on launches are priced by it, now or later; absent: at once.
    pub effective_at: Option<Timestamp>,
}

/// Which price to go back to.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollBack {
    /// The product that it prices, by id or name; absent: the price of all that have none of their own.
    pub product: Option<String>,
    /// The number of the version; absent: the last one that was another price than the present.
    pub number: Option<u32>,
}

/// A price version.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct PriceView {
    /// Its id.
    pub id: PriceVersionId,
    /// Its number among the versions of the team, or of the site, from 1.
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
    /// The only product that it prices; `null`: every product that has no price of its own.
    pub product: Option<ProductId>,
    /// From when on launches are priced by it.
    pub effective_at: Timestamp,
    /// Whether launches of its product, or of all others, are priced by it now.
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
    /// The price that use of a product is quoted by in a team, or of what is no product, such as storage: the nearest
    /// that is effective now.
    pub(crate) async fn price_active(
        &self,
        conn: &mut Conn,
        team: TeamId,
        product: Option<ProductId>,
    ) -> Result<ActivePrice> {
        let row = conn.price_version_active(team, product, self.clock().now()).await?;
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
        let context = context_of(team.to_string(), price, op.now(), sku, member);
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

    /// The price versions of a team, the newest first; after them those of the site that are active or to come.
    pub async fn prices_page(&self, op: &Op, team: &str, page: &Page) -> Result<Items<PriceView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let team = Some(scope.team.id);
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ListPrices, resource, Facts::default()).await?;
        let current = read.price_versions_current(team, op.now()).await?;
        let mut rows = read.price_versions_page(team, page.place()?, limit + 1).await?;
        if rows.len() <= limit as usize {
            let room = limit + 1 - rows.len() as u32;
            rows.extend(read.price_versions_coming(None, op.now(), room).await?);
            rows.extend(current.iter().filter(|version| version.team.is_none()).cloned());
            // What is the site's is not paged: there is one for each product at the most, and few that are to come.
            let items = rows.into_iter().map(|row| PriceView::of(row, &current)).collect();
            return Ok(Items { items, next_cursor: None });
        }
        let rows = Items::cut(rows, limit, |row| row.number.to_string());
        Ok(rows.map(|row| PriceView::of(row, &current)))
    }

    /// The price versions of the site, the newest first.
    pub async fn site_prices_page(&self, op: &Op, page: &Page) -> Result<Items<PriceView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ListSitePrices, Resource::Site, Facts::default()).await?;
        let current = read.price_versions_current(None, op.now()).await?;
        let rows = read.price_versions_page(None, page.place()?, limit + 1).await?;
        let rows = Items::cut(rows, limit, |row| row.number.to_string());
        Ok(rows.map(|row| PriceView::of(row, &current)))
    }

    /// Makes a plugin with a configuration the team's price. It must answer a quote first; running instances keep
    /// the version that they were quoted.
    pub async fn price_activate(&self, op: &Op, team: &str, new: NewPrice) -> Result<PriceView> {
        // Checked against the clock below: a repetition may come when its time has passed.
        self.unless_answered(op).await?;
        let config = config_checked(op, &new)?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let (team, resource) = (scope.team.id, Resource::team(scope.team.id));
        let action = Action::ActivatePrice;
        let plugin = read.plugin_fetch(new.plugin).await?;
        let plugin = plugin.filter(|row| row.team.is_none_or(|owner| owner == team));
        let found = match plugin {
            Some(plugin) => version_of(op, &mut read, Some(team), plugin, config, &new).await,
            None => Err(Error::field("/plugin", "there is no such plugin of this team")),
        };
        // Whoever may not change prices hears that, and not whether there is such a plugin.
        let price = match &found {
            Ok(row) => Some(self.price_change(op, &mut read, team, row).await?),
            Err(_) => None,
        };
        let facts = Facts { price, ..Facts::default() };
        self.look(op, &scope.asker, action, resource.clone(), facts).await?;
        let mut row = found?;
        drop(read);
        self.price_try(op, team.to_string(), &ActivePrice::from(row.clone())).await?;
        let mut tx = self.begin(op).await?;
        // The trial may have compiled for seconds, in which the caller may have lost the leave to activate.
        let scope = self.enter(op, &mut tx, &team.to_string()).await?;
        tx.team_lock(team).await?;
        let price = Some(self.price_change(op, &mut tx, team, &row).await?);
        let facts = Facts { price, ..Facts::default() };
        let (mut tx, permit) = self.permit(op, tx, &scope.asker, action, resource, facts).await?;
        row.number = tx.price_version_insert(&row).await?;
        self.price_conclude(op, tx, &permit, row).await
    }

    /// Makes the price that the team had before its present one, or one with a number, its price again: at once, and as
    /// a version of its own.
    ///
    /// # Errors
    /// The conflict `no-earlier-price` when there is none.
    pub async fn price_roll_back(&self, op: &Op, team: &str, back: RollBack) -> Result<PriceView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let (team, resource) = (scope.team.id, Resource::team(scope.team.id));
        tx.team_lock(team).await?;
        let product = product_named(&mut tx, back.product.as_deref()).await;
        let found = match &product {
            Ok(product) => tx.price_version_earlier(team, *product, op.now(), back.number).await?,
            Err(_) => None,
        };
        let again = found.map(|earlier| PriceVersion {
            id: op.id(),
            created_by: op.actor.name(),
            created_at: op.now(),
            effective_at: op.now(),
            ..earlier
        });
        let price = match &again {
            Some(row) => Some(self.price_change(op, &mut tx, team, row).await?),
            None => None,
        };
        let facts = Facts { price, ..Facts::default() };
        let action = Action::RollBackPrice;
        let (mut tx, permit) = self.permit(op, tx, &scope.asker, action, resource, facts).await?;
        product?;
        let mut row = again.ok_or_else(|| {
            let told =
                "the team had no other price for this before; `prices` lists its versions with their numbers";
            Error::conflict("no-earlier-price", told)
        })?;
        row.number = tx.price_version_insert(&row).await?;
        self.price_conclude(op, tx, &permit, row).await
    }

    /// Makes a plugin with a configuration the price of the whole site, where no team has its own.
    pub async fn site_price_activate(&self, op: &Op, new: NewPrice) -> Result<PriceView> {
        // Checked against the clock below: a repetition may come when its time has passed.
        self.unless_answered(op).await?;
        let config = config_checked(op, &new)?;
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        let action = Action::ActivateSitePrice;
        self.look(op, &asker, action, Resource::Site, Facts::default()).await?;
        let plugin = read.plugin_fetch(new.plugin).await?;
        let plugin = plugin.ok_or_else(|| Error::field("/plugin", "there is no such plugin"))?;
        let mut row = version_of(op, &mut read, None, plugin, config, &new).await?;
        drop(read);
        self.price_try(op, "site".to_owned(), &ActivePrice::from(row.clone())).await?;
        let tx = self.begin(op).await?;
        let (mut tx, permit) = self.permit(op, tx, &asker, action, Resource::Site, Facts::default()).await?;
        row.number = tx.price_version_insert(&row).await?;
        self.price_conclude(op, tx, &permit, row).await
    }

    async fn price_conclude(
        &self,
        op: &Op,
        mut tx: Tx,
        permit: &Granted,
        row: PriceVersion,
    ) -> Result<PriceView> {
        let team = row.team;
        let current = tx.price_versions_current(team, op.now()).await?;
        let view = PriceView::of(row, &current);
        let outcome = Outcome {
            team: team.map(|team| team.to_string()).unwrap_or_default(),
            target: view.id.to_string(),
            document: serde_json::json!({
                "digest": view.digest, "config_digest": view.config_digest, "product": view.product,
                "effective_at": view.effective_at,
            }),
            status: 201,
            answer: &view,
        };
        self.conclude(op, tx, permit, outcome).await?;
        Ok(view)
    }

    /// Asks the price for a trial, so that a configuration that it does not take is refused here and not at a launch.
    async fn price_try(&self, op: &Op, team: String, price: &ActivePrice) -> Result<()> {
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

/// The configuration as text.
pub(super) fn config_checked(op: &Op, new: &NewPrice) -> Result<String> {
    let config = serde_json::to_string(&new.config).map_err(Error::internal)?;
    let mut findings = Findings::new();
    findings.check(config.len() <= 65_536, "/config", "at most 64 kB of JSON");
    let coming = new.effective_at.is_none_or(|at| at >= op.now());
    findings.check(coming, "/effective_at", "a time that is not past; leave it out to begin at once");
    findings.done()?;
    Ok(config)
}

async fn product_named(conn: &mut Conn, named: Option<&str>) -> Result<Option<ProductId>> {
    let Some(named) = named else { return Ok(None) };
    let found = conn.product_find(named).await?;
    Ok(Some(found.ok_or_else(|| Error::field("/product", "there is no such product"))?.id))
}

/// The price version that a plugin is to be; its number is not known yet.
pub(super) async fn version_of(
    op: &Op,
    conn: &mut Conn,
    team: Option<TeamId>,
    plugin: PluginRow,
    config: String,
    new: &NewPrice,
) -> Result<PriceVersion> {
    let product = product_named(conn, new.product.as_deref()).await?;
    Ok(PriceVersion {
        id: op.id(),
        team,
        number: 0,
        digest: plugin.digest,
        config_digest: hex::encode(Sha256::digest(config.as_bytes())),
        config,
        created_by: op.actor.name(),
        created_at: op.now(),
        product,
        effective_at: new.effective_at.unwrap_or_else(|| op.now()),
    })
}

fn context_of(team: String, price: &ActivePrice, now: Timestamp, sku: Sku, member: String) -> RateContext {
    RateContext { team, config: price.config.clone(), now, skus: vec![sku], members: vec![member] }
}

/// A quote bounds charges from above, so it is rounded up to the micro-credit.
fn round_up(nano: NanoCredits) -> Credits {
    let nanos = nano.as_nanos();
    Credits::from_micros(nanos.div_euclid(1000) + i64::from(nanos.rem_euclid(1000) > 0))
}

impl PriceView {
    /// A version beside those that are effective now for its team and for the site.
    fn of(row: PriceVersion, current: &[PriceVersion]) -> Self {
        let hides = |other: &PriceVersion| {
            other.team.is_some() && (other.product.is_none() || other.product == row.product)
        };
        let active = current.iter().any(|version| version.id == row.id)
            && (row.team.is_some() || !current.iter().any(hides));
        Self {
            id: row.id,
            number: row.number,
            of_site: row.team.is_none(),
            digest: row.digest,
            config: serde_json::from_str(&row.config).unwrap_or_default(),
            config_digest: row.config_digest,
            product: row.product,
            effective_at: row.effective_at,
            active,
            created_by: row.created_by,
            created_at: row.created_at,
        }
    }
}
