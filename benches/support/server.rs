//! `muster serve` as a process of its own, as a user would start it.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// A process that serves HTTP until this is dropped.
pub(crate) struct Server {
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// From the start of the process to the first good answer.
    pub(crate) ready_after: Duration,
    child: Child,
}

impl Server {
    /// The server on the data folder, with every setting at its default; on `cpu` alone if one is named.
    pub(crate) fn muster(data: &Path, cpu: Option<usize>) -> Self {
        let address = free_address();
        let log = fs::File::options().create(true).append(true).open(data.join("log")).unwrap();
        let mut command = pinned(cpu, env!("CARGO_BIN_EXE_muster"));
        command.arg("serve").arg("--data-dir").arg(data).arg("--listen").arg(address.to_string());
        Self::start(command.stdout(Stdio::null()).stderr(log), address, "/readyz")
    }

    /// This program with one word and an address, on `cpu` alone.
    pub(crate) fn this_program(word: &str, cpu: usize) -> Self {
        let address = free_address();
        let program = std::env::current_exe().unwrap();
        let mut command = pinned(Some(cpu), program.to_str().unwrap());
        Self::start(command.arg(word).arg(address.to_string()), address, "/")
    }

    fn start(command: &mut Command, address: SocketAddr, ready: &str) -> Self {
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).spawn().expect("the program and `taskset` of util-linux");
        let mut server = Self { address, ready_after: Duration::ZERO, child };
        while !answers(address, ready) {
            assert!(began.elapsed() < Duration::from_secs(60), "{command:?} is not ready after a minute");
            assert!(server.child.try_wait().unwrap().is_none(), "{command:?} ended");
            std::thread::sleep(Duration::from_micros(500));
        }
        server.ready_after = began.elapsed();
        server
    }

    /// Resident memory in megabytes.
    pub(crate) fn resident_mb(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e6
    }
}

impl Drop for Server {
    /// Asks it to finish and waits until it has.
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        // It may have ended by itself, which is told elsewhere.
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Keeps this process, with all its threads, on these processors.
pub(crate) fn pin_self(cpus: &str) {
    let words = ["-a", "-p", "-c", cpus, &std::process::id().to_string()].map(str::to_owned);
    let output = Command::new("taskset").args(words).output().expect("`taskset` of util-linux");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn pinned(cpu: Option<usize>, program: &str) -> Command {
    match cpu {
        None => Command::new(program),
        Some(cpu) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &cpu.to_string(), program]);
            command
        }
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn answers(address: SocketAddr, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = [0; 12];
    let asked = stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes());
    asked.is_ok() && stream.read_exact(&mut answer).is_ok() && answer.ends_with(b"200")
}
