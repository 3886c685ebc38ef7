//! The program: a compile child when started as `muster __compile`.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "__compile") {
        return muster::plugins::compile_child_main();
    }
    ExitCode::SUCCESS
}
