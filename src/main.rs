//! The binary: everything it does is behind `muster::cli`.

/// Under many small requests this allocator costs less processor time than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    muster::cli::run()
}
