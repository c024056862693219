//! Writing single keys into the configuration file, without a change to anything else in it.
//!
//! The new file is written beside the old one, synced, and put in its place: whoever reads the
//! name finds the old text or the new one, also after a crash.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use online_config::{ConfigChange, ConfigValue};
use toml_edit::{DocumentMut, Item, Table, value};

/// Sets the keys of `change` in the file at `path`.
pub(crate) fn write_keys(path: &Path, change: &ConfigChange) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    let mut document: DocumentMut = text.parse().map_err(io::Error::other)?;
    for (key, new) in change {
        set(document.as_table_mut(), key, new).map_err(io::Error::other)?;
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".tikv-config-")
        .tempfile_in(directory)?;
    file.write_all(document.to_string().as_bytes())?;
    file.as_file()
        .set_permissions(fs::metadata(path)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(directory)?.sync_all()
}

/// Sets a key with points; sections that are not there are made, comments of the value stay.
fn set(table: &mut Table, key: &str, new: &ConfigValue) -> Result<(), String> {
    if let Some((section, rest)) = key.split_once('.') {
        let item = table.entry(section).or_insert_with(|| {
            let mut section = Table::new();
            // A header of its own only where keys stand below it.
            section.set_implicit(true);
            Item::Table(section)
        });
        return match item {
            Item::Table(inner) => set(inner, rest, new),
            Item::Value(toml_edit::Value::InlineTable(inner)) if !rest.contains('.') => {
                inner.insert(rest, plain(new)?);
                Ok(())
            }
            _ => Err(format!(
                "{section} is written in a way that cannot be changed"
            )),
        };
    }
    let mut new = plain(new)?;
    match table.get_mut(key) {
        Some(Item::Value(old)) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        Some(item) => *item = value(new),
        None => {
            table.insert(key, value(new));
        }
    }
    Ok(())
}

fn plain(new: &ConfigValue) -> Result<toml_edit::Value, String> {
    Ok(match new {
        ConfigValue::Bool(value) => (*value).into(),
        ConfigValue::Integer(value) => (*value).into(),
        ConfigValue::Float(value) => (*value).into(),
        ConfigValue::String(value) => value.into(),
        ConfigValue::List(_) | ConfigValue::Unset => {
            return Err("lists cannot be written".to_owned());
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn after(text: &str, key: &str, new: ConfigValue) -> io::Result<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let written = write_keys(&path, &ConfigChange::from([(key.to_owned(), new)]));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left behind"
        );
        written.map(|()| fs::read_to_string(&path).unwrap())
    }

    #[test]
    fn a_key_is_found_wherever_it_stands() {
        let warn = || ConfigValue::String("warn".to_owned());
        for (before, expected) in [
            ("", "[log]\nlevel = \"warn\"\n"),
            ("[log]\n", "[log]\nlevel = \"warn\"\n"),
            ("log.level = 'info' # why\n", "log.level = \"warn\" # why\n"),
            (
                "log = { level = \"info\" }\n",
                "log = { level = \"warn\" }\n",
            ),
        ] {
            let text = after(before, "log.level", warn()).unwrap();
            assert_eq!(text.trim(), expected.trim(), "{before}");
        }
        let text = after(
            "[storage]\n# size\n",
            "storage.block-cache.capacity",
            ConfigValue::String("1GiB".to_owned()),
        );
        let text = text.unwrap();
        assert!(
            text.contains("[storage.block-cache]\ncapacity = \"1GiB\""),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_toml_any_more_is_left_alone() {
        assert!(after("[log", "log.level", ConfigValue::Bool(true)).is_err());
        assert!(after("log = 5\n", "log.level", ConfigValue::Bool(true)).is_err());
    }
}
