//! Plugins and prices: what is taken, what is refused and why, and what a price does to an estimate.

use muster::{
    model::manifest::Manifest,
    plugins::{PRICING_WORLD, default_price, embed_manifest},
};
use serde_json::json;

use crate::site::Site;

const WASM: &str = "application/wasm";

#[tokio::test]
async fn a_component_is_taken_once_and_found_again() {
    for site in Site::both().await {
        let taken = site.upload(&site.owner, "ours", WASM, default_price()).await.want(201);
        let again = site.upload(&site.admin, "ours", WASM, default_price()).await.want(200);
        assert_eq!(taken, again);
        assert_eq!(taken["of_site"], false);
        let id = taken["id"].as_str().unwrap();
        assert_eq!(site.get(&site.owner, &format!("plugins/{id}")).await.want(200), taken);
        let all = site.get(&site.owner, "plugins").await.want(200);
        let names: Vec<_> = all["items"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect();
        assert_eq!(names, ["list-price", "ours"]);
    }
}

#[tokio::test]
async fn what_a_component_says_of_itself_is_shown_and_nonsense_refused() {
    let said = |world: &str, discount: u32| {
        let text = json!({ "name": "off", "version": "1.2.0", "world": world, "language": "rust",
            "description": "less", "config": { "default": { "discount_percent": discount } } });
        serde_json::from_value::<Manifest>(text).unwrap()
    };
    for site in Site::both().await {
        let manifest = said(PRICING_WORLD, 10);
        let wasm = embed_manifest(default_price(), &manifest).unwrap();
        let taken = site.upload(&site.owner, "ours", WASM, &wasm).await.want(201);
        assert_eq!(taken["manifest"], json!(manifest));
        let id = taken["id"].as_str().unwrap();
        assert_eq!(site.get(&site.owner, &format!("plugins/{id}")).await.want(200), taken);
        let bare = site.upload(&site.owner, "bare", WASM, default_price()).await.want(201);
        assert!(bare["manifest"].is_null());

        // It must take its own default configuration, and be of a world that this server has.
        let refusing = embed_manifest(default_price(), &said(PRICING_WORLD, 101)).unwrap();
        let told = site.upload(&site.owner, "ours", WASM, &refusing).await.fails(422, "plugin-refused");
        assert!(told.contains("bad-config"), "{told}");
        let alien = embed_manifest(default_price(), &said("muster:plugin/pricing@9.0.0", 10)).unwrap();
        let told = site.upload(&site.owner, "ours", WASM, &alien).await.fails(422, "plugin-refused");
        assert!(told.contains("pricing@9.0.0") && told.contains(PRICING_WORLD), "{told}");
        let mut nameless = manifest;
        nameless.name = "No Name".into();
        let nameless = embed_manifest(default_price(), &nameless).unwrap();
        let told = site.upload(&site.owner, "ours", WASM, &nameless).await.fails(422, "plugin-refused");
        assert!(told.contains("name: expected"), "{told}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_plugin_is_refused_with_the_reason() {
    for site in Site::both().await {
        let wasi = wat::parse_str(
            r#"(component (import "wasi:sockets/tcp-create-socket@0.2.6"
                (instance (export "create-tcp-socket" (func (result u32))))))"#,
        );
        let core = wat::parse_str("(module)").unwrap();
        let cases = [
            (b"hello".to_vec(), "not WebAssembly"),
            (core, "core module"),
            (wasi.unwrap(), "wasi:sockets/tcp-create-socket"),
        ];
        for (bytes, reason) in cases {
            let told = site.upload(&site.owner, "bad", WASM, &bytes).await.fails(422, "plugin-refused");
            assert!(told.contains(reason), "{told}");
        }
        let json = site.upload(&site.owner, "bad", "application/json", b"{}").await;
        json.fails(415, "unsupported-media-type");
        site.upload(&site.owner, "bad", WASM, &vec![0; 5 << 20]).await.fails(413, "body-too-large");
        site.upload(&site.owner, "", WASM, default_price()).await.fails(422, "invalid-input");
        site.upload(&site.worker, "ours", WASM, default_price()).await.fails(403, "refused");
        let all = site.get(&site.owner, "plugins").await.want(200);
        assert_eq!(all["items"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_price_is_activated_only_when_it_can_quote() {
    for site in Site::both().await {
        let plugin = site.upload(&site.owner, "ours", WASM, default_price()).await.want(201);
        let price = |config| json!({ "plugin": plugin["id"], "config": config });
        let bad = price(json!({ "discount_percent": 101 }));
        site.post(&site.owner, "prices", bad).await.fails(422, "plugin-error");
        site.post(&site.owner, "prices", price(json!({ "discount": 1 }))).await.fails(422, "plugin-error");
        let prices = site.get(&site.owner, "prices").await.want(200);
        assert_eq!(prices["items"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&prices["items"][0]["of_site"], &prices["items"][0]["active"]),
            (&json!(true), &json!(true))
        );

        let half = price(json!({ "discount_percent": 50 }));
        let active = site.post(&site.owner, "prices", half.clone()).await.want(201);
        assert_eq!((&active["number"], &active["active"]), (&json!(1), &json!(true)));
        let prices = site.get(&site.worker, "prices").await.want(200);
        let seen: Vec<_> = prices["items"].as_array().unwrap().iter().map(|row| &row["active"]).collect();
        assert_eq!(seen, [&json!(true), &json!(false)]);
        site.post(&site.worker, "prices", half).await.fails(403, "refused");
    }
}
