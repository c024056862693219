//! Data directories that a server must not use: somebody else's, and damaged ones. It says what is wrong with which
//! directory, ends, and leaves everything as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::{TikvServer, binaries, free_address};
use tempfile::TempDir;

use crate::clients;

/// Starts a server that is expected to end by itself; returns what it said.
fn refused(data_dir: &Path) -> String {
    let mut command = Command::new(binaries::tikv_server().unwrap());
    command.args(["--data-dir", &data_dir.display().to_string()]);
    for flag in ["--addr", "--status-addr", "--pd-addr"] {
        command.args([flag, &free_address().to_string()]);
    }
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!output.status.success(), "it started: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// The files below a directory, without the engine's own log, with their lengths.
fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else if !name.starts_with("LOG") && name != "LOCK" {
            found.push((entry.path(), entry.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_directory_of_somebody_else() {
    let home = TempDir::with_prefix("tikv-test-").unwrap();
    let engine = home.path().join("db");
    fs::create_dir(&engine).unwrap();
    fs::write(engine.join("holiday.jpg"), b"not ours").unwrap();
    let said = refused(home.path());
    assert!(
        said.contains(&engine.display().to_string()) && said.contains("does not belong"),
        "{said}"
    );
    assert_eq!(fs::read(engine.join("holiday.jpg")).unwrap(), b"not ours");
    assert_eq!(files(&engine).len(), 1);
}

#[tokio::test]
async fn a_damaged_directory() {
    let mut server = TikvServer::start().await.unwrap();
    let raw = clients::raw(&server).await;
    raw.put("k".to_owned(), "v".to_owned()).await.unwrap();
    server.stop().await.unwrap();
    let engine = server.data_dir().join("db");
    let named = |prefix: &str| {
        let files = files(&engine).into_iter();
        let mut found = files.filter(|(path, _)| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(prefix)
        });
        found.next().unwrap().0
    };
    for file in [named("CURRENT"), named("MANIFEST")] {
        let sound = fs::read(&file).unwrap();
        fs::write(&file, vec![0xa5; sound.len()]).unwrap();
        let before = files(&engine);
        let said = refused(&server.data_dir());
        let said_why = ["corruption", "Corruption", "CURRENT", "MANIFEST"];
        assert!(
            said_why.iter().any(|word| said.contains(word)),
            "{}: {said}",
            file.display()
        );
        assert_eq!(files(&engine), before, "{} damaged", file.display());
        fs::write(&file, sound).unwrap();
    }
    // Nothing else was touched: with the files put back everything is there.
    server.restart().await.unwrap();
    let raw = clients::raw(&server).await;
    assert_eq!(raw.get("k".to_owned()).await.unwrap().unwrap(), b"v");
    server.stop().await.unwrap();
}
