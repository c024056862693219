//! The shell: one line, one command.
//!
//! On a terminal a mistake is shown and the shell goes on; in a script the first mistake ends it, so
//! that no later line runs on wrong ground. An open transaction is rolled back at the end.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, anyhow};
use clap::Parser as _;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::answer::Answer;
use crate::data::{Conflicts, Data};
use crate::flags::{ShellCommand, ShellLine, Style};
use crate::print;

/// What a line leads to.
enum Next {
    Answer(Answer),
    /// Text of the parser: help, or what was wrong with the words.
    Told(String),
    Nothing,
    Leave,
}

/// Runs until the input or somebody ends it.
pub(crate) async fn run(data: &mut Data, style: Style) -> anyhow::Result<()> {
    let ended = if std::io::stdin().is_terminal() {
        interactive(data, style).await
    } else {
        script(data, style).await
    };
    let closed = data.close().await;
    ended?;
    closed
}

async fn interactive(data: &mut Data, style: Style) -> anyhow::Result<()> {
    let mut editor = DefaultEditor::new()?;
    print("Type help for the commands, exit to leave.");
    loop {
        let prompt = if data.in_transaction() { "txn> " } else { "> " };
        let line = match editor.readline(prompt) {
            Ok(line) => line,
            // A line that is given up.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // A history that cannot be kept is no reason to stop.
        let _ = editor.add_history_entry(&line);
        match execute(data, &line).await {
            Ok(Next::Answer(answer)) => print(&answer.show(style.json)),
            Ok(Next::Told(text)) => print(&text),
            Ok(Next::Nothing) => {}
            Ok(Next::Leave) => return Ok(()),
            Err(error) => print(&format!("error: {error:#}")),
        }
    }
}

async fn script(data: &mut Data, style: Style) -> anyhow::Result<()> {
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.context("standard input")?;
        let next = execute(data, &line).await;
        match next.with_context(|| format!("line {}: {}", number + 1, line.trim()))? {
            Next::Answer(answer) => print(&answer.show(style.json)),
            Next::Told(text) => return Err(anyhow!("line {}: {text}", number + 1)),
            Next::Nothing => {}
            Next::Leave => return Ok(()),
        }
    }
    Ok(())
}

async fn execute(data: &mut Data, line: &str) -> anyhow::Result<Next> {
    let words = shlex::split(line).context("a quote is not closed")?;
    // shlex leaves comments out.
    if words.is_empty() {
        return Ok(Next::Nothing);
    }
    let line = match ShellLine::try_parse_from(words) {
        Ok(line) => line,
        Err(error) => return Ok(Next::Told(error.to_string().trim_end().to_owned())),
    };
    let answer = match line.command {
        ShellCommand::Begin { pessimistic } => {
            let conflicts = if pessimistic {
                Conflicts::Pessimistic
            } else {
                Conflicts::Optimistic
            };
            data.begin(conflicts).await?
        }
        ShellCommand::Commit => data.commit().await?,
        ShellCommand::Rollback => data.rollback().await?,
        ShellCommand::Lock { keys } => data.lock(&keys).await?,
        ShellCommand::Raw(op) => data.run_raw(op).await?,
        ShellCommand::Txn(op) => data.run_txn(op).await?,
        ShellCommand::Exit => return Ok(Next::Leave),
    };
    Ok(Next::Answer(answer))
}
