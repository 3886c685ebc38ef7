//! Plugins: uploaded, admitted, kept by their digest. A price is made of one in `prices`.

use bytes::Bytes;
use serde::Serialize;

use super::{App, gate::Outcome};
use crate::{
    error::{Error, Findings, Result},
    ids::PluginId,
    model::{
        action::Action,
        manifest::Manifest,
        page::{Items, Page},
    },
    op::Op,
    plugins::PRICING_WORLD,
    policy::{Facts, Resource},
    store::{Component, Plugin},
    time::Timestamp,
};

/// A plugin.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct PluginView {
    /// Its id.
    pub id: PluginId,
    /// Its name in the team.
    pub name: String,
    /// Whether every team can use it, as the site came with it.
    pub of_site: bool,
    /// Digest of its component.
    pub digest: String,
    /// Size of its component in bytes.
    pub size_bytes: u64,
    /// The world that it implements.
    pub world: String,
    /// Who uploaded it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// What it says about itself, if it does.
    pub manifest: Option<Manifest>,
}

impl From<Plugin> for PluginView {
    fn from(row: Plugin) -> Self {
        Self {
            id: row.id,
            name: row.name,
            of_site: row.team.is_none(),
            digest: row.digest,
            size_bytes: row.size_bytes,
            world: row.world,
            created_by: row.created_by,
            created_at: row.created_at,
            manifest: row.manifest.and_then(|text| serde_json::from_str(&text).ok()),
        }
    }
}

impl App {
    /// Takes a component that can price. The same component under the same name is the plugin that is there; the
    /// second value tells whether it is new.
    ///
    /// # Errors
    /// `plugin-refused` or `plugin-too-large` with the reason, when it cannot be a plugin.
    pub async fn plugin_upload(
        &self,
        op: &Op,
        team: &str,
        name: &str,
        wasm: Bytes,
    ) -> Result<(PluginView, bool)> {
        let mut findings = Findings::new();
        findings.text(name, "name", 1, 64);
        findings.done()?;
        self.unless_answered(op).await?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::UploadPlugin, resource.clone(), Facts::default()).await?;
        drop(read);
        let inspection = self.plugins.admit(wasm.clone()).await?;
        let digest = inspection.digest.to_string();
        let mut tx = self.begin(op).await?;
        // Admission takes seconds, in which the caller may have lost the leave to upload.
        let scope = self.enter(op, &mut tx, team).await?;
        let team = scope.team.id;
        tx.team_lock(team).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::UploadPlugin, resource, Facts::default()).await?;
        let known = tx.plugin_by_digest(team, name, &digest).await?;
        let is_new = known.is_none();
        let row = known.unwrap_or_else(|| Plugin {
            id: op.id(),
            team: Some(team),
            name: name.to_owned(),
            digest,
            size_bytes: inspection.size_bytes as u64,
            world: PRICING_WORLD.to_owned(),
            created_by: op.actor.name(),
            created_at: op.now(),
            manifest: inspection.manifest.as_ref().map(|manifest| serde_json::json!(manifest).to_string()),
        });
        if is_new {
            let (digest, world) = (row.digest.clone(), row.world.clone());
            let component = Component { digest, wasm: wasm.to_vec(), world, created_at: op.now() };
            tx.component_put(&component).await?;
            tx.plugin_insert(&row).await?;
        }
        let view = PluginView::from(row);
        let outcome = Outcome {
            team: team.to_string(),
            target: view.id.to_string(),
            document: serde_json::json!({ "name": view.name, "digest": view.digest, "new": is_new }),
            status: if is_new { 201 } else { 200 },
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok((view, is_new))
    }

    /// The plugins that the team can use: the site's and its own, the oldest first.
    pub async fn plugins_page(&self, op: &Op, team: &str, page: &Page) -> Result<Items<PluginView>> {
        let (limit, after) = (page.limit()?, page.place()?);
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ListPlugins, resource, Facts::default()).await?;
        let rows = read.plugins_page(Some(scope.team.id), after, limit + 1).await?;
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(PluginView::from))
    }

    /// One plugin that the team can use.
    pub async fn plugin_fetch(&self, op: &Op, team: &str, id: PluginId) -> Result<PluginView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::GetPlugin, resource, Facts::default()).await?;
        let row = read.plugin_fetch(id).await?;
        let row = row.filter(|row| row.team.is_none_or(|owner| owner == scope.team.id));
        row.map(PluginView::from).ok_or_else(|| Error::not_found("plugin"))
    }
}
