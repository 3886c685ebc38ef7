//! The catalogue: the products and images that a member may see, and nothing else.

use serde::Serialize;

use super::{
    App,
    products::{ImageView, ProductView},
};
use crate::{
    error::Result,
    model::action::Action,
    op::Op,
    policy::{Facts, Resource},
};

/// What a member can pick from.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Catalog {
    /// Products that the member may see; the price is the list price, an estimate tells the team's own.
    pub products: Vec<Offer>,
    /// Images that the member may see.
    pub images: Vec<ImageView>,
}

/// A product with how much of it is free.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Offer {
    /// The product.
    #[serde(flatten)]
    pub product: ProductView,
    /// Whole units that the hosts of its region could take now, at most 999.
    pub units_available: u32,
}

impl App {
    /// The catalogue as the caller sees it.
    pub async fn catalog(&self, op: &Op, team: &str) -> Result<Catalog> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let whole = Resource::Record { team: scope.team.id, owner: scope.member.as_ref().map(|m| m.id) };
        self.look(op, &scope.asker, Action::ListCatalog, whole, Facts::default()).await?;
        let may =
            |things: &[Resource]| self.policies.may_each(&scope.asker.principal, Action::ListCatalog, things);
        let candidates = read.candidates().await?;
        let rows = read.products_published().await?;
        let offers: Vec<Resource> = rows
            .iter()
            .map(|row| Resource::Offer {
                region: row.region.clone(),
                instance_type: row.instance_type.clone(),
                accelerator: row.accelerator.clone(),
                product_labels: row.labels.0.clone(),
            })
            .collect();
        let mut products = Vec::new();
        for (row, shown) in rows.into_iter().zip(may(&offers)) {
            if shown {
                let units_available = candidates.iter().map(|host| units(&row, host)).sum::<u32>().min(999);
                products.push(Offer { product: ProductView::from(row), units_available });
            }
        }
        let rows = read.images_published().await?;
        let things: Vec<Resource> =
            rows.iter().map(|row| Resource::Image { name: row.name.clone() }).collect();
        let images = rows.into_iter().zip(may(&things)).filter(|(_, shown)| *shown);
        Ok(Catalog { products, images: images.map(|(row, _)| ImageView::from(row)).collect() })
    }
}

/// Whole units of a product that a host could take now.
fn units(product: &crate::store::catalog::ProductRow, host: &crate::model::placement::Candidate) -> u32 {
    if !host.takes_new || host.region != product.region {
        return 0;
    }
    let gpus = host.free.iter().filter(|(_, model)| *model == product.accelerator).count() as u64;
    let by_gpu = gpus.checked_div(u64::from(product.gpus_per_unit)).unwrap_or(u64::MAX);
    let by_cpu = host.free_cpu_millis / product.cpu_millis.max(1);
    let by_memory = host.free_memory_bytes / product.memory_bytes.max(1);
    u32::try_from(by_gpu.min(by_cpu).min(by_memory)).unwrap_or(u32::MAX).min(999)
}
