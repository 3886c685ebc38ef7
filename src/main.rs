//! The binary: everything it does is behind `muster::cli`.

/// Under many small requests this allocator costs less processor time than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // The compile child of the plugin host is this very program, started before anything else is read.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "__compile") {
        return muster::plugins::compile_child_main();
    }
    muster::cli::run()
}
