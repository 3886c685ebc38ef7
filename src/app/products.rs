//! Products and images: what the operator offers.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{App, gate::Outcome, members::labelled};
use crate::{
    error::{Error, Findings, Kind, Result},
    ids::{ImageId, ProductId},
    model::{
        action::Action,
        page::{Items, Page},
        quota::NO_ACCELERATOR,
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{
        Json,
        catalog::{ImageRow, ProductRow},
    },
    time::Timestamp,
};

/// A product to offer.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProduct {
    /// Its name, 1 to 64 characters, unique.
    pub name: String,
    /// The region of the hosts that serve it.
    pub region: String,
    /// Its class, such as `gpu` or `cpu`.
    pub instance_type: String,
    /// The accelerator model as probes report it, or `none`.
    pub accelerator: String,
    /// Accelerators of one unit; 0 with accelerator `none`.
    pub gpus_per_unit: u32,
    /// Processor time of one unit, in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory of one unit, in bytes.
    pub memory_bytes: u64,
    /// List price of one unit for one hour.
    pub price_per_hour: Credits,
    /// Whether it can be seen and launched.
    #[serde(default)]
    pub published: bool,
    /// Words for policies to look at, such as `spot`; at most 16 of 1 to 32 characters a-z, 0-9, `-` and `_`.
    #[serde(default)]
    pub labels: BTreeSet<String>,
}

/// A change of a product. Running instances keep the price that they were quoted.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProductChange {
    /// List price of one unit for one hour.
    #[serde(default)]
    pub price_per_hour: Option<Credits>,
    /// Whether it can be seen and launched.
    #[serde(default)]
    pub published: Option<bool>,
    /// Words for policies in the place of the present ones. They are looked at from the next decision on, also of what
    /// was launched before.
    #[serde(default)]
    pub labels: Option<BTreeSet<String>>,
}

/// A product.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ProductView {
    /// Its id.
    pub id: ProductId,
    /// Its name.
    pub name: String,
    /// The region of the hosts that serve it.
    pub region: String,
    /// Its class.
    pub instance_type: String,
    /// The accelerator model, or `none`.
    pub accelerator: String,
    /// Accelerators of one unit.
    pub gpus_per_unit: u32,
    /// Processor time of one unit, in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory of one unit, in bytes.
    pub memory_bytes: u64,
    /// List price of one unit for one hour.
    pub price_per_hour: Credits,
    /// Whether it can be seen and launched.
    pub published: bool,
    /// Words for policies to look at.
    pub labels: BTreeSet<String>,
    /// Raised by every change; the ETag.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An image to offer.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewImage {
    /// Its name, 1 to 64 characters, unique; permissions use it.
    pub name: String,
    /// The reference that a host's engine knows, best with a digest.
    pub reference: String,
    /// Ports that its programs listen on: 22 for SSH, 8888 for a notebook; at most 16.
    #[serde(default = "ports")]
    pub ports: Vec<u16>,
    /// What is in it, at most 2000 characters.
    #[serde(default)]
    pub description: String,
    /// Whether it can be seen and launched.
    #[serde(default)]
    pub published: bool,
}

fn ports() -> Vec<u16> {
    vec![22, 8888]
}

/// A change of an image. Running instances keep what they were launched from.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageChange {
    /// The reference that a host's engine knows.
    #[serde(default)]
    pub reference: Option<String>,
    /// What is in it.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether it can be seen and launched.
    #[serde(default)]
    pub published: Option<bool>,
}

/// An image.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ImageView {
    /// Its id.
    pub id: ImageId,
    /// Its name.
    pub name: String,
    /// The reference that a host's engine knows.
    pub reference: String,
    /// Ports that its programs listen on.
    pub ports: Vec<u16>,
    /// What is in it.
    pub description: String,
    /// Whether it can be seen and launched.
    pub published: bool,
    /// Raised by every change; the ETag.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

impl NewProduct {
    fn check(&self) -> Result<()> {
        let mut findings = Findings::new();
        findings.text(&self.name, "/name", 1, 64);
        findings.text(&self.region, "/region", 1, 64);
        findings.text(&self.instance_type, "/instance_type", 1, 64);
        findings.text(&self.accelerator, "/accelerator", 1, 128);
        findings.check(self.gpus_per_unit <= 16, "/gpus_per_unit", "at most 16");
        let agree = (self.accelerator == NO_ACCELERATOR) == (self.gpus_per_unit == 0);
        findings.check(agree, "/accelerator", "`none` goes with 0 GPUs per unit, a model with 1 or more");
        findings.check((1..=1_024_000).contains(&self.cpu_millis), "/cpu_millis", "1 to 1024000");
        let memory = (16 << 20)..=(64 << 40);
        findings.check(memory.contains(&self.memory_bytes), "/memory_bytes", "16 MiB to 64 TiB, in bytes");
        price(self.price_per_hour, &mut findings);
        labelled(&self.labels, &mut findings);
        findings.done()
    }
}

/// The highest list price: a unit that costs more per hour is a slip of the keyboard.
const HIGHEST_PRICE: Credits = Credits::from_micros(1_000_000 * crate::money::MICROS_PER_CREDIT);

fn price(price: Credits, findings: &mut Findings) {
    let fine = (Credits::ZERO..=HIGHEST_PRICE).contains(&price);
    findings.check(fine, "/price_per_hour", format!("0 to {HIGHEST_PRICE} credits, got {price}"));
}

impl NewImage {
    fn check(&self) -> Result<()> {
        let mut findings = Findings::new();
        findings.text(&self.name, "/name", 1, 64);
        findings.text(&self.reference, "/reference", 1, 256);
        findings.check(!self.reference.contains(char::is_whitespace), "/reference", "no spaces");
        findings.text(&self.description, "/description", 0, 2000);
        findings.check(self.ports.len() <= 16, "/ports", "at most 16 ports");
        findings.check(!self.ports.contains(&0), "/ports", "1 to 65535");
        findings.done()
    }
}

impl From<ProductRow> for ProductView {
    fn from(row: ProductRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            region: row.region,
            instance_type: row.instance_type,
            accelerator: row.accelerator,
            gpus_per_unit: row.gpus_per_unit,
            cpu_millis: row.cpu_millis,
            memory_bytes: row.memory_bytes,
            price_per_hour: row.price_per_hour,
            published: row.published,
            labels: row.labels.0,
            version: row.version,
            created_at: row.created_at,
        }
    }
}

impl From<ImageRow> for ImageView {
    fn from(row: ImageRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            reference: row.reference,
            ports: row.ports.0,
            description: row.description,
            published: row.published,
            version: row.version,
            created_at: row.created_at,
        }
    }
}

/// The error for a version that is no longer the present one.
pub(crate) fn stale() -> Error {
    let told = "somebody changed it meanwhile; read it again and send its new ETag";
    Error::new(Kind::Stale, "stale-version", told)
}

impl App {
    /// Offers a product.
    pub async fn product_create(&self, op: &Op, new: NewProduct) -> Result<ProductView> {
        new.check()?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &asker, Action::CreateProduct, Resource::Site, Facts::default()).await?;
        let row = ProductRow {
            id: op.id(),
            name: new.name,
            region: new.region,
            instance_type: new.instance_type,
            accelerator: new.accelerator,
            gpus_per_unit: new.gpus_per_unit,
            cpu_millis: new.cpu_millis,
            memory_bytes: new.memory_bytes,
            price_per_hour: new.price_per_hour,
            published: new.published,
            labels: Json(new.labels),
            version: 1,
            created_at: op.now(),
        };
        tx.product_insert(&row).await?;
        let view = ProductView::from(row);
        let outcome = Outcome {
            team: String::new(),
            target: view.id.to_string(),
            document: serde_json::json!({
                "name": view.name, "price_per_hour": view.price_per_hour, "labels": view.labels,
            }),
            status: 201,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// Products, the oldest first.
    pub async fn products_page(&self, op: &Op, page: &Page) -> Result<Items<ProductView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ListProducts, Resource::Site, Facts::default()).await?;
        let rows = read.products_page(page.after(), limit + 1).await?;
        let rows: Vec<ProductView> = rows.into_iter().map(ProductView::from).collect();
        Ok(Items::cut(rows, limit, |row| row.id.to_string()))
    }

    /// Changes price, publication or labels of a product, if it is still at the expected version.
    pub async fn product_update(
        &self,
        op: &Op,
        id: ProductId,
        expected: i64,
        change: ProductChange,
    ) -> Result<ProductView> {
        let mut findings = Findings::new();
        price(change.price_per_hour.unwrap_or(Credits::ZERO), &mut findings);
        labelled(change.labels.as_ref().unwrap_or(&BTreeSet::new()), &mut findings);
        findings.done()?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &asker, Action::UpdateProduct, Resource::Site, Facts::default()).await?;
        let mut row = tx.product_fetch(id).await?.ok_or_else(|| Error::not_found("product"))?;
        row.version = expected;
        row.price_per_hour = change.price_per_hour.unwrap_or(row.price_per_hour);
        row.published = change.published.unwrap_or(row.published);
        row.labels = change.labels.map_or(row.labels, Json);
        if !tx.product_update(&row).await? {
            return Err(stale());
        }
        row.version += 1;
        let view = ProductView::from(row);
        let outcome = Outcome {
            team: String::new(),
            target: id.to_string(),
            document: serde_json::json!({
                "price_per_hour": view.price_per_hour, "published": view.published, "labels": view.labels,
            }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// Offers an image.
    pub async fn image_create(&self, op: &Op, new: NewImage) -> Result<ImageView> {
        new.check()?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &asker, Action::CreateImage, Resource::Site, Facts::default()).await?;
        let row = ImageRow {
            id: op.id(),
            name: new.name,
            reference: new.reference,
            ports: Json(new.ports),
            description: new.description,
            published: new.published,
            version: 1,
            created_at: op.now(),
        };
        tx.image_insert(&row).await?;
        let view = ImageView::from(row);
        let outcome = Outcome {
            team: String::new(),
            target: view.id.to_string(),
            document: serde_json::json!({ "name": view.name, "reference": view.reference }),
            status: 201,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// Images, the oldest first.
    pub async fn images_page(&self, op: &Op, page: &Page) -> Result<Items<ImageView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let asker = self.visitor(op, &mut read).await?;
        self.look(op, &asker, Action::ListImages, Resource::Site, Facts::default()).await?;
        let rows = read.images_page(page.after(), limit + 1).await?;
        let rows: Vec<ImageView> = rows.into_iter().map(ImageView::from).collect();
        Ok(Items::cut(rows, limit, |row| row.id.to_string()))
    }

    /// Changes an image, if it is still at the expected version.
    pub async fn image_update(
        &self,
        op: &Op,
        id: ImageId,
        expected: i64,
        change: ImageChange,
    ) -> Result<ImageView> {
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &asker, Action::UpdateImage, Resource::Site, Facts::default()).await?;
        let mut row = tx.image_fetch(id).await?.ok_or_else(|| Error::not_found("image"))?;
        row.version = expected;
        row.reference = change.reference.unwrap_or(row.reference);
        row.description = change.description.unwrap_or(row.description);
        row.published = change.published.unwrap_or(row.published);
        let as_new = NewImage {
            name: row.name.clone(),
            reference: row.reference.clone(),
            ports: row.ports.0.clone(),
            description: row.description.clone(),
            published: row.published,
        };
        as_new.check()?;
        if !tx.image_update(&row).await? {
            return Err(stale());
        }
        row.version += 1;
        let view = ImageView::from(row);
        let outcome = Outcome {
            team: String::new(),
            target: id.to_string(),
            document: serde_json::json!({ "reference": view.reference, "published": view.published }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }
}
