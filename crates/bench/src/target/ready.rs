//! Waiting until a server that was just started answers.
//!
//! The one place that waits for another program: it looks again and again until a deadline, and says
//! what was missing. Must never wait for one that has ended.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use integration_tests::Process;

/// Between two looks: short beside a start, long beside the cost of a look.
const POLL: Duration = Duration::from_millis(20);

/// The first success of `attempt`; an error with the reason of the last failure and the end of the
/// log if there is none within `patience`, or if the process ends.
pub(super) fn ready<T>(
    name: &str,
    process: &mut Process,
    patience: Duration,
    mut attempt: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        let failure = match attempt() {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        if let Some(status) = process.exit_status()? {
            bail!("{name} ended with {status}:\n{}", process.log_tail());
        }
        if Instant::now() >= deadline {
            return Err(failure).with_context(|| {
                let log = process.log_tail();
                format!("{name} does not answer within {patience:?}:\n{log}")
            });
        }
        // Nothing tells when another program begins to listen.
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    fn shell(script: &str) -> (TempDir, Process) {
        let home = TempDir::new().unwrap();
        let arguments = ["-c".to_owned(), script.to_owned()];
        let log = home.path().join("log");
        let process = Process::spawn("shell", Path::new("/bin/sh"), &arguments, &log).unwrap();
        (home, process)
    }

    #[test]
    fn the_first_success_ends_the_wait() {
        let (_home, mut process) = shell("exec sleep 60");
        let mut attempts = 0;
        let answer = ready("shell", &mut process, Duration::from_secs(60), || {
            attempts += 1;
            anyhow::ensure!(attempts == 3, "not at the first");
            Ok(attempts)
        });
        assert_eq!(answer.unwrap(), 3);
    }

    #[test]
    fn the_deadline_is_an_error_with_its_reason() {
        let (_home, mut process) = shell("exec sleep 60");
        let patience = Duration::from_millis(50);
        let error = ready("shell", &mut process, patience, || -> anyhow::Result<()> {
            bail!("nobody listens")
        })
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("shell does not answer within 50ms"), "{text}");
        assert!(text.contains("nobody listens"), "{text}");
    }

    #[test]
    fn a_process_that_ended_is_not_waited_for() {
        let (_home, mut process) = shell("echo 'port in use' >&2; exit 3");
        let begin = Instant::now();
        let patience = Duration::from_secs(60);
        let error = ready("shell", &mut process, patience, || -> anyhow::Result<()> {
            bail!("nobody listens")
        })
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("shell ended with"), "{text}");
        assert!(text.contains("port in use"), "{text}");
        assert!(begin.elapsed() < patience);
    }
}
