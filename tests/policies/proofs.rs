//! What can be proven about a change, with a real solver: claims that hold, claims that do not, and what nobody knows.

use serde_json::{Value, json};

use crate::{
    scene::{NIGHT, both, put},
    site::Site,
};

/// Interns may launch for others than themselves, too; the preset lets nobody but the owner and admins do so.
const LOOK: &str = r#"
@id("interns-look")
permit (principal, action in [Action::"instance:view"], resource is Instance)
when { principal.labels.contains("intern") && resource.gpus <= 4 };
"#;

async fn prove(site: &Site, text: &str) -> Value {
    site.post(&site.owner, "policies:prove", json!({ "text": text })).await.want(200)
}

fn claim<'a>(proof: &'a Value, name: &str) -> &'a Value {
    proof["claims"].as_array().unwrap().iter().find(|one| one["claim"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbid_takes_and_never_gives() {
    let [site, _] = both().await.try_into().ok().unwrap();
    for text in [NIGHT, LOOK] {
        let began = std::time::Instant::now();
        let proof = prove(&site, text).await;
        println!("{:?} {proof:#}", began.elapsed());
    }
    let _ = (claim(&Value::Null, ""), put(&site, "").await);
}
