//! A desk to sit at: a home folder of its own, the binary, and a server that answers from a list.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

/// An answer that the server gives.
pub(crate) struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Answer {
    /// A JSON body.
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self { status, headers: "content-type: application/json\r\n".into(), body: body.into() }
    }

    /// One more header.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }
}

/// A desk.
pub(crate) struct Desk {
    home: tempfile::TempDir,
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Desk {
    /// A desk without a server.
    pub(crate) fn alone() -> Self {
        Self { home: tempfile::tempdir().unwrap(), url: String::new(), asked: Arc::default() }
    }

    /// A desk with a server that gives these answers, one a request.
    pub(crate) fn with(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut desk = Self::alone();
        desk.url = format!("http://{}", listener.local_addr().unwrap());
        let (answers, asked) = (answers.into_iter().collect::<Vec<_>>(), Arc::clone(&desk.asked));
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let request = request_read(&stream);
                asked.lock().unwrap().push(request);
                let Answer { status, headers, body } = answer;
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n");
                stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).unwrap();
            }
        });
        desk
    }

    /// The home folder.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The server's URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What the server was asked: request line, headers, body.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Runs the binary and shows exit code and both outputs.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.run_with_input(arguments, "")
    }

    /// Runs the binary with something on standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> String {
        shown(&self.child(arguments, input))
    }

    /// Runs the binary.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.child(arguments, "")
    }

    /// Runs the binary with something on standard input.
    pub(crate) fn output_with_input(&self, arguments: &[&str], input: &str) -> Output {
        self.child(arguments, input)
    }

    fn child(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.args(arguments).env_clear().env("HOME", self.home()).current_dir(self.home());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }
}

fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let code = output.status.code().unwrap();
    format!("exit {code}\n--- stdout\n{}--- stderr\n{}", text(&output.stdout), text(&output.stderr))
}

fn request_read(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        request += &line;
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    request + &String::from_utf8(body).unwrap()
}
