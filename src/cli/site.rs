//! The operator's side: hosts, accelerators, products, images.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    call::Call,
    output::{Answer, Column},
    problem::Failure,
    storage_rate::StorageRateCommand,
};

const HOSTS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("REGION", "region"),
    ("KIND", "kind"),
    ("ENDPOINT", "endpoint"),
    ("ADMIN STATE", "admin_state"),
    ("REACH", "reach"),
    ("LAST OK", "last_ok_at"),
];
const ACCELERATORS: &[Column] = &[
    ("UUID", "uuid"),
    ("MODEL", "model"),
    ("MEMORY MIB", "memory_mib"),
    ("HOST", "host"),
    ("HEALTHY", "healthy"),
    ("INSTANCE", "instance"),
];
const PRODUCTS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("REGION", "region"),
    ("TYPE", "instance_type"),
    ("ACCELERATOR", "accelerator"),
    ("GPUS", "gpus_per_unit"),
    ("CPU MILLIS", "cpu_millis"),
    ("MEMORY BYTES", "memory_bytes"),
    ("CREDITS/H", "price_per_hour"),
    ("PUBLISHED", "published"),
    ("LABELS", "labels"),
];
const IMAGES: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("REFERENCE", "reference"),
    ("PORTS", "ports"),
    ("PUBLISHED", "published"),
    ("DESCRIPTION", "description"),
];
/// Bytes of one gibibyte.
const GIB: u64 = 1 << 30;

/// Commands about what the site offers.
#[derive(Debug, Subcommand)]
pub(crate) enum SiteCommand {
    /// Machines that run instances
    #[command(subcommand)]
    Host(HostCommand),
    /// GPUs that probes found
    #[command(subcommand)]
    Accelerator(AcceleratorCommand),
    /// What can be rented
    #[command(subcommand)]
    Product(ProductCommand),
    /// What storage costs
    #[command(subcommand)]
    StorageRate(StorageRateCommand),
    /// Images that instances start from
    #[command(subcommand)]
    Image(ImageCommand),
}

/// Commands about hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Register a host
    Add {
        /// Name for people
        name: String,
        /// unix:///run/docker.sock, tcp://host:2376 with the three TLS files, or simulated:
        #[arg(long)]
        endpoint: String,
        /// Region that its products name
        #[arg(long)]
        region: String,
        /// Address at which users reach its instances; that of the endpoint if not given
        #[arg(long)]
        address: Option<String>,
        /// Image that probes for accelerators
        #[arg(long, value_name = "REFERENCE")]
        probe_image: Option<String>,
        #[command(flatten)]
        tls: TlsFiles,
    },
    /// List hosts
    Ls,
    /// Show a host
    Show {
        /// Host, by id
        host: String,
    },
    /// Look again what a host has
    Probe {
        /// Host, by id
        host: String,
    },
    /// Put nothing new on a host
    Cordon {
        /// Host, by id
        host: String,
    },
    /// Put new instances on a host again
    Uncordon {
        /// Host, by id
        host: String,
    },
    /// Give a host up for good
    Retire {
        /// Host, by id
        host: String,
    },
}

/// The documents of a host behind TLS: all three or none.
#[derive(Debug, Args)]
pub(crate) struct TlsFiles {
    /// Certificate of the authority that signed the engine's, PEM
    #[arg(long, value_name = "PATH", requires_all = ["tls_cert", "tls_key"])]
    tls_ca: Option<PathBuf>,
    /// Our client certificate, PEM
    #[arg(long, value_name = "PATH", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Key of our client certificate, PEM
    #[arg(long, value_name = "PATH", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
}

/// Commands about accelerators.
#[derive(Debug, Subcommand)]
pub(crate) enum AcceleratorCommand {
    /// List accelerators
    Ls,
}

/// Commands about products.
#[derive(Debug, Subcommand)]
pub(crate) enum ProductCommand {
    /// Add a product
    Add {
        /// Name
        name: String,
        /// Region of the hosts that serve it
        #[arg(long)]
        region: String,
        /// Instance type
        #[arg(long)]
        instance_type: String,
        /// Accelerator model as probes tell it, or none
        #[arg(long, default_value = "none")]
        accelerator: String,
        /// Accelerators in one unit
        #[arg(long, default_value_t = 0)]
        gpus_per_unit: u32,
        /// Processor time of one unit, in thousandths of a core
        #[arg(long)]
        cpu_millis: u32,
        /// Memory of one unit, in gibibytes
        #[arg(long)]
        memory_gib: u64,
        /// List price of one unit for one hour, in credits
        #[arg(long, value_name = "CREDITS")]
        price_per_hour: String,
        /// Word for policies to look at, such as spot; may be repeated
        #[arg(long = "label", value_name = "LABEL", value_delimiter = ',')]
        labels: Vec<String>,
        /// Keep it out of the catalogue for now
        #[arg(long)]
        unpublished: bool,
    },
    /// List products
    Ls,
    /// Change a product; what runs keeps its price
    Set {
        /// Product, by id or name
        product: String,
        /// List price of one unit for one hour, in credits
        #[arg(long, value_name = "CREDITS")]
        price_per_hour: Option<String>,
        /// Whether it is in the catalogue
        #[arg(long)]
        published: Option<bool>,
        /// Words for policies in the place of the present ones; an empty one for none
        #[arg(long = "label", value_name = "LABEL", value_delimiter = ',')]
        labels: Option<Vec<String>>,
    },
}

/// Commands about images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Add an image
    Add {
        /// Name
        name: String,
        /// Reference that the container engine knows
        reference: String,
        /// Port to publish; may be repeated
        #[arg(long = "port", value_name = "PORT")]
        ports: Vec<u16>,
        /// What is in it
        #[arg(long, default_value = "")]
        description: String,
        /// Keep it out of the catalogue for now
        #[arg(long)]
        unpublished: bool,
    },
    /// List images
    Ls,
    /// Change an image
    Set {
        /// Image, by id or name
        image: String,
        /// What is in it
        #[arg(long)]
        description: Option<String>,
        /// Whether it is in the catalogue
        #[arg(long)]
        published: Option<bool>,
    },
}

impl SiteCommand {
    pub(crate) async fn run(self, call: &mut Call) -> Result<Answer, Failure> {
        match self {
            Self::Host(command) => command.run(call).await,
            Self::Accelerator(AcceleratorCommand::Ls) => {
                let found = call.client.list(&["accelerators"], &[], usize::MAX).await?;
                Ok(Answer::List(found, ACCELERATORS))
            }
            Self::Product(command) => command.run(call).await,
            Self::StorageRate(command) => command.run(call).await,
            Self::Image(command) => command.run(call).await,
        }
    }
}

impl HostCommand {
    async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let client = &call.client;
        let (host, verb) = match self {
            Self::Add { name, endpoint, region, address, probe_image, tls } => {
                let body = json!({
                    "name": name,
                    "endpoint": endpoint,
                    "region": region,
                    "address": address,
                    "probe_image": probe_image,
                    "tls": tls.documents()?,
                });
                return client.post(&["hosts"], body).await.map(Answer::One);
            }
            Self::Ls => return Ok(Answer::List(client.list(&["hosts"], &[], usize::MAX).await?, HOSTS)),
            Self::Show { host } => return client.get(&["hosts", &host], &[]).await.map(Answer::One),
            Self::Probe { host } => (host, "probe"),
            Self::Cordon { host } => (host, "cordon"),
            Self::Uncordon { host } => (host, "uncordon"),
            Self::Retire { host } => (host, "retire"),
        };
        client.post(&["hosts", &host, verb], json!({})).await.map(Answer::One)
    }
}

impl TlsFiles {
    fn documents(&self) -> Result<Value, Failure> {
        let (Some(ca), Some(cert), Some(key)) = (&self.tls_ca, &self.tls_cert, &self.tls_key) else {
            return Ok(Value::Null);
        };
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|error| Failure::here(path.display(), error))
        };
        Ok(json!({ "ca_pem": read(ca)?, "cert_pem": read(cert)?, "key_pem": read(key)? }))
    }
}

impl ProductCommand {
    async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let client = &call.client;
        match self {
            Self::Add {
                name,
                region,
                instance_type,
                accelerator,
                gpus_per_unit,
                cpu_millis,
                memory_gib,
                price_per_hour,
                labels,
                unpublished,
            } => {
                let body = json!({
                    "name": name,
                    "region": region,
                    "instance_type": instance_type,
                    "accelerator": accelerator,
                    "gpus_per_unit": gpus_per_unit,
                    "cpu_millis": cpu_millis,
                    "memory_bytes": memory_gib.saturating_mul(GIB),
                    "price_per_hour": price_per_hour,
                    "labels": labels,
                    "published": !unpublished,
                });
                client.post(&["products"], body).await.map(Answer::One)
            }
            Self::Ls => Ok(Answer::List(client.list(&["products"], &[], usize::MAX).await?, PRODUCTS)),
            Self::Set { product, price_per_hour, published, labels } => {
                let labels: Option<Vec<String>> =
                    labels.map(|labels| labels.into_iter().filter(|label| !label.is_empty()).collect());
                let body =
                    json!({ "price_per_hour": price_per_hour, "published": published, "labels": labels });
                client.patch_item("products", &product, body).await.map(Answer::One)
            }
        }
    }
}

impl ImageCommand {
    async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let client = &call.client;
        match self {
            Self::Add { name, reference, ports, description, unpublished } => {
                let body = json!({
                    "name": name,
                    "reference": reference,
                    "ports": ports,
                    "description": description,
                    "published": !unpublished,
                });
                client.post(&["images"], body).await.map(Answer::One)
            }
            Self::Ls => Ok(Answer::List(client.list(&["images"], &[], usize::MAX).await?, IMAGES)),
            Self::Set { image, description, published } => {
                let body = json!({ "description": description, "published": published });
                client.patch_item("images", &image, body).await.map(Answer::One)
            }
        }
    }
}
