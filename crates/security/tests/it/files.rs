//! Files that cannot be used, and what is said about them.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use security::{AllowList, Config, PeerNames, Security};
use tracing::dispatcher::with_default;

use crate::authority::{Authority, Dir};

/// What the log got.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    /// What `work` logs in this thread.
    pub(crate) fn of(work: impl FnOnce()) -> String {
        let output = Output::default();
        let time = Arc::new(|| 0);
        let config = logger::Config::default();
        let (dispatch, guard) = logger::scoped(&config, Box::new(output.clone()), time);
        with_default(&dispatch, work);
        drop(guard);
        String::from_utf8(output.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn error(config: &Config) -> String {
    match Security::new(config) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_reason() {
    let authority = Authority::new("a");
    let pair = authority.server();
    let other = authority.server();
    let certificate = format!("{}\0", pair.cert);
    let big = "x".repeat((1 << 20) + 1);
    let cases = [
        ("ca.pem", "", "ca-path", "no PEM certificate in it"),
        ("ca.pem", "nonsense", "ca-path", "no PEM certificate in it"),
        (
            "cert.pem",
            &pair.key,
            "cert-path",
            "no PEM certificate in it",
        ),
        ("cert.pem", &certificate, "cert-path", "zero byte"),
        ("cert.pem", &big, "cert-path", "more than 1048576 bytes"),
        ("key.pem", &pair.cert, "key-path", "no private key in PEM"),
        (
            "key.pem",
            &other.key,
            "key-path",
            "not the key of the certificate in",
        ),
        (
            "ca.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "ca-path",
            "invalid peer certificate",
        ),
        (
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\n??\n-----END CERTIFICATE-----\n",
            "cert-path",
            "",
        ),
    ];
    for (file, text, key, reason) in cases {
        let dir = Dir::new(&authority.pem(), &pair);
        dir.write(file, text);
        let said = error(&dir.config());
        let begin = format!("{key} {}: ", dir.path(file).display());
        assert!(said.starts_with(&begin) && said.contains(reason), "{said}");
    }
}

#[test]
fn a_path_that_is_no_file_is_named() {
    let authority = Authority::new("a");
    let dir = Dir::new(&authority.pem(), &authority.server());
    fs::remove_file(dir.path("key.pem")).unwrap();
    assert!(error(&dir.config()).contains("key.pem: No such file"));
    fs::create_dir(dir.path("key.pem")).unwrap();
    assert!(error(&dir.config()).contains("key.pem: not a regular file"));
    let mut half = dir.config();
    half.ca_path.clear();
    assert!(error(&half).contains("security.ca-path = \"\": "));
}

#[test]
fn no_key_reaches_errors_logs_or_debug_output() {
    let authority = Authority::new("a");
    let pair = authority.server();
    let dir = Dir::new(&authority.pem(), &pair);
    let secret = pair.key.lines().nth(1).unwrap();
    let said = Output::of(|| {
        let security = dir.security();
        tracing::info!(?security, "debug output");
    });
    assert!(
        said.contains("certificates loaded") && said.contains("not_after"),
        "{said}"
    );
    assert!(!said.contains(secret), "{said}");
    // The key's text where a key does not belong, and cut off.
    let (cut, _) = pair.key.split_at(pair.key.len() / 2);
    for (file, text) in [("key.pem", cut), ("cert.pem", &pair.key)] {
        let dir = Dir::new(&authority.pem(), &pair);
        dir.write(file, text);
        let said = error(&dir.config());
        assert!(!said.contains(secret), "{said}");
    }
}

#[test]
fn a_key_that_everybody_can_read_is_warned_about() {
    let authority = Authority::new("a");
    let dir = Dir::new(&authority.pem(), &authority.server());
    let mode = |mode| {
        let key = dir.path("key.pem");
        fs::set_permissions(key, fs::Permissions::from_mode(mode)).unwrap();
        Output::of(|| drop(dir.security()))
    };
    assert!(mode(0o644).contains("every user of this machine can read the private key"));
    assert!(!mode(0o640).contains("WARN"));
    assert!(!mode(0o600).contains("WARN"));
}

#[test]
fn a_certificate_is_read_for_its_names() {
    let authority = Authority::new("a");
    let pair = authority.certify("me", &["app.example", "10.1.2.3", "::1"]);
    let names = PeerNames::of_certificate(&pair.der);
    assert_eq!(names.common_name.as_deref(), Some("me"));
    assert_eq!(names.alternative_names, ["app.example", "10.1.2.3", "::1"]);
    assert_eq!(PeerNames::of_certificate(b"junk"), PeerNames::default());
    let nobody = AllowList::new(&Config {
        cert_allowed_cn: ["me".to_owned()].into(),
        ..Config::default()
    });
    assert!(nobody.permits(&names) && !nobody.permits(&PeerNames::default()));
    assert!(AllowList::default().permits(&PeerNames::default()));
}
