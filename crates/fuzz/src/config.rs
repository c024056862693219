//! Configuration files.

use server::config::Config;

/// A file's text: what is accepted can be written and read again, and what is valid can be used.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let loaded = match Config::from_toml(text) {
        Ok(loaded) => loaded,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let config = loaded.config;
    let again = Config::from_toml(&config.to_toml());
    match again {
        Ok(again) => {
            assert_eq!(again.config, config);
            assert_eq!(again.warnings, Vec::<String>::new());
        }
        Err(error) => panic!("what it wrote itself is refused: {error}"),
    }
    let problems = config.validate();
    for problem in &problems {
        assert!(!problem.to_string().is_empty());
    }
    if problems.is_empty() {
        let _ = (config.storage(), config.logger(), config.kv_engine());
        let _ = config.local_engine();
        let in_force = config.in_force();
        assert_eq!(in_force.validate(), [], "what is in force is valid");
        assert_eq!(in_force.in_force(), in_force, "nothing is left to fill in");
    }
}
