//! The command line: the server's commands run here, every other one is a client that speaks HTTP and nothing else.
//!
//! A command says what to ask (`client`) and how the answer looks (`output`); what went wrong, and with which exit
//! code, is in `problem`. Only `serve` builds the server.

mod account;
mod audit;
mod budget;
mod call;
mod charge;
mod client;
mod credit;
mod doctor;
mod explain;
mod instance;
mod message;
mod output;
mod people;
mod plugin;
mod policy;
mod policy_files;
mod policy_proofs;
mod policy_shadow;
mod price;
mod problem;
mod profile;
mod quota;
mod recompute;
mod request;
mod secret;
mod serve;
mod settings;
mod site;
mod snapshot;
mod statement;
mod storage_rate;
mod terms;
mod top_up;
mod voucher;
mod wait;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use self::{
    call::Call,
    output::{Answer, Form},
    problem::Failure,
    settings::Settings,
};

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failure, 2 usage, 3 not signed in, 4 refused by a policy or a limit, \
                          5 not found, 6 conflict, 7 invalid input, 8 unavailable.";

/// Policy, money and dispatch for GPU teams, on your own machines.
#[derive(Debug, Parser)]
#[command(name = "muster", version, after_help = EXIT_CODES, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every client command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Client")]
struct Globals {
    /// Form of the answer
    #[arg(long, global = true, value_enum, default_value = "table")]
    output: Form,
    /// Profile to use [env: MUSTER_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// Base URL of the server [env: MUSTER_SERVER]
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// Team to act in, by id or slug [env: MUSTER_TEAM]
    #[arg(long, global = true, value_name = "TEAM")]
    team: Option<String>,
    /// Key that makes a repeated command act once; a fresh one if not given
    #[arg(long, global = true, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Settings),
    /// Show or check the server's settings
    #[command(subcommand)]
    Config(settings::ConfigCommand),
    /// Look whether this machine has what the server needs
    Doctor(Settings),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    #[command(flatten)]
    Account(account::AccountCommand),
    #[command(flatten)]
    People(people::PeopleCommand),
    #[command(flatten)]
    Credit(credit::CreditCommand),
    /// Budgets of the team, its members and API keys
    #[command(subcommand)]
    Budget(budget::BudgetCommand),
    /// Ask for credits or higher limits, and decide on what others ask for
    #[command(subcommand)]
    Request(request::RequestCommand),
    /// What was done and refused, by whom, and whether the record is whole
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// The team's own policies
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Say why a decision was made, such as a refusal
    Why {
        /// Decision, by id, as the refusal names it
        decision: String,
    },
    #[command(flatten)]
    Message(message::MessageCommand),
    #[command(flatten)]
    Month(statement::MonthCommand),
    #[command(flatten)]
    Site(site::SiteCommand),
    /// Price plugins: written and tested here, uploaded and listed there
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    #[command(flatten)]
    Instance(instance::InstanceCommand),
    /// Snapshots of instances' disks
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
}

/// Runs the command that the arguments name, and answers with its exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // A second call finds the first one's provider in place, which is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let form = cli.globals.output;
    match dispatch(cli).and_then(|answer| answer.print(form).map(|()| answer)) {
        Ok(Answer::Alarm(_)) => ExitCode::from(problem::code::FAILURE),
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => {
            output::tell(&format!("muster: {}", failure.render()));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<Answer, Failure> {
    match cli.command {
        Command::Serve(settings) => serve::run(&settings.load()?),
        Command::Config(command) => command.run(),
        Command::Doctor(settings) => doctor::run(&settings),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "muster", &mut script);
            Ok(Answer::Text(String::from_utf8_lossy(&script).into_owned()))
        }
        Command::Account(command) => ask(cli.globals, async |call| command.run(call).await),
        Command::People(command) => ask(cli.globals, async |call| command.run(call).await),
        Command::Credit(command) => ask(cli.globals, async |call| command.run(call).await),
        Command::Month(command) => ask(cli.globals, async |call| command.run(call).await),
        Command::Budget(command) => ask(cli.globals, async |call| command.run(call).await),
        Command::Request(command) => ask(cli.globals, async |call| command.run(call).await),
        Command::Audit(command) => ask(cli.globals, async |call| command.run(call).await),
        Command::Policy(command) if command.is_at_home() => command.run_at_home(),
        Command::Policy(command) => ask(cli.globals, async |call| command.run(call).await),
        Command::Why { decision } => ask(cli.globals, async |call| policy::why(call, &decision).await),
        Command::Message(command) => ask(cli.globals, async |call| command.run(call).await),
        Command::Site(command) => ask(cli.globals, async |call| command.run(call).await),
        Command::Plugin(command) if command.is_at_home() => at_home(command.run_at_home()),
        Command::Plugin(command) => ask(cli.globals, async |call| command.run(call).await),
        Command::Instance(command) => ask(cli.globals, async |call| command.run(call).await),
        Command::Snapshot(command) => ask(cli.globals, async |call| command.run(call).await),
    }
}

/// Runs a client command against the server that the flags, the environment or the profile name.
fn ask(
    globals: Globals,
    command: impl AsyncFnOnce(&mut Call) -> Result<Answer, Failure>,
) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::here("the client cannot start", error))?;
    let mut call = Call::new(globals)?;
    runtime.block_on(command(&mut call))
}

/// Runs a command that needs no server and yet has to wait.
fn at_home(command: impl Future<Output = Result<Answer, Failure>>) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::here("the command cannot start", error))?.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }
}
