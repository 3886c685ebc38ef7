//! Products and images: the rows of what can be had.

use std::collections::BTreeSet;

use super::{Conn, Json, Result, Tx, query::record};
use crate::{
    ids::{ImageId, ProductId},
    money::Credits,
    time::Timestamp,
};

record! {
    /// A product: what can be rented, and its list price.
    pub struct ProductRow {
        /// The product.
        pub id: ProductId,
        /// Its name, which requests may use in place of the id.
        pub name: String,
        /// The region of the hosts that serve it.
        pub region: String,
        /// Its class, such as `gpu` or `cpu`.
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
        /// The words that the operator gave it, for policies.
        pub labels: Json<BTreeSet<String>>,
        /// Raised by every change.
        pub version: i64,
        /// When it was made.
        pub created_at: Timestamp,
    }
}

record! {
    /// An image that instances are launched from.
    pub struct ImageRow {
        /// The image.
        pub id: ImageId,
        /// Its name, which requests and permissions use.
        pub name: String,
        /// The reference that a host's engine knows.
        pub reference: String,
        /// Ports that its programs listen on.
        pub ports: Json<Vec<u16>>,
        /// What is in it.
        pub description: String,
        /// Whether it can be seen and launched.
        pub published: bool,
        /// Raised by every change.
        pub version: i64,
        /// When it was made.
        pub created_at: Timestamp,
    }
}

const PRODUCT_INSERT: &str = "
    INSERT INTO products (id, name, region, instance_type, accelerator, gpus_per_unit, cpu_millis, memory_bytes,
                          price_per_hour, published, labels, version, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

const PRODUCT_FETCH: &str = "SELECT * FROM products WHERE id = $1";

const PRODUCT_FIND: &str = "SELECT * FROM products WHERE id = $1 OR name = $1 ORDER BY id LIMIT 1";

const PRODUCTS_PAGE: &str = "SELECT * FROM products WHERE id > $1 ORDER BY id LIMIT $2";

const PRODUCTS_PUBLISHED: &str = "SELECT * FROM products WHERE published ORDER BY id";

const PRODUCT_UPDATE: &str = "
    UPDATE products SET price_per_hour = $3, published = $4, labels = $5, version = version + 1
     WHERE id = $1 AND version = $2";

const IMAGE_INSERT: &str = "
    INSERT INTO images (id, name, reference, ports, description, published, version, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const IMAGE_FETCH: &str = "SELECT * FROM images WHERE id = $1";

const IMAGE_FIND: &str = "SELECT * FROM images WHERE id = $1 OR name = $1 ORDER BY id LIMIT 1";

const IMAGES_PAGE: &str = "SELECT * FROM images WHERE id > $1 ORDER BY id LIMIT $2";

const IMAGES_PUBLISHED: &str = "SELECT * FROM images WHERE published ORDER BY id";

const IMAGE_UPDATE: &str = "
    UPDATE images SET reference = $3, description = $4, published = $5, version = version + 1
     WHERE id = $1 AND version = $2";

impl Conn {
    /// One product.
    pub async fn product_fetch(&mut self, id: ProductId) -> Result<Option<ProductRow>> {
        self.query(PRODUCT_FETCH).bind(id).optional().await
    }

    /// The product with this id or name.
    pub async fn product_find(&mut self, id_or_name: &str) -> Result<Option<ProductRow>> {
        self.query(PRODUCT_FIND).bind(id_or_name).optional().await
    }

    /// Products with ids above `after`.
    pub async fn products_page(&mut self, after: &str, limit: u32) -> Result<Vec<ProductRow>> {
        self.query(PRODUCTS_PAGE).bind(after).bind(limit).all().await
    }

    /// Every published product.
    pub async fn products_published(&mut self) -> Result<Vec<ProductRow>> {
        self.query(PRODUCTS_PUBLISHED).all().await
    }

    /// One image.
    pub async fn image_fetch(&mut self, id: ImageId) -> Result<Option<ImageRow>> {
        self.query(IMAGE_FETCH).bind(id).optional().await
    }

    /// The image with this id or name.
    pub async fn image_find(&mut self, id_or_name: &str) -> Result<Option<ImageRow>> {
        self.query(IMAGE_FIND).bind(id_or_name).optional().await
    }

    /// Images with ids above `after`.
    pub async fn images_page(&mut self, after: &str, limit: u32) -> Result<Vec<ImageRow>> {
        self.query(IMAGES_PAGE).bind(after).bind(limit).all().await
    }

    /// Every published image.
    pub async fn images_published(&mut self) -> Result<Vec<ImageRow>> {
        self.query(IMAGES_PUBLISHED).all().await
    }
}

impl Tx {
    /// Writes a new product; its name must be free.
    pub async fn product_insert(&mut self, row: &ProductRow) -> Result<()> {
        self.query(PRODUCT_INSERT)
            .bind(row.id)
            .bind(&row.name)
            .bind(&row.region)
            .bind(&row.instance_type)
            .bind(&row.accelerator)
            .bind(row.gpus_per_unit)
            .bind(row.cpu_millis)
            .bind(row.memory_bytes)
            .bind(row.price_per_hour)
            .bind(row.published)
            .bind(&row.labels)
            .bind(row.version)
            .bind(row.created_at)
            .or_conflict(|| crate::error::Error::conflict("name-taken", "a product with this name exists"))
            .execute()
            .await?;
        Ok(())
    }

    /// Writes price, publication and labels of a product; `false` when its version is not the expected one.
    pub async fn product_update(&mut self, row: &ProductRow) -> Result<bool> {
        let query = self.query(PRODUCT_UPDATE).bind(row.id).bind(row.version);
        let query = query.bind(row.price_per_hour).bind(row.published).bind(&row.labels);
        Ok(query.execute().await? == 1)
    }

    /// Writes a new image; its name must be free.
    pub async fn image_insert(&mut self, row: &ImageRow) -> Result<()> {
        self.query(IMAGE_INSERT)
            .bind(row.id)
            .bind(&row.name)
            .bind(&row.reference)
            .bind(&row.ports)
            .bind(&row.description)
            .bind(row.published)
            .bind(row.version)
            .bind(row.created_at)
            .or_conflict(|| crate::error::Error::conflict("name-taken", "an image with this name exists"))
            .execute()
            .await?;
        Ok(())
    }

    /// Writes reference, description and publication of an image; `false` when its version is not the expected one.
    pub async fn image_update(&mut self, row: &ImageRow) -> Result<bool> {
        let query = self.query(IMAGE_UPDATE).bind(row.id).bind(row.version);
        let query = query.bind(&row.reference).bind(&row.description).bind(row.published);
        Ok(query.execute().await? == 1)
    }
}
