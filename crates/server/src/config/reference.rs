//! The text of `docs/config.md`, from the doc comments of the configuration's fields.
//!
//! The comments are read from the sources themselves, so that a key has one description and a key
//! without one fails a test.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use online_config::OnlineConfig as _;
use toml::{Table, Value};

use super::{Config, load, memory};

/// The sources that declare configuration structs, each with what the struct `Config` of it is called in `SECTIONS`.
const SOURCES: &[(&str, &str)] = &[
    ("", include_str!("mod.rs")),
    ("", include_str!("sections.rs")),
    ("", include_str!("placement.rs")),
    ("storage::", include_str!("../../../storage/src/config.rs")),
    (
        "lock_manager::",
        include_str!("../../../lock_manager/src/config.rs"),
    ),
    ("gc::", include_str!("../../../gc/src/config.rs")),
    (
        "engine_rocks::",
        include_str!("../../../engine_rocks/src/config.rs"),
    ),
    (
        "security::",
        include_str!("../../../security/src/config.rs"),
    ),
];

/// Which struct describes which section, from the most specific to the least.
const SECTIONS: &[(&str, &[&str])] = &[
    ("", &["Config"]),
    ("log", &["LogConfig"]),
    ("log.file", &["LogFileConfig"]),
    ("server", &["ServerConfig"]),
    ("storage", &["StorageConfig", "storage::Config"]),
    ("storage.block-cache", &["BlockCacheConfig"]),
    ("storage.flow-control", &["FlowControlConfig"]),
    ("storage.max-ts", &["MaxTsConfig"]),
    ("pessimistic-txn", &["lock_manager::Config"]),
    ("gc", &["gc::Config"]),
    ("readpool.unified", &["UnifiedReadPoolConfig"]),
    ("raftstore", &["RaftstoreConfig"]),
    ("pd", &["PdConfig"]),
    ("pd.embedded", &["EmbeddedPdConfig"]),
    ("pd.embedded.etcd", &["EmbeddedEtcdConfig"]),
    ("rocksdb", &["engine_rocks::Config"]),
    ("rocksdb.defaultcf", &["CfConfig"]),
    ("rocksdb.writecf", &["CfConfig"]),
    ("rocksdb.lockcf", &["CfConfig"]),
    ("rocksdb.raftcf", &["CfConfig"]),
    ("security", &["SecurityConfig", "security::Config"]),
];

/// The whole reference.
pub fn text() -> String {
    let docs = field_docs();
    let defaults = Table::try_from(Config::default()).unwrap_or_default();
    let mut sections: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    for (key, value) in load::leaves(&defaults) {
        let (section, name) = match key.rsplit_once('.') {
            Some((section, name)) => (section.to_owned(), name.to_owned()),
            None => (String::new(), key),
        };
        sections.entry(section).or_default().push((name, value));
    }
    let mut text = String::from(
        "# Configuration\n\n\
         Generated from the doc comments of the configuration by `cargo xtask codegen`; do not \
         edit.\n\n\
         `tikv-server --config FILE` reads TOML. Every key is optional. Sizes are written as \
         `\"8MiB\"`, durations as `\"1m30s\"`. A key that is not listed here is reported as a \
         warning; a value that cannot be used stops the server with the key, the value and what is \
         allowed. `--config-check` only checks.\n\n\
         Keys that say *changes online* can be changed while the server runs, with `POST /config` \
         on the [status server](status-server.md). The others are read at the start.\n",
    );
    for (section, keys) in &sections {
        // Writing to a String cannot fail.
        let _ = match section.as_str() {
            "" => write!(text, "\n## Top level\n"),
            section => write!(text, "\n## `[{section}]`\n"),
        };
        for (name, value) in keys {
            let doc = documentation(&docs, section, name).unwrap_or("(undocumented)");
            let full = match section.as_str() {
                "" => name.clone(),
                section => format!("{section}.{name}"),
            };
            let online = if Config::ONLINE_KEYS.contains(&full.as_str()) {
                " · changes online"
            } else {
                ""
            };
            let _ = write!(text, "\n**`{name}`** = `{value}`{online}\n{doc}\n");
        }
    }
    text.push_str(&memory::table());
    text
}

fn documentation<'a>(
    docs: &'a BTreeMap<(String, String), String>,
    section: &str,
    name: &str,
) -> Option<&'a str> {
    let (_, structs) = SECTIONS.iter().find(|(known, _)| *known == section)?;
    structs.iter().find_map(|item| {
        docs.get(&((*item).to_owned(), name.to_owned()))
            .map(String::as_str)
    })
}

/// Documentation by struct and key. The storage crate's struct is called `Config` as well, so that
/// one is known by its path.
fn field_docs() -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for (prefix, source) in SOURCES {
        let mut item = String::new();
        let mut doc = String::new();
        for line in source.lines() {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix("///") {
                doc.push_str(comment.trim());
                doc.push('\n');
            } else if let Some(rest) = line.strip_prefix("pub struct ") {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
                item = if name == "Config" {
                    format!("{prefix}{name}")
                } else {
                    name
                };
                doc.clear();
            } else if let Some((name, _)) = line
                .strip_prefix("pub ")
                .and_then(|field| field.split_once(": "))
            {
                let key = name.replace('_', "-");
                let text = std::mem::take(&mut doc);
                found.insert((item.clone(), key), text.trim_end().to_owned());
            } else if !line.starts_with("#[") {
                doc.clear();
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_key_is_documented() {
        let text = super::text();
        assert!(!text.contains("(undocumented)"), "{text}");
        assert!(text.contains("**`scheduler-concurrency`**"), "{text}");
    }
}
