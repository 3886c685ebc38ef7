//! Passwords come from a prompt, from standard input or from a file; never from an argument, which others can see.

use std::{
    io::{BufRead, IsTerminal},
    path::PathBuf,
};

use clap::Args;

use super::problem::Failure;

/// Where a password comes from when it is not asked for.
#[derive(Debug, Args)]
pub(crate) struct PasswordSource {
    /// Read the password from the first line of standard input
    #[arg(long, conflicts_with = "password_file")]
    password_stdin: bool,
    /// Read the password from the first line of a file
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// The password, asked for if need be.
    pub(crate) fn read(&self, prompt: &str) -> Result<String, Failure> {
        match self.read_if_given()? {
            Some(password) => Ok(password),
            None => ask(prompt),
        }
    }

    /// The password, if a source was given.
    pub(crate) fn read_if_given(&self) -> Result<Option<String>, Failure> {
        if self.password_stdin {
            return line().map(Some);
        }
        let Some(path) = &self.password_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|error| Failure::here(path.display(), error))?;
        Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
    }

    /// The next password of the same source: the next line of standard input, or asked for.
    pub(crate) fn read_next(&self, prompt: &str) -> Result<String, Failure> {
        if self.password_stdin { line() } else { ask_twice(prompt) }
    }
}

/// Asks for a new password, twice, since nobody sees what is typed.
pub(crate) fn ask_twice(prompt: &str) -> Result<String, Failure> {
    let first = ask(prompt)?;
    if ask("The same again: ")? == first { Ok(first) } else { Err(Failure::Invalid("the two differ".into())) }
}

/// Whether there is somebody to ask.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal()
}

fn ask(prompt: &str) -> Result<String, Failure> {
    if !can_ask() {
        let way = "nobody is there to type a password: use --password-stdin or --password-file PATH";
        return Err(Failure::Invalid(way.to_owned()));
    }
    rpassword::prompt_password(prompt).map_err(|error| Failure::here("the password cannot be read", error))
}

fn line() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().read_line(&mut text);
    read.map_err(|error| Failure::here("the password cannot be read", error))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::Invalid("standard input holds no password".into()));
    }
    Ok(password.to_owned())
}
