//! Changes on a controller without a node.

use std::fs;
use std::sync::Arc;

use serde_json::json;

use super::*;

fn controller(file: Option<PathBuf>) -> (ConfigController, Arc<Mutex<Vec<Config>>>) {
    let controller = ConfigController::new(Config::default(), file);
    let taken = Arc::new(Mutex::new(Vec::new()));
    let sink = taken.clone();
    let keys = &[
        "log.level",
        "slow-log-threshold",
        "storage.block-cache.capacity",
    ];
    controller.register(keys, move |config| sink.lock().push(config.clone()));
    (controller, taken)
}

fn change(controller: &ConfigController, change: Json) -> Result<()> {
    match change {
        Json::Object(change) => controller.change(&change, Persist::ToFile),
        other => panic!("{other}"),
    }
}

fn problems(result: Result<()>) -> Vec<String> {
    match result {
        Err(Error::Config(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_is_seen_and_taken() {
    let (controller, taken) = controller(None);
    let wanted = json!({"log.level": "debug", "slow-log-threshold": "5ms"});
    change(&controller, wanted).unwrap();
    assert_eq!(controller.config().log.level, logger::Level::Debug);
    let taken = taken.lock();
    assert_eq!(taken.len(), 1, "a part hears of a change once");
    assert_eq!(taken[0], controller.config());
    assert_eq!(taken[0].slow_log_threshold.as_millis(), 5);
}

#[test]
fn everything_wrong_is_told_and_nothing_applied() {
    let (controller, taken) = controller(None);
    let wanted = json!({
        "log.level": "loud",
        "log.levle": "debug",
        "server.addr": "a:1",
        "slow-log-threshold": ["1s"],
        "storage.block-cache.capacity": "1GiB",
    });
    assert_eq!(
        problems(change(&controller, wanted)),
        [
            "log.levle = debug: no such key, did you mean log.level?",
            "server.addr = a:1: cannot be changed while the server runs",
            "slow-log-threshold = [\"1s\"]: must be a text, a number, true or false",
            "log.level = loud: invalid log level \"loud\": expected trace, debug, info, warn or \
             error",
        ]
    );
    assert_eq!(controller.config(), Config::default());
    assert!(taken.lock().is_empty());
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    let (controller, taken) = controller(None);
    let found = problems(change(
        &controller,
        json!({"storage.block-cache.capacity": "5B", "log.level": "warn"}),
    ));
    assert!(
        found[0].starts_with("storage.block-cache.capacity = 5B: must be"),
        "{found:?}"
    );
    assert_eq!(controller.config(), Config::default());
    assert!(taken.lock().is_empty());
}

#[test]
fn the_file_keeps_what_else_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    fs::write(
        &file,
        "# mine\n[log]\nlevel = \"info\" # usual\nformat = \"json\"\n",
    )
    .unwrap();
    let (controller, _) = controller(Some(file.clone()));
    let wanted = json!({"log.level": "warn", "storage.block-cache.capacity": "64MiB"});
    change(&controller, wanted).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("# mine\n[log]\nlevel = \"warn\" # usual\nformat = \"json\"\n"),
        "{text}"
    );
    let again = Config::from_file(&file).unwrap();
    assert_eq!(again.warnings, Vec::<String>::new());
    assert_eq!(again.config.memory_plan().block_cache, 64 << 20);

    let no_file = serde_json::Map::from_iter([("log.level".to_owned(), json!("error"))]);
    controller.change(&no_file, Persist::No).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_file_that_cannot_be_written_refuses_the_change() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, taken) = controller(Some(dir.path().join("gone/config.toml")));
    let error = change(&controller, json!({"log.level": "warn"})).unwrap_err();
    assert!(matches!(error, Error::WriteConfig { .. }), "{error}");
    assert_eq!(controller.config(), Config::default());
    assert!(taken.lock().is_empty());
}
