//! The handle that everybody holds, and the reading of rotated files.
//!
//! Whoever makes a handshake asks [`Shared::current`], which reads the three files and compares them
//! with those of last time. Comparing bytes instead of times needs no clock and misses no change that
//! a coarse file time hides; the files are small beside the arithmetic of a handshake. A rotation
//! that replaces one file after the other passes through states that do not fit together: these are
//! refused like any broken file, and what was read before goes on.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::files::{Files, is_open_to_others};
use crate::material::Material;
use crate::names::AllowList;
use crate::{Config, Error, Result};

/// Certificates and who may connect, or the absence of both. Clones share what was read.
#[derive(Clone, Default)]
pub struct Security {
    pub(crate) shared: Option<Arc<Shared>>,
}

/// What the clones share.
pub(crate) struct Shared {
    config: Config,
    pub(crate) allow: AllowList,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    material: Arc<Material>,
    /// Why the files of now cannot be used, as the log was told. None when they can.
    failure: Option<String>,
}

impl Security {
    /// Reads the files. A configuration without certificates gives [`Security::disabled`].
    pub fn new(config: &Config) -> Result<Security> {
        let problems = config.validate();
        if !problems.is_empty() {
            return Err(Error::Config(problems));
        }
        if !config.is_enabled() {
            return Ok(Security::disabled());
        }
        let material = Material::new(config, Files::read(config)?, 1)?;
        told(config, &material);
        Ok(Security {
            shared: Some(Arc::new(Shared {
                config: config.clone(),
                allow: AllowList::new(config),
                loaded: Mutex::new(Loaded {
                    material: Arc::new(material),
                    failure: None,
                }),
            })),
        })
    }

    /// Plain text for everybody.
    pub fn disabled() -> Security {
        Security { shared: None }
    }

    /// Whether ports and channels are encrypted.
    pub fn is_enabled(&self) -> bool {
        self.shared.is_some()
    }

    /// The scheme of the URLs under which servers are told to clients.
    pub fn scheme(&self) -> &'static str {
        if self.is_enabled() { "https" } else { "http" }
    }
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let config = self.shared.as_ref().map(|shared| &shared.config);
        f.debug_tuple("Security").field(&config).finish()
    }
}

impl Shared {
    /// What the next handshake uses: the files of now if they can be used, else those before.
    pub(crate) fn current(&self) -> Arc<Material> {
        let mut loaded = self.loaded.lock();
        let found = Files::read(&self.config).and_then(|files| {
            if files == loaded.material.files {
                return Ok(None);
            }
            let generation = loaded.material.generation + 1;
            Material::new(&self.config, files, generation).map(Some)
        });
        match found {
            Ok(None) => loaded.failure = None,
            Ok(Some(material)) => {
                told(&self.config, &material);
                loaded.failure = None;
                loaded.material = Arc::new(material);
            }
            Err(error) => {
                let reason = error.to_string();
                if loaded.failure.as_ref() != Some(&reason) {
                    tracing::error!(
                        reason,
                        "certificates were replaced by unusable ones, the old ones stay in use"
                    );
                    loaded.failure = Some(reason);
                }
            }
        }
        Arc::clone(&loaded.material)
    }
}

fn told(config: &Config, material: &Material) {
    tracing::info!(
        cert_path = config.cert_path,
        not_after = material.not_after(),
        reading = material.generation,
        "certificates loaded"
    );
    if is_open_to_others(&config.key_path) {
        tracing::warn!(
            key_path = config.key_path,
            "every user of this machine can read the private key; take the right from others"
        );
    }
}
