//! Real Docker engines for tests: each in a network namespace of its own, with mutual TLS and a stand-in for
//! the vendor's runtime. Needs root and Debian's docker.io; whatever is missing is named, loudly.
//!
//! Every stand has names of its own, so that test programs may run side by side. It is torn down when
//! dropped; what a killed test program left is torn down when the next stand is made.

use std::{
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use muster::model::host::TlsDocuments;

/// The test image: logins on 22 with the injected keys, a web server on 8888, a stand-in for nvidia-smi.
pub(crate) const IMAGE: &str = "muster-test/gpu-mini:1";

const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/docker");
const ROOT: &str = "/tmp/muster-stand";
const TOOLS: [(&str, &str); 9] = [
    ("dockerd", "docker.io"),
    ("docker", "docker.io or docker-cli"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("busybox", "busybox-static"),
    ("ssh-keygen", "openssh-client"),
];
static STANDS: AtomicU32 = AtomicU32::new(0);

/// What one host of a stand is like.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How many accelerators it has; `None` leaves the vendor's runtime out.
    pub(crate) gpus: Option<u32>,
    /// Whether containers outlive the engine.
    pub(crate) live_restore: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { gpus: Some(2), live_restore: true }
    }
}

/// Engines that run until this is dropped.
pub(crate) struct Stand {
    /// The hosts.
    pub(crate) hosts: Vec<StandHost>,
    folder: PathBuf,
}

/// One engine.
pub(crate) struct StandHost {
    /// Its unix socket.
    pub(crate) socket: PathBuf,
    /// Its address, where published ports are reached too.
    pub(crate) ip: String,
    /// Address and port of its network socket.
    pub(crate) authority: String,
    /// What its network socket wants to see.
    pub(crate) tls: TlsDocuments,
    /// The UUIDs of its accelerators, which no other host has.
    pub(crate) gpus: Vec<String>,
    folder: PathBuf,
    namespace: String,
    link: String,
    engine: Option<Child>,
}

impl Stand {
    /// `count` hosts with two accelerators each, which keep their containers when the engine dies.
    pub(crate) async fn up(count: usize) -> Stand {
        Self::up_with(&vec![Plan::default(); count]).await
    }

    /// One host for each plan.
    pub(crate) async fn up_with(plans: &[Plan]) -> Stand {
        check_tools();
        fs::create_dir_all(ROOT).unwrap();
        let only = fs::File::create(format!("{ROOT}/lock")).unwrap();
        only.lock().unwrap();
        remove_leftovers();
        let number = STANDS.fetch_add(1, Ordering::Relaxed);
        let tag = format!("mt{:x}{}", std::process::id(), char::from(b'a' + u8::try_from(number).unwrap()));
        let folder = PathBuf::from(format!("{ROOT}/{tag}"));
        let net = free_net();
        run("ip", ["link", "add", &tag, "type", "bridge"]);
        run("ip", ["addr", "add", &format!("{net}.1/24"), "dev", &tag]);
        run("ip", ["link", "set", &tag, "up"]);
        fs::create_dir_all(&folder).unwrap();
        let image = image_archive();
        drop(only);

        let addresses: Vec<String> = (0..plans.len()).map(|i| format!("{net}.{}", 11 + i)).collect();
        make_certificates(&folder.join("certs"), &addresses);
        let tls = read_documents(&folder.join("certs"));
        let mut stand = Stand { hosts: Vec::new(), folder };
        for (i, (plan, ip)) in plans.iter().zip(addresses).enumerate() {
            stand.hosts.push(StandHost::prepare(&stand.folder, &tag, i, plan, ip, tls.clone()));
        }
        for host in &mut stand.hosts {
            host.spawn();
        }
        for host in &stand.hosts {
            host.wait_until_up().await;
            let image = image.to_str().unwrap();
            host.docker(&[
                "import",
                "-c",
                "ENTRYPOINT [\"/entry\"]",
                "-c",
                "ENV PATH=/usr/sbin:/usr/bin:/bin",
                image,
                IMAGE,
            ]);
        }
        stand
    }

    /// Kills the engine of host `i` and its containerd without warning; containers go on.
    pub(crate) fn kill9(&mut self, i: usize) {
        let mut engine = self.hosts[i].engine.take().expect("the engine runs");
        let children = children_of(engine.id());
        engine.kill().unwrap();
        engine.wait().unwrap();
        for child in children {
            kill(child);
        }
        // Where nobody reaps orphans, the next engine would take the dead containerd for a living one.
        let _ = fs::remove_file(self.hosts[i].folder.join("exec/containerd/containerd.pid"));
    }

    /// Starts the engine of host `i` again.
    pub(crate) async fn start(&mut self, i: usize) {
        self.hosts[i].spawn();
        self.hosts[i].wait_until_up().await;
    }

    /// Pulls the network cable of host `i`.
    pub(crate) fn cut(&self, i: usize) {
        run("ip", ["link", "set", &self.hosts[i].link, "down"]);
    }

    /// Puts the network cable of host `i` back.
    pub(crate) fn heal(&self, i: usize) {
        run("ip", ["link", "set", &self.hosts[i].link, "up"]);
    }

    /// Documents signed by an authority that no host of the stand knows.
    pub(crate) fn strange_documents(&self) -> TlsDocuments {
        let folder = self.folder.join("strange");
        make_certificates(&folder, &["127.0.0.1".to_owned()]);
        read_documents(&folder)
    }

    /// A fresh key pair: the private key's file and the public key's line.
    pub(crate) fn ssh_key(&self) -> (PathBuf, String) {
        let file = self.folder.join("login");
        if !file.exists() {
            run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "stand", "-f", file.to_str().unwrap()]);
        }
        let public = fs::read_to_string(file.with_extension("pub")).unwrap();
        (file, public.trim().to_owned())
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        tear_down(&self.folder);
        for host in &mut self.hosts {
            if let Some(engine) = &mut host.engine {
                let _ = engine.wait();
            }
        }
    }
}

impl StandHost {
    fn prepare(stand: &Path, tag: &str, i: usize, plan: &Plan, ip: String, tls: TlsDocuments) -> StandHost {
        let folder = stand.join(i.to_string());
        fs::create_dir_all(&folder).unwrap();
        let gpus: Vec<String> = (0..plan.gpus.unwrap_or(0)).map(|n| format!("GPU-{tag}-{i}-{n}")).collect();
        let list: Vec<String> = gpus.iter().map(|uuid| format!("{uuid},NVIDIA Stand-In,81559")).collect();
        fs::write(folder.join("gpus"), list.join(";")).unwrap();
        let runtime = folder.join("nvidia-container-runtime");
        fs::copy(format!("{ASSETS}/nvidia-container-runtime"), &runtime).unwrap();
        let runtimes = match plan.gpus {
            Some(_) => serde_json::json!({"nvidia": {"path": runtime}}),
            None => serde_json::json!({}),
        };
        let settings = serde_json::json!({"runtimes": runtimes, "live-restore": plan.live_restore});
        fs::write(folder.join("daemon.json"), settings.to_string()).unwrap();

        let (namespace, link) = (format!("{tag}-{i}"), format!("{tag}v{i}"));
        run("ip", ["netns", "add", &namespace]);
        run("ip", ["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &namespace]);
        run("ip", ["link", "set", &link, "master", tag, "up"]);
        run("ip", ["-n", &namespace, "addr", "add", &format!("{ip}/24"), "dev", "eth0"]);
        run("ip", ["-n", &namespace, "link", "set", "eth0", "up"]);
        run("ip", ["-n", &namespace, "link", "set", "lo", "up"]);
        let gateway = format!("{}.1", ip.rsplit_once('.').unwrap().0);
        run("ip", ["-n", &namespace, "route", "add", "default", "via", &gateway]);
        let (socket, authority) = (folder.join("docker.sock"), format!("{ip}:2376"));
        StandHost { socket, ip, authority, tls, gpus, folder, namespace, link, engine: None }
    }

    fn spawn(&mut self) {
        let _ = fs::remove_file(self.folder.join("docker.pid"));
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let certs = self.folder.parent().unwrap().join("certs");
        let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
        // `nsenter` and not `ip netns exec`: the latter mounts another /sys, which hides the control groups.
        let engine = Command::new("nsenter")
            .arg(format!("--net=/var/run/netns/{}", self.namespace))
            .arg("dockerd")
            .arg(option("config-file", &self.folder.join("daemon.json")))
            .arg(option("data-root", &self.folder.join("data")))
            .arg(option("exec-root", &self.folder.join("exec")))
            .arg(option("pidfile", &self.folder.join("docker.pid")))
            .arg(format!("--cgroup-parent=/{}", self.namespace))
            .arg(format!("--host=unix://{}", self.socket.display()))
            .arg(format!("--host=tcp://{}", self.authority))
            .arg("--tlsverify")
            .arg(option("tlscacert", &certs.join("ca.pem")))
            .arg(option("tlscert", &certs.join("server.pem")))
            .arg(option("tlskey", &certs.join("server-key.pem")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.engine = Some(engine);
    }

    async fn wait_until_up(&self) {
        let until = Instant::now() + Duration::from_secs(90);
        while !self.answers() {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "the engine {} did not start:\n{}", self.namespace, log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(&self.socket) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let asked = stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n");
        let mut answer = [0; 12];
        asked.is_ok() && stream.read_exact(&mut answer).is_ok() && answer.ends_with(b"200")
    }

    /// What the Docker client prints; the way around muster, to look at what it did.
    pub(crate) fn docker(&self, words: &[&str]) -> String {
        let host = format!("unix://{}", self.socket.display());
        run("docker", ["-H", &host].iter().chain(words))
    }
}

fn check_tools() {
    let lacking: Vec<String> = TOOLS
        .iter()
        .filter(|(tool, _)| !Command::new("which").arg(tool).output().unwrap().status.success())
        .map(|(tool, package)| format!("{tool} (Debian package {package})"))
        .collect();
    assert!(lacking.is_empty(), "these tests drive real engines and need, as root: {}", lacking.join(", "));
    assert_eq!(run("id", ["-u"]).trim(), "0", "these tests start real engines: run them as root");
}

fn run<W: AsRef<OsStr>>(tool: &str, words: impl IntoIterator<Item = W>) -> String {
    let mut command = Command::new(tool);
    let output = command.args(words).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A range of addresses that this machine does not use.
fn free_net() -> String {
    let used = run("ip", ["-4", "-o", "addr"]);
    let mut nets = (0..250).map(|n| format!("10.99.{n}"));
    nets.find(|net| !used.contains(&format!(" {net}."))).expect("a free range of addresses")
}

fn make_certificates(folder: &Path, addresses: &[String]) {
    let script = format!("{ASSETS}/certs.sh");
    run(
        "sh",
        [script.as_str(), folder.to_str().unwrap()].into_iter().chain(addresses.iter().map(String::as_str)),
    );
}

fn read_documents(folder: &Path) -> TlsDocuments {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    TlsDocuments { ca_pem: read("ca.pem"), cert_pem: read("client.pem"), key_pem: read("client-key.pem") }
}

/// The test image's root file system, made once and kept until one of its sources changes.
fn image_archive() -> PathBuf {
    let mut digest = DefaultHasher::new();
    for asset in ["gpu-mini.sh", "entry", "nvidia-smi"] {
        fs::read(format!("{ASSETS}/{asset}")).unwrap().hash(&mut digest);
    }
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let archive = cache.join(format!("gpu-mini-{:016x}.tar", digest.finish()));
    if !archive.exists() {
        let (work, fresh) = (cache.join("gpu-mini"), cache.join("gpu-mini.new"));
        let words = [Path::new(ASSETS).join("gpu-mini.sh"), ASSETS.into(), work, fresh.clone()];
        run("sh", words);
        fs::rename(fresh, &archive).unwrap();
    }
    archive
}

/// Tears down every stand whose test program is dead.
fn remove_leftovers() {
    for entry in fs::read_dir(ROOT).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(digits) = name.strip_prefix("mt") else { continue };
        let owner = u32::from_str_radix(&digits[..digits.len() - 1], 16).unwrap();
        if owner != std::process::id() && !Path::new(&format!("/proc/{owner}")).exists() {
            tear_down(&folder);
        }
    }
}

/// Ends and removes everything that belongs to the stand in `folder`; works on a half-made one too.
fn tear_down(folder: &Path) {
    let tag = folder.file_name().unwrap().to_str().unwrap();
    let quietly = |tool: &str, words: &[&str]| {
        let output = Command::new(tool).args(words).stdin(Stdio::null()).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    };
    for namespace in quietly("ip", &["netns", "list"]).lines().filter_map(|line| line.split(' ').next()) {
        if !namespace.starts_with(&format!("{tag}-")) {
            continue;
        }
        // The engine's processes share its namespace; those of its containers are children of a shim.
        let inside = || -> Vec<u32> {
            let listed = quietly("ip", &["netns", "pids", namespace]);
            listed.lines().filter_map(|pid| pid.trim().parse().ok()).collect()
        };
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let left = inside();
            for pid in left.iter().flat_map(|&pid| children_of(pid)).chain(left.iter().copied()) {
                kill(pid);
            }
            // A killed engine stays listed until its parent, which is this program, has waited for it.
            let alive = |pid: &u32| {
                fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
            };
            if !inside().iter().any(alive) || Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        quietly("ip", &["netns", "del", namespace]);
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            remove_groups(&hierarchy.path().join(namespace));
        }
        remove_groups(&Path::new("/sys/fs/cgroup").join(namespace));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mounted in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(mounted).starts_with(folder) {
            quietly("umount", &["-l", mounted]);
        }
    }
    quietly("ip", &["link", "del", tag]);
    let _ = fs::remove_dir_all(folder);
}

fn remove_groups(group: &Path) {
    for child in fs::read_dir(group).into_iter().flatten().flatten() {
        if child.path().is_dir() {
            remove_groups(&child.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// Not every kernel lists the children of a process, so all processes are asked for their parent.
fn children_of(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let child = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()?;
            (parent == pid).then_some(child)
        })
        .collect()
}

fn kill(pid: u32) {
    let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
}
