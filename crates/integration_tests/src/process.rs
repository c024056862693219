//! A server as a child process: its output goes to a file, it dies with its handle, and a test that
//! fails prints the end of what the server said.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How much of a log a failing test prints.
const TAIL_LINES: usize = 60;
/// How often a process is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(5);

/// A running (or ended) child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    started: Instant,
}

impl Process {
    /// Starts `binary`; what it prints goes to `log`, after what is there already.
    pub fn spawn(
        name: &'static str,
        binary: &Path,
        arguments: &[String],
        log: &Path,
    ) -> anyhow::Result<Process> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        let mut command = Command::new(binary);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        Ok(Process {
            name,
            child,
            log: log.to_owned(),
            started,
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("wait for {}", self.name))
    }

    /// SIGKILL, and waits until the kernel has taken everything back.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child
            .kill()
            .with_context(|| format!("kill {}", self.name))?;
        self.child
            .wait()
            .with_context(|| format!("wait for {}", self.name))?;
        Ok(())
    }

    /// SIGTERM. The shell sends it: std can only kill.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.exit_status()? {
            bail!(
                "{} ended before it was asked to: {}",
                self.name,
                describe(status)
            );
        }
        let sent = Command::new("/bin/sh")
            .args(["-c", "kill -TERM \"$0\"", &self.pid().to_string()])
            .status()
            .context("start a shell")?;
        if !sent.success() {
            bail!("could not send SIGTERM to {}", self.name);
        }
        Ok(())
    }

    /// Waits for its end.
    pub async fn wait(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let name = self.name;
        poll_until(patience, &format!("end of {name}"), || {
            Ok(self.child.try_wait()?)
        })
        .await
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        // Not text, perhaps, when it was killed while writing.
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of what it has printed.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Lines that a healthy server never prints.
    pub fn complaints(&self) -> Vec<String> {
        const SIGNS: [&str; 3] = ["[ERROR]", "[FATAL]", "panicked at"];
        let log = self.log();
        let complaint = |line: &&str| SIGNS.iter().any(|sign| line.contains(sign));
        log.lines().filter(complaint).map(str::to_owned).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; there is nobody left to tell about anything else.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            #[allow(
                clippy::print_stderr,
                reason = "the harness shows it with the failing test"
            )]
            {
                eprintln!(
                    "---- end of the log of {} ----\n{}",
                    self.name,
                    self.log_tail()
                );
            }
        }
    }
}

/// Leaves the files of a server to whoever looks into why a test failed.
pub(crate) fn keep_if_failing(home: &mut TempDir) {
    if std::thread::panicking() {
        home.disable_cleanup(true);
        #[allow(
            clippy::print_stderr,
            reason = "the harness shows it with the failing test"
        )]
        {
            eprintln!("kept {}", home.path().display());
        }
    }
}

/// How a process ended, for a message.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".to_owned(),
    }
}

/// Asks `probe` again and again until it has an answer.
pub(crate) async fn poll_until<T>(
    patience: Duration,
    what: &str,
    mut probe: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + patience;
    let mut ticks = ticks();
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {patience:?} in vain for the {what}");
        }
        ticks.tick().await;
    }
}

/// The rhythm of looking at a process.
pub(crate) fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path) -> Process {
        let arguments = ["-c".to_owned(), script.to_owned()];
        Process::spawn("shell", Path::new("/bin/sh"), &arguments, log).unwrap()
    }

    #[tokio::test]
    async fn output_and_end_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = shell(
            "echo '[INFO] fine'; echo '[ERROR] not fine' >&2; exit 3",
            &log,
        );
        let status = process.wait(Duration::from_secs(10)).await.unwrap();
        assert_eq!(describe(status), "exit code 3");
        assert_eq!(process.log_tail(), "[INFO] fine\n[ERROR] not fine");
        assert_eq!(process.complaints(), ["[ERROR] not fine"]);
    }

    #[tokio::test]
    async fn sigterm_reaches_it_and_patience_ends() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = shell("exec tail -f /dev/null", &log);
        let error = process.wait(Duration::from_millis(20)).await.unwrap_err();
        assert!(error.to_string().contains("in vain"), "{error}");
        process.terminate().unwrap();
        let status = process.wait(Duration::from_secs(10)).await.unwrap();
        assert_eq!(describe(status), "signal 15");
        assert!(process.terminate().is_err());
    }
}
