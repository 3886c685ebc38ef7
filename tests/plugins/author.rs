//! What an author does without a server: the commands, what they say, and with which exit code.

use std::{fs, path::Path};

use muster::plugins::default_price;

use crate::{desk::Desk, guests::guest};

/// A desk with the list price and cases for it.
fn list_price(cases: &str) -> Desk {
    let desk = Desk::new();
    desk.write("list-price.wasm", default_price());
    desk.write("cases/list.yaml", cases);
    desk
}

const TEST: &str = "muster plugin test list-price.wasm --cases cases --seed 1";

#[test]
fn a_new_plugin_builds_passes_its_cases_and_a_panic_says_what_and_where() {
    let desk = Desk::new();
    let begun = desk.run("muster plugin new on-demand");
    assert!(begun.starts_with("exit 0\non-demand holds the plugin on-demand."), "{begun}");
    assert!(desk.run("muster plugin new on-demand").contains("there is a muster-plugin.toml already"));
    assert!(desk.run("muster plugin test on-demand").contains("`muster plugin build` makes it"));
    desk.share_builds("on-demand");

    let built = desk.run("muster plugin build on-demand");
    assert!(built.starts_with("exit 0\n") && built.contains("on-demand/on-demand.wasm: "), "{built}");
    let tested = desk.run("muster plugin test on-demand --seed 1");
    assert!(tested.starts_with("exit 0\n") && tested.contains("\n11 passed, 0 failed\n"), "{tested}");
    let checked = desk.run("muster plugin check on-demand");
    assert!(checked.starts_with("exit 0\n") && checked.contains("fuel of a full batch"), "{checked}");
    let inspected = desk.run("muster plugin inspect on-demand --output json");
    assert!(
        inspected.contains(r#""name": "on-demand""#) && inspected.contains("tariff@1.0.0"),
        "{inspected}"
    );
    let measured = desk.run("muster plugin bench on-demand --rounds 3 --output json");
    assert!(measured.contains("native_nanos"), "{measured}");

    let source = desk.folder.join("on-demand/src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    let sum = "Ok(i128::from(sku.unit_price)";
    assert!(text.contains(sum));
    let unlucky = format!("assert_ne!(quantity, 13, \"no luck\");\n        {sum}");
    fs::write(&source, text.replace(sum, &unlucky)).unwrap();
    let built = desk.run("muster plugin build on-demand");
    assert!(built.starts_with("exit 0\n"), "{built}");
    let unlucky = desk.run("muster plugin run on-demand --quantity 13");
    assert!(unlucky.starts_with("exit 7\n"), "{unlucky}");
    assert!(unlucky.contains("no luck") && unlucky.contains("log error: panicked at"), "{unlucky}");
    assert!(unlucky.contains("called by"), "{unlucky}");
    let lucky = desk.run("muster plugin run on-demand --quantity 12 --price 0.5 --for 90m --every 15m");
    assert!(lucky.contains("usage  7.2"), "{lucky}");
}

#[test]
fn a_new_plugin_in_c_builds_and_passes_the_same_cases() {
    let desk = Desk::new();
    assert!(desk.run("muster plugin new plain --lang c").starts_with("exit 0\n"));
    let built = desk.run("PATH=/usr/lib/llvm-19/bin:$PATH muster plugin build plain");
    assert!(built.starts_with("exit 0\n"), "{built}");
    let tested = desk.run("muster plugin test plain --seed 1");
    assert!(tested.starts_with("exit 0\n") && tested.contains("\n11 passed, 0 failed\n"), "{tested}");
    let checked = desk.run("muster plugin check plain");
    assert!(checked.starts_with("exit 0\n") && checked.contains("reported bad-input"), "{checked}");
}

#[test]
fn a_new_plugin_in_python_builds_and_passes_the_same_cases() {
    let desk = Desk::new();
    assert!(desk.run("muster plugin new snake --lang python").starts_with("exit 0\n"));
    let lost = desk.run("muster plugin build snake");
    assert!(lost.starts_with("exit 1\n") && lost.contains("pip install -r requirements.txt"), "{lost}");
    // The tools are installed once and kept between runs.
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let venv = tools.display();
    let install = format!(
        "test -x {venv}/bin/componentize-py || {{ /usr/bin/python3 -m venv {venv} && \
         {venv}/bin/pip install -q -r snake/requirements.txt; }} && ln -s {venv} snake/.venv"
    );
    let installed = desk.run(&install);
    assert!(installed.starts_with("exit 0\n"), "{installed}");
    let built = desk.run("muster plugin build snake");
    assert!(built.starts_with("exit 0\n"), "{built}");
    let tested = desk.run("muster plugin test snake --seed 1 --runs 10");
    assert!(tested.starts_with("exit 0\n") && tested.contains("\n11 passed, 0 failed\n"), "{tested}");
    let checked = desk.run("muster plugin check snake");
    assert!(checked.starts_with("exit 0\n"), "{checked}");
}

#[test]
fn a_new_plugin_in_javascript_builds_and_passes_the_same_cases() {
    let desk = Desk::new();
    assert!(desk.run("muster plugin new script --lang js").starts_with("exit 0\n"));
    // The packages are installed once and kept between runs.
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("javascript");
    let packages = tools.display();
    let install = format!(
        "mkdir -p {packages} && cp script/package.json {packages}/ && \
         npm install --silent --no-audit --no-fund --prefix {packages} && \
         ln -s {packages}/node_modules script/node_modules"
    );
    let installed = desk.run(&install);
    assert!(installed.starts_with("exit 0\n"), "{installed}");
    let built = desk.run("muster plugin build script");
    assert!(built.starts_with("exit 0\n"), "{built}");
    let tested = desk.run("muster plugin test script --seed 1 --runs 10");
    assert!(tested.starts_with("exit 0\n") && tested.contains("\n11 passed, 0 failed\n"), "{tested}");
    let checked = desk.run("muster plugin check script");
    assert!(checked.starts_with("exit 0\n"), "{checked}");
}

#[test]
fn cases_are_exact_and_say_what_differs() {
    let desk = list_price(
        r#"
skus:
  gpu: { price: 2.000000001, accelerator: h100 }
  disk: { price: "0.5", kind: drive }
config: { discount_percent: 50 }
cases:
  - name: exact
    use: [{ sku: gpu, quantity: 2, from: 2026-10-03T12:00:00Z, for: 1h }]
    per_hour: 2.000000001
    charges: [{ usage: 2.000000001 }]
  - name: wrong by one nano-credit
    use: [{ sku: gpu, quantity: 2, from: 2026-10-03T12:00:00Z, for: 1h }]
    charges: [{ usage: 2.000000002 }]
    total: 2
    lines: { idle: 1 }
    per_hour: 3
  - name: a refusal, and another one than was expected
    config: { discount_percent: 101 }
    use: [{ sku: disk, from: 2026-10-03T12:00:00Z, for: 1h }]
    error: { code: bad-input }
  - name: no such sku
    use: [{ sku: tpu, from: 2026-10-03T12:00:00Z }]
"#,
    );
    assert_eq!(
        desk.run(TEST),
        "exit 1
cases/list.yaml
  ok    exact
  FAIL  wrong by one nano-credit
        per_hour: expected 3, got 2.000000001
        charges, record 0: expected { usage: 2.000000002 }, got { usage: 2.000000001 }
        lines: expected { idle: 1 }, got { usage: 2.000000001 }
        total: expected 2, got 2.000000001
  FAIL  a refusal, and another one than was expected
        expected the error bad-input, got: the plugin reported bad-config: the configuration is {} or \
         {\\\"discount_percent\\\": 0 to 100}
  FAIL  no such sku
        sku \"tpu\": the file has disk, gpu
1 passed, 3 failed
"
    );
    let one = desk.run(&format!("{TEST} --filter exact"));
    assert_eq!(one, "exit 0\ncases/list.yaml\n  ok    exact\n1 passed, 0 failed\n");
    assert!(desk.run(&format!("{TEST} --filter absent")).contains("nothing was tested"));
}

#[test]
fn a_file_that_cannot_be_meant_is_told_with_its_place() {
    for (text, told) in [
        ("cases:\n  - name: a\n    uses: []\n", "uses"),
        ("cases:\n  - name: a\n    use: [{ from: yesterday }]\n", "RFC 3339"),
        ("cases:\n  - name: a\n    use: [{ from: 2026-10-03T12:00:00Z, for: long }]\n", "such as 15m"),
        ("skus: { gpu: { price: 0.0000000001 } }\n", "at most 9 decimals"),
        ("properties: { except: [cheap] }\n", "cheap"),
        ("cases: [", "cases/list.yaml"),
    ] {
        let said = list_price(text).run(TEST);
        assert!(said.starts_with("exit 7\n") && said.contains(told) && said.contains("list.yaml"), "{said}");
    }
}

#[test]
fn golden_answers_are_kept_and_compared() {
    let cases = |hours: u32| {
        format!(
            "cases:\n  - name: kept\n    golden: true\n    \
             use: [{{ from: 2026-10-03T12:00:00Z, for: {hours}h, every: 1h }}]\n"
        )
    };
    let desk = list_price(&cases(2));
    assert!(desk.run(TEST).contains("nothing is kept yet; `--bless` keeps this answer"));
    assert!(desk.run(&format!("{TEST} --bless")).starts_with("exit 0\n"));
    let kept = fs::read_to_string(desk.folder.join("cases/list.golden.yaml")).unwrap();
    assert!(
        kept.ends_with("\"kept\":\n  per_hour: 1\n  charges:\n    - { usage: 1 }\n    - { usage: 1 }\n"),
        "{kept}"
    );
    assert!(desk.run(TEST).starts_with("exit 0\n"));
    desk.write("cases/list.yaml", cases(3));
    assert!(desk.run(TEST).contains("golden: expected 2 records, got 3"));
}

#[test]
fn real_charges_are_asked_again() {
    let desk = list_price("");
    let charge = |k: u32| format!("seg_01930f3c5e0a7c3db1d4a2f8e6c90b17.{k}.0");
    let proof = |k: u32, quantity: u32| {
        serde_json::json!({
            "id": charge(k),
            "told": {
                "team": "team", "member": "member", "quantity": quantity,
                "sku": { "name": "gpu", "kind": "instance", "region": "lab", "instance_type": "gpu",
                         "accelerator": "none", "unit_price": 2_000_000_000u64 },
                "segment_start": "2026-10-03T12:00:00Z", "from": "2026-10-03T12:00:00Z",
                "to": "2026-10-03T13:00:00Z", "now": "2026-10-03T13:00:00Z",
            },
            "input_digest": "", "price_version": "price_01930f3c5e0a7c3db1d4a2f8e6c90b17",
            "component_digest": "", "config": r#"{"discount_percent": 50}"#, "config_digest": "",
            "quoted_per_hour": "1", "lines": [{ "line": "usage", "nano": 1_000_000_000 }],
            "nano_before": 0, "nano": 1_000_000_000, "exact_before": 0, "exact_before_revised": 0,
            "amount": "1", "uncovered": "0", "parked": false, "parked_because": "", "reason": "",
            "transaction": null, "created_at": "2026-10-03T13:00:00Z",
        })
        .to_string()
    };
    let line = "muster plugin replay list-price.wasm --proofs proofs";
    fs::create_dir(desk.folder.join("proofs")).unwrap();
    assert!(desk.run(line).contains("`muster charge verify ID --save FOLDER` writes one"));
    desk.write("proofs/0.json", proof(0, 1));
    let same = desk.run(line);
    assert!(
        same.starts_with("exit 0\n") && same.contains("1 charges: 1 credits then, 1 now; 0 changed"),
        "{same}"
    );
    let less = desk.run(&format!("{line} --config '{{\"discount_percent\": 75}}'"));
    assert!(less.contains("1 credits then, 0.5 now; 1 changed, 0 that"), "{less}");
    desk.write("proofs/1.json", proof(1, 2));
    let more = desk.run(line);
    assert!(more.starts_with("exit 1\n") && more.contains("1 an hour were quoted"), "{more}");
    desk.write("proofs/1.json", "{}");
    assert!(desk.run(line).contains("proofs/1.json: this is no proof of a charge"));
}

#[test]
fn the_smallest_use_that_breaks_a_property_is_told_and_a_seed_repeats_it() {
    // Whatever an interval is, it costs 7 nano-credits, and only batches of one record have an answer.
    let desk = Desk::new();
    desk.write("odd.wasm", guest(""));
    desk.write("cases/all.yaml", "properties: { runs: 200 }\n");
    let line = "muster plugin test odd.wasm --cases cases --seed 5";
    let said = desk.run(line);
    assert!(said.starts_with("exit 1\n"), "{said}");
    assert!(said.contains("FAIL  property answers") && said.contains("no charge for record 1"), "{said}");
    assert!(
        said.contains("the pieces cost { usage: 0.000000014 }, the whole { usage: 0.000000007 }"),
        "{said}"
    );
    assert!(said.contains("FAIL  property within-quote"), "{said}");
    assert!(said.contains("ok    property monotone"), "{said}");
    // Down to one use of one unit, cut once.
    assert!(
        said.contains("- { sku: gpu, quantity: 1, start: 20") && said.matches("# cut at").count() >= 1,
        "{said}"
    );
    assert_eq!(desk.run(line), said);
    desk.write("cases/all.yaml", "properties: { except: [answers, split-invariant, within-quote] }\n");
    assert!(desk.run(line).starts_with("exit 0\n"));
}

#[test]
fn what_the_server_would_refuse_is_refused_here() {
    let desk = Desk::new();
    desk.write("core.wasm", wat::parse_str("(module)").unwrap());
    let said = desk.run("muster plugin check core.wasm");
    assert!(said.starts_with("exit 7\n") && said.contains("core module"), "{said}");
    desk.write("trap.wasm", guest("unreachable"));
    let said = desk.run("muster plugin run trap.wasm --config '{\"evil\": 1}'");
    assert!(said.starts_with("exit 7\n") && said.contains("the plugin trapped"), "{said}");
    let said = desk.run("muster plugin check trap.wasm");
    assert!(said.starts_with("exit 1\n") && said.contains("FAIL  a full batch"), "{said}");
    assert!(desk.run("muster plugin new 'No Name'").contains("[a-z0-9-]{1,64}"));
    assert!(desk.run("muster plugin build").contains("`muster plugin new NAME` makes a folder with one"));
}

#[test]
fn a_build_that_fails_says_what_failed_and_a_manifest_what_is_wrong() {
    let desk = Desk::new();
    let manifest = |world: &str, command: &str| {
        format!(
            "name = \"own\"\nversion = \"1\"\nworld = \"{world}\"\nlanguage = \"wat\"\n\
             [build]\ncommand = \"{command}\"\noutput = \"out.wasm\"\n"
        )
    };
    let world = "muster:plugin/pricing@1.0.0";
    desk.write("muster-plugin.toml", manifest(world, "exit 3"));
    assert!(desk.run("muster plugin build").contains("`exit 3` failed (exit status: 3)"));
    desk.write("muster-plugin.toml", manifest(world, "true"));
    assert!(
        desk.run("muster plugin build").contains("[build] output says where `command` puts what it builds")
    );
    desk.write("muster-plugin.toml", manifest("muster:plugin/hook@1.0.0", "true"));
    assert!(desk.run("muster plugin build").contains("world: this muster has muster:plugin/pricing@1.0.0"));
    desk.write("muster-plugin.toml", "name = \"own\"\n");
    assert!(desk.run("muster plugin build").contains("[build] is missing"));

    // Any tool that makes a component will do.
    desk.write("made.wasm", guest(""));
    desk.write("muster-plugin.toml", manifest(world, "cp made.wasm out.wasm"));
    assert!(desk.run("muster plugin build").starts_with("exit 0\n./own.wasm: "));
    let inspected = desk.run("muster plugin inspect --output json");
    assert!(inspected.contains(r#""language": "wat""#), "{inspected}");
    assert!(desk.run("muster plugin run").contains("total         0.000000007"));
}
