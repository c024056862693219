//! The status server of a store over HTTP: settings and figures.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};

use crate::answer::Answer;
use crate::flags::Target;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A status server.
pub(crate) struct Status {
    agent: Agent,
    /// Scheme, host and port.
    origin: String,
}

impl Status {
    /// The status server at `addr`, which is `host:port`.
    pub(crate) fn new(target: &Target, addr: &str) -> anyhow::Result<Status> {
        let tls = tls(target)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut config = Agent::config_builder()
            .timeout_global(Some(target.timeout.0))
            // The text of a refusal says what was wrong.
            .http_status_as_error(false);
        if let Some(tls) = tls {
            config = config.tls_config(tls);
        }
        Ok(Status {
            agent: config.build().new_agent(),
            origin: format!("{scheme}://{addr}"),
        })
    }

    fn get(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("{}{path}", self.origin);
        let response = self.agent.get(&url).call();
        text_of(response.with_context(|| url.clone())?).with_context(|| url)
    }

    /// The settings whose full key contains `pattern`.
    pub(crate) fn config(&self, pattern: &str) -> anyhow::Result<Answer> {
        let settings: Value =
            serde_json::from_str(&self.get("/config")?).context("the settings are not JSON")?;
        let mut flat = Vec::new();
        flatten("", &settings, &mut flat);
        flat.retain(|(key, _)| key.contains(pattern));
        let lines: Vec<_> = flat
            .iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        let text = lines.join("\n");
        let json = flat.into_iter().map(|(key, value)| (key, value.clone()));
        Ok(Answer::both(text, Value::Object(json.collect())))
    }

    /// Changes settings, all of them or none.
    pub(crate) fn change(&self, changes: Vec<(String, String)>) -> anyhow::Result<Answer> {
        let url = format!("{}/config", self.origin);
        let changes: Map<_, _> = changes
            .into_iter()
            .map(|(key, value)| (key, typed(value)))
            .collect();
        let request = self.agent.post(&url).content_type("application/json");
        let response = request.send(Value::Object(changes).to_string());
        text_of(response.with_context(|| url.clone())?).with_context(|| url)?;
        Ok(Answer::done("changed"))
    }

    /// The series whose name contains `pattern`.
    pub(crate) fn metrics(&self, pattern: &str) -> anyhow::Result<Answer> {
        let text = self.get("/metrics")?;
        let samples: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| series.contains(pattern))
            .collect();
        let lines: Vec<_> = samples
            .iter()
            .map(|(series, value)| format!("{series} {value}"))
            .collect();
        // JSON has no infinity: what is no number stays text.
        let number = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| text.into());
        let json = samples
            .iter()
            .map(|(series, value)| ((*series).to_owned(), number(value)))
            .collect();
        Ok(Answer::both(lines.join("\n"), Value::Object(json)))
    }
}

fn text_of(mut response: ureq::http::Response<ureq::Body>) -> anyhow::Result<String> {
    let status = response.status();
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    let text = body.read_to_string()?;
    if !status.is_success() {
        bail!("{status}: {}", text.trim());
    }
    Ok(text)
}

/// A number or a truth where the text is one, else the text.
fn typed(text: String) -> Value {
    match serde_json::from_str(&text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(text),
    }
}

/// The leaves of `value`, each under its full key.
fn flatten<'v>(prefix: &str, value: &'v Value, flat: &mut Vec<(String, &'v Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let key = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                flatten(&key, value, flat);
            }
        }
        leaf => flat.push((prefix.to_owned(), leaf)),
    }
}

fn tls(target: &Target) -> anyhow::Result<Option<TlsConfig>> {
    let (Some(ca), Some(cert), Some(key)) = (&target.ca_path, &target.cert_path, &target.key_path)
    else {
        return Ok(None);
    };
    let read = |path: &std::path::Path| {
        fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let certificates = |path: &std::path::Path| -> anyhow::Result<Vec<Certificate<'static>>> {
        let mut found = Vec::new();
        for item in ureq::tls::parse_pem(&read(path)?) {
            if let ureq::tls::PemItem::Certificate(certificate) =
                item.with_context(|| format!("{} is not PEM", path.display()))?
            {
                found.push(certificate);
            }
        }
        Ok(found)
    };
    let private = PrivateKey::from_pem(&read(key)?)
        .with_context(|| format!("{} has no private key", key.display()))?;
    let config = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&certificates(ca)?))
        .client_cert(Some(ClientCert::new_with_certs(
            &certificates(cert)?,
            private,
        )))
        .build();
    Ok(Some(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_flat() {
        let settings = serde_json::json!({ "log": { "level": "info" }, "labels": {}, "n": 1 });
        let mut flat = Vec::new();
        flatten("", &settings, &mut flat);
        let keys: Vec<_> = flat.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["labels", "log.level", "n"]);
    }

    #[test]
    fn values_have_the_type_that_they_look_like() {
        assert_eq!(typed("true".into()), Value::Bool(true));
        assert_eq!(typed("12".into()), serde_json::json!(12));
        assert_eq!(typed("64MiB".into()), serde_json::json!("64MiB"));
        assert_eq!(typed("[1]".into()), serde_json::json!("[1]"));
    }
}
