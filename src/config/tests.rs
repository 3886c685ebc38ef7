use super::*;

fn sources(flags: &[(&str, &str)], environment: &[(&str, &str)], file: &str) -> Sources {
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Sources {
        flags: pairs(flags),
        environment: pairs(environment).into_iter().collect(),
        file: Some(("muster.toml".into(), file.to_owned())),
        database_file: None,
    }
}

fn refusal(flags: &[(&str, &str)], environment: &[(&str, &str)], file: &str) -> String {
    Config::parse(&sources(flags, environment, file)).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_what_the_reference_says() {
    let config = Config::parse(&Sources::default()).unwrap();
    for (key, value) in config.settings(true) {
        let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap();
        let told = match setting.default {
            "sqlite:<data_dir>/muster.db" => "sqlite:./muster-data/muster.db",
            "http://<listen>" => "http://127.0.0.1:7070",
            said => said,
        };
        assert_eq!(value, told, "{key}");
    }
    assert_eq!(config.settings(true).len() + 1, SETTINGS.len(), "all but database_file can be printed");
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let file = "listen = '127.0.0.1:1'\n[limits]\nbody_bytes = 2048\njson_depth = 8";
    let environment =
        [("MUSTER_LISTEN", "127.0.0.1:2"), ("MUSTER_LIMITS_BODY_BYTES", "4_096"), ("HOME", "/")];
    let config = Config::parse(&sources(&[("listen", "127.0.0.1:3")], &environment, file)).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.public_url, "http://127.0.0.1:3");
    assert_eq!(config.limits.body_bytes, 4096);
    assert_eq!(config.limits.json_depth, 8);
    assert_eq!(config.limits.request_seconds, 30);
}

#[test]
fn every_wrong_setting_is_told_at_once_with_the_nearest_key() {
    let told = refusal(
        &[("metering.runway_seconds", "59")],
        &[("MUSTER_LISTN", "x"), ("MUSTER_NETWORK_POOL", "10.201.0.1/16")],
        "[limits]\nbody_byte = 1\njson_depth = 1000\n[nothing]\nlike_it = true",
    );
    let expected = [
        "these settings cannot be used:",
        "limits.body_byte: there is no such setting; did you mean limits.body_bytes?",
        "nothing.like_it: there is no such setting; `muster config reference` lists all",
        "MUSTER_LISTN: there is no such setting; did you mean MUSTER_LISTEN?",
        "limits.json_depth: expected a whole number from 4 to 127, got \"1000\" from muster.toml",
        "metering.runway_seconds: expected at least 95, the sum of interval_seconds,",
        "network.pool: expected an IPv4 block from /8 to /20 that begins at its first address,",
    ];
    assert_eq!(told.lines().count(), expected.len(), "{told}");
    for (line, start) in told.lines().zip(expected) {
        assert!(line.trim_start().starts_with(start), "{line}");
    }
}

#[test]
fn an_interval_divides_a_quarter_of_an_hour() {
    for fine in ["1", "10", "60", "450", "900"] {
        Config::parse(&sources(&[("metering.interval_seconds", fine)], &[], "")).unwrap();
    }
    for wrong in ["0", "7", "600", "1800", "x"] {
        let told = refusal(&[("metering.interval_seconds", wrong)], &[], "");
        assert!(told.contains("a whole number of seconds that divides 900"), "{told}");
    }
}

#[test]
fn broken_toml_is_told_with_its_place() {
    assert!(refusal(&[], &[], "listen = ").contains("muster.toml: TOML parse error at line 1"));
}

#[test]
fn a_password_is_never_printed_and_never_in_a_refusal() {
    let url = "postgres://muster:s3cret@db.example.org/muster?sslmode=require&password=s3cret";
    let config = Config::parse(&sources(&[("database", url)], &[], "")).unwrap();
    assert!(!format!("{config:?}{}", config.database).contains("s3cret"));
    assert_eq!(config.database.to_string(), "postgres://muster:***@db.example.org/muster?***");
    assert!(!format!("{:?}", config.settings(true)).contains("s3cret"));
    let mut from_file = sources(&[("database_file", "/run/url")], &[], "");
    from_file.database_file = Some(("/run/url".into(), format!("{url}\n")));
    assert_eq!(Config::parse(&from_file).unwrap().database, config.database);
    from_file.database_file = Some(("/run/url".into(), "mysql://s3cret".to_owned()));
    let told = Config::parse(&from_file).unwrap_err().to_string();
    assert!(told.contains("/run/url") && !told.contains("s3cret"), "{told}");
}
