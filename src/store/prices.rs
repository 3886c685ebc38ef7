//! Plugin components and price versions in the database. A component is named by its digest and never
//! changes; a price version never changes either, a new one takes its place.
//!
//! A price version is of a team or of the site, for one product or for all, and counts from an instant on. The nearest
//! one prices a launch: the team's before the site's, the product's before that of all, then the latest.

use super::{
    convert::Blank,
    error::Result,
    query::{Record, Row, record},
    tx::{Conn, Tx},
};
use crate::{
    ids::{PluginId, PriceVersionId, ProductId, TeamId},
    time::Timestamp,
};

const COMPONENT_PUT: &str = "
    INSERT INTO components (digest, wasm, world, created_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (digest) DO NOTHING";

const COMPONENT_FETCH: &str = "SELECT digest, wasm, world, created_at FROM components WHERE digest = $1";

const PLUGIN_INSERT: &str = "
    INSERT INTO plugins (id, team, name, digest, size_bytes, world, created_by, created_at, manifest)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const PLUGIN_FETCH: &str = "SELECT * FROM plugins WHERE id = $1";

const PLUGIN_BY_DIGEST: &str = "SELECT * FROM plugins WHERE team = $1 AND name = $2 AND digest = $3";

const PLUGINS_OF_TEAM: &str = "
    SELECT * FROM plugins WHERE team IN ($1, '') AND id > $2 ORDER BY id LIMIT $3";

const PRICE_VERSION_INSERT: &str = "
    INSERT INTO price_versions (id, team, number, digest, config, config_digest, created_by, created_at, product,
                                effective_at)
    SELECT $1, $2, COALESCE(MAX(number), 0) + 1, $3, $4, $5, $6, $7, $8, $9 FROM price_versions WHERE team = $2
    RETURNING number";

const PRICE_VERSION_FETCH: &str = "SELECT * FROM price_versions WHERE id = $1";

const PRICE_VERSION_ACTIVE: &str = "
    SELECT * FROM price_versions WHERE team IN ($1, '') AND product IN ($2, '') AND effective_at <= $3
    ORDER BY team DESC, product DESC, effective_at DESC, number DESC LIMIT 1";

const PRICE_VERSIONS_CURRENT: &str = "
    SELECT p.* FROM price_versions p
    WHERE p.team IN ($1, '') AND p.effective_at <= $2 AND NOT EXISTS (
        SELECT 1 FROM price_versions n
        WHERE n.team = p.team AND n.product = p.product AND n.effective_at <= $2
          AND (n.effective_at, n.number) > (p.effective_at, p.number))
    ORDER BY p.team DESC, p.number DESC";

const PRICE_VERSIONS_COMING: &str = "
    SELECT * FROM price_versions WHERE team = $1 AND effective_at > $2 ORDER BY number DESC LIMIT $3";

const PRICE_VERSION_EARLIER: &str = "
    SELECT p.* FROM price_versions p
    WHERE p.team = $1 AND p.product = $2 AND p.effective_at <= $3
      AND (p.number = $4 OR CAST($4 AS BIGINT) IS NULL)
      AND (p.digest, p.config_digest) NOT IN (
        SELECT c.digest, c.config_digest FROM price_versions c
        WHERE c.team = $1 AND c.product = $2 AND c.effective_at <= $3
        ORDER BY c.effective_at DESC, c.number DESC LIMIT 1)
    ORDER BY p.effective_at DESC, p.number DESC LIMIT 1";

const COMPONENT_OF_PRICES: &str = "
    SELECT c.* FROM components c
    WHERE c.digest = $2
      AND EXISTS (SELECT 1 FROM price_versions p WHERE p.digest = c.digest AND p.team IN ($1, ''))";

const PRICE_VERSIONS_OF_TEAM: &str = "
    SELECT * FROM price_versions WHERE team = $1 AND number < $2 ORDER BY number DESC LIMIT $3";

record! {
    /// A Wasm component.
    pub struct Component {
        /// Its digest, in hexadecimal: its name.
        pub digest: String,
        /// The component itself.
        pub wasm: Vec<u8>,
        /// The world that it implements.
        pub world: String,
        /// When it was first uploaded.
        pub created_at: Timestamp,
    }
}

/// A plugin as a team or the site uploaded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The plugin.
    pub id: PluginId,
    /// Whose it is; `None` for the site's own.
    pub team: Option<TeamId>,
    /// Its name.
    pub name: String,
    /// Digest of its component.
    pub digest: String,
    /// Size of its component in bytes.
    pub size_bytes: u64,
    /// The world that it implements.
    pub world: String,
    /// Who uploaded it: a name from [`crate::op::Actor::name`].
    pub created_by: String,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// What its component says about itself, JSON text; `None` where it says nothing.
    pub manifest: Option<String>,
}

/// A price: a component with its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceVersion {
    /// The price version.
    pub id: PriceVersionId,
    /// Whose price it is; `None` for the site's own.
    pub team: Option<TeamId>,
    /// Its place among the versions of the same team, from 1; given by [`Tx::price_version_insert`].
    pub number: u32,
    /// Digest of its component.
    pub digest: String,
    /// The component's configuration, JSON text.
    pub config: String,
    /// Digest of the configuration.
    pub config_digest: String,
    /// Who activated it: a name from [`crate::op::Actor::name`].
    pub created_by: String,
    /// When it was activated.
    pub created_at: Timestamp,
    /// The only product that it prices; `None`: every one that has no price of its own.
    pub product: Option<ProductId>,
    /// From when on launches are priced by it.
    pub effective_at: Timestamp,
}

impl Tx {
    /// Stores a component unless it is there.
    pub async fn component_put(&mut self, component: &Component) -> Result<()> {
        let put = self.query(COMPONENT_PUT).bind(component.digest.as_str()).bind(component.wasm.as_slice());
        put.bind(component.world.as_str()).bind(component.created_at).execute().await.map(drop)
    }

    /// Writes a plugin.
    ///
    /// # Errors
    /// [`super::Error::Unique`] when the team has it under this name.
    pub async fn plugin_insert(&mut self, plugin: &Plugin) -> Result<()> {
        let insert = self.query(PLUGIN_INSERT).bind(plugin.id).bind(Blank(plugin.team));
        let insert = insert.bind(plugin.name.as_str()).bind(plugin.digest.as_str()).bind(plugin.size_bytes);
        let insert = insert.bind(plugin.world.as_str()).bind(plugin.created_by.as_str());
        let insert = insert.bind(plugin.created_at).bind(plugin.manifest.clone());
        insert.execute().await.map(drop)
    }

    /// Writes a price version under the next number of its team, whatever `version` says, and returns that
    /// number.
    ///
    /// # Errors
    /// [`super::Error::Unique`] when another was written at the same time.
    pub async fn price_version_insert(&mut self, version: &PriceVersion) -> Result<u32> {
        let insert = self.query(PRICE_VERSION_INSERT).bind(version.id).bind(Blank(version.team));
        let insert = insert.bind(version.digest.as_str()).bind(version.config.as_str());
        let insert = insert.bind(version.config_digest.as_str()).bind(version.created_by.as_str());
        let insert = insert.bind(version.created_at).bind(Blank(version.product)).bind(version.effective_at);
        let (number,) = insert.one::<(u32,)>().await?;
        Ok(number)
    }
}

impl Conn {
    /// A component.
    pub async fn component_fetch(&mut self, digest: &str) -> Result<Option<Component>> {
        self.query(COMPONENT_FETCH).bind(digest).optional().await
    }

    /// A plugin.
    pub async fn plugin_fetch(&mut self, id: PluginId) -> Result<Option<Plugin>> {
        self.query(PLUGIN_FETCH).bind(id).optional().await
    }

    /// The plugin of the team with this name and component.
    pub async fn plugin_by_digest(
        &mut self,
        team: TeamId,
        name: &str,
        digest: &str,
    ) -> Result<Option<Plugin>> {
        self.query(PLUGIN_BY_DIGEST).bind(team).bind(name).bind(digest).optional().await
    }

    /// At most `limit` plugins after `after` that the team can use: its own and the site's.
    pub async fn plugins_page(
        &mut self,
        team: Option<TeamId>,
        after: Option<PluginId>,
        limit: u32,
    ) -> Result<Vec<Plugin>> {
        self.query(PLUGINS_OF_TEAM).bind(Blank(team)).bind(Blank(after)).bind(limit).all().await
    }

    /// A price version.
    pub async fn price_version_fetch(&mut self, id: PriceVersionId) -> Result<Option<PriceVersion>> {
        self.query(PRICE_VERSION_FETCH).bind(id).optional().await
    }

    /// The price of a product, or of what is none, for a team at `now`: the nearest, and of those the latest that is
    /// effective.
    pub async fn price_version_active(
        &mut self,
        team: TeamId,
        product: Option<ProductId>,
        now: Timestamp,
    ) -> Result<Option<PriceVersion>> {
        self.query(PRICE_VERSION_ACTIVE).bind(team).bind(Blank(product)).bind(now).optional().await
    }

    /// The latest price version of a team, for a product or for all others, that was effective before the present one
    /// and is not the same; or the one with this number.
    pub async fn price_version_earlier(
        &mut self,
        team: TeamId,
        product: Option<ProductId>,
        now: Timestamp,
        number: Option<u32>,
    ) -> Result<Option<PriceVersion>> {
        let earlier = self.query(PRICE_VERSION_EARLIER).bind(team).bind(Blank(product)).bind(now);
        earlier.bind(number).optional().await
    }

    /// The price versions that are effective at `now` for the team and for the site, one for each product that has any
    /// and one for all others; the team's first.
    pub async fn price_versions_current(
        &mut self,
        team: Option<TeamId>,
        now: Timestamp,
    ) -> Result<Vec<PriceVersion>> {
        self.query(PRICE_VERSIONS_CURRENT).bind(Blank(team)).bind(now).all().await
    }

    /// At most `limit` price versions of the team, or of the site, that are effective later than `now`.
    pub async fn price_versions_coming(
        &mut self,
        team: Option<TeamId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PriceVersion>> {
        self.query(PRICE_VERSIONS_COMING).bind(Blank(team)).bind(now).bind(limit).all().await
    }

    /// A component, if a price of the team or of the site is made of it.
    pub async fn component_of_prices(&mut self, team: TeamId, digest: &str) -> Result<Option<Component>> {
        self.query(COMPONENT_OF_PRICES).bind(team).bind(digest).optional().await
    }

    /// At most `limit` price versions of the team, or of the site, with a number below `before`, the newest
    /// first.
    pub async fn price_versions_page(
        &mut self,
        team: Option<TeamId>,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Vec<PriceVersion>> {
        let page = self.query(PRICE_VERSIONS_OF_TEAM).bind(Blank(team));
        page.bind(before.map_or(i64::MAX, i64::from)).bind(limit).all().await
    }
}

impl Record for Plugin {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get::<Blank<TeamId>>("team")?.0,
            name: row.get("name")?,
            digest: row.get("digest")?,
            size_bytes: row.get("size_bytes")?,
            world: row.get("world")?,
            created_by: row.get("created_by")?,
            created_at: row.get("created_at")?,
            manifest: row.get("manifest")?,
        })
    }
}

impl Record for PriceVersion {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            team: row.get::<Blank<TeamId>>("team")?.0,
            number: row.get("number")?,
            digest: row.get("digest")?,
            config: row.get("config")?,
            config_digest: row.get("config_digest")?,
            created_by: row.get("created_by")?,
            created_at: row.get("created_at")?,
            product: row.get::<Blank<ProductId>>("product")?.0,
            effective_at: row.get("effective_at")?,
        })
    }
}
