//! Configuration files, good and bad.

use std::time::Duration;

use super::*;

fn loaded(text: &str) -> Loaded<Config> {
    Config::from_toml(text).unwrap()
}

fn refused(text: &str) -> Vec<Problem> {
    match Config::from_toml(text) {
        Err(Error::Config(problems)) => problems,
        other => panic!("accepted {text}: {other:?}"),
    }
}

#[test]
fn defaults_are_valid_and_survive_a_round_trip() {
    let config = Config::default();
    assert_eq!(config.validate(), []);
    let again = loaded(&config.to_toml());
    assert_eq!(again.config, config);
    assert_eq!(again.warnings, Vec::<String>::new());
}

#[test]
fn keys_have_the_names_of_tikv() {
    let text = r#"
        memory-usage-limit = "1GiB"
        [log]
        level = "warn"
        [log.file]
        filename = "/tmp/x.log"
        [server]
        addr = "0.0.0.0:20160"
        advertise-addr = "10.0.0.1:20160"
        grpc-concurrency = 4
        labels = { zone = "z1", host = "h1" }
        [storage]
        data-dir = "/data"
        scheduler-concurrency = 1024
        api-version = 1
        [storage.block-cache]
        capacity = "256MiB"
        [readpool.unified]
        max-thread-count = 3
        [raftstore]
        pd-store-heartbeat-tick-interval = "3s"
        [pd]
        endpoints = ["pd-0:2379", "http://pd-1:2379"]
        [security]
        redact-info-log = true
    "#;
    let Loaded { config, warnings } = loaded(text);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.validate(), []);
    assert_eq!(config.memory_plan().limit, 1 << 30);
    assert_eq!(config.memory_plan().block_cache, 256 << 20);
    assert_eq!(config.server.advertised(), "10.0.0.1:20160");
    assert_eq!(
        config.server.labels.get("zone").map(String::as_str),
        Some("z1")
    );
    assert_eq!(config.storage.storage.scheduler_concurrency, 1024);
    assert_eq!(config.readpool.threads(), 3);
    assert_eq!(
        config.raftstore.pd_store_heartbeat_tick_interval.0,
        Duration::from_secs(3)
    );
    assert_eq!(config.pd.endpoints.len(), 2);
}

#[test]
fn unknown_keys_warn_with_the_nearest() {
    let Loaded { config, warnings } = loaded(
        "[server]\nadvertize-addr = \"a:1\"\n[storage]\nscheduler-concurency = 7\n\
         [something.else]\nentirely = 1\n",
    );
    assert_eq!(config, Config::default());
    assert_eq!(
        warnings,
        [
            "unknown configuration key server.advertize-addr, did you mean server.advertise-addr?",
            "unknown configuration key something.else.entirely",
            "unknown configuration key storage.scheduler-concurency, did you mean \
             storage.scheduler-concurrency?",
        ]
    );
}

#[test]
fn every_wrong_value_names_key_value_and_what_was_expected() {
    let problems = refused(
        "memory-usage-limit = \"lots\"\n[server]\ngrpc-concurrency = -1\naddr = 5\n\
         [storage]\nmax-key-size = \"8 furlongs\"\n[log]\nformat = \"xml\"\nlevel = \"loud\"\n\
         [security]\nredact-info-log = 7\n",
    );
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 7, "{lines:#?}");
    for start in [
        "memory-usage-limit = \"lots\": ",
        "server.grpc-concurrency = -1: ",
        "server.addr = 5: ",
        "storage.max-key-size = \"8 furlongs\": ",
        "log.format = \"xml\": ",
        "log.level = \"loud\": ",
        "security.redact-info-log = 7: must be true, false or \"marker\"",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(start)),
            "{start} in {lines:#?}"
        );
    }
}

#[test]
fn a_value_in_the_place_of_a_section_is_a_wrong_value() {
    let problems = refused("server = 5\n");
    assert_eq!(problems[0].key, "server");
}

#[test]
fn values_out_of_range_are_all_found() {
    let Loaded { config, .. } = loaded(
        "[server]\naddr = \"nowhere\"\ngrpc-concurrent-stream = 0\ngrpc-keepalive-time = \"0s\"\n\
         max-grpc-recv-msg-len = \"1KiB\"\nlabels = { \"a b\" = \"c\" }\n\
         [storage]\napi-version = 3\nscheduler-concurrency = 0\n\
         [raftstore]\npd-heartbeat-tick-interval = \"1ms\"\n\
         [pd]\nendpoints = [\"pd\"]\n",
    );
    let problems = config.validate();
    let keys: Vec<&str> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    for key in [
        "server.addr",
        "server.grpc-concurrent-stream",
        "server.grpc-keepalive-time",
        "server.max-grpc-recv-msg-len",
        "server.labels.a b",
        "storage.api-version",
        "storage.scheduler-concurrency",
        "raftstore.pd-heartbeat-tick-interval",
        "pd.endpoints",
    ] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
    assert!(problems.iter().any(|problem| problem.to_string()
        == "server.grpc-concurrent-stream = 0: must be from 1 to 1000000"));
}

#[test]
fn the_format_of_the_data_has_two_keys() {
    use api_version::ApiVersion;
    for (text, format) in [
        ("", ApiVersion::V1),
        ("api-version = 1\nenable-ttl = true", ApiVersion::V1ttl),
        ("api-version = 2\nenable-ttl = true", ApiVersion::V2),
    ] {
        let Loaded { config, .. } = loaded(&format!("[storage]\n{text}\n"));
        assert_eq!(config.validate(), []);
        assert_eq!(config.storage.format(), format);
    }
    let Loaded { config, .. } = loaded("[storage]\napi-version = 2\n");
    let problems = config.validate();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(
        problems[0].to_string(),
        "storage.enable-ttl = false: must be true with storage.api-version = 2, where values may always expire"
    );
}

#[test]
fn an_address_that_nobody_can_dial_is_not_advertised() {
    let Loaded { config, .. } = loaded("[server]\naddr = \"0.0.0.0:20160\"\n");
    let problems = config.validate();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].key, "server.advertise-addr");
}

#[test]
fn promises_that_cannot_be_kept_are_refused() {
    for text in [
        "[security.encryption]\ndata-encryption-method = \"aes128-ctr\"\n",
        "[storage]\nengine = \"partitioned-raft-kv\"\n",
    ] {
        assert_eq!(refused(text).len(), 1, "{text}");
    }
    assert_eq!(
        loaded("[storage]\nengine = \"raft-kv\"\n").warnings,
        Vec::<String>::new()
    );
}

#[test]
fn certificates_come_together() {
    let Loaded { config, warnings } = loaded(
        "[security]\nca-path = \"/ca.pem\"\ncert-path = \"/cert.pem\"\nkey-path = \"/key.pem\"\n\
         cert-allowed-cn = [\"tidb\"]\nredact-info-log = \"marker\"\n",
    );
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.validate(), []);
    assert!(config.security.tls.is_enabled());
    assert!(config.security.tls.cert_allowed_cn.contains("tidb"));
    let Loaded { config, .. } = loaded("[security]\nca-path = \"/ca.pem\"\n");
    let keys: Vec<_> = config.validate().into_iter().map(|p| p.key).collect();
    assert_eq!(keys, ["security.cert-path", "security.key-path"]);
    let problems = refused("[security]\ncert-allowed-cn = \"tidb\"\n");
    assert!(
        problems[0].to_string().contains("expected a sequence"),
        "{}",
        problems[0]
    );
}

#[test]
fn text_that_is_not_toml_says_where() {
    let problems = refused("[server\naddr = 1");
    assert!(
        problems[0].to_string().contains("line 1"),
        "{}",
        problems[0]
    );
}
