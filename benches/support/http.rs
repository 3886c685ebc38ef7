//! A small HTTP/1.1 client that keeps its connection, and a load of eight of them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use muster::{
    chance::SystemChance,
    ids::{Id, RequestId},
    time::{Clock, SystemClock},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// Connections of a load.
pub(crate) const CONNECTIONS: usize = 8;

/// One connection.
pub(crate) struct Client<S> {
    stream: S,
    received: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, received: Vec::with_capacity(16 << 10) }
    }

    /// Asks, and gives the JSON of the answer.
    pub(crate) async fn json(&mut self, request: &[u8]) -> Value {
        let body = self.ask(request).await;
        if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() }
    }

    /// Sends the bytes of a request and reads the whole answer, which has to be a success.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.write_all(request).await.unwrap();
        let end = self.receive_until(b"\r\n\r\n").await;
        let head = String::from_utf8_lossy(&self.received[..end]).to_ascii_lowercase();
        self.received.drain(..end + 4);
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let body = if field("transfer-encoding:") == Some("chunked") {
            self.chunks().await
        } else {
            let length = field("content-length:").map_or(0, |text| text.parse().unwrap());
            self.take(length).await
        };
        let said = || (String::from_utf8_lossy(request), String::from_utf8_lossy(&body));
        assert!((200..300).contains(&status), "{status}: {:?}", said());
        body
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let end = self.receive_until(b"\r\n").await;
            let line = self.take(end + 2).await;
            let length = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
            body.extend(self.take(length).await);
            self.take(2).await;
            if length == 0 {
                return body;
            }
        }
    }

    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.received.len() < length {
            self.receive().await;
        }
        self.received.drain(..length).collect()
    }

    async fn receive_until(&mut self, mark: &[u8]) -> usize {
        loop {
            if let Some(at) = self.received.windows(mark.len()).position(|window| window == mark) {
                return at;
            }
            self.receive().await;
        }
    }

    async fn receive(&mut self) {
        let count = self.stream.read_buf(&mut self.received).await.unwrap();
        assert!(count > 0, "the server closed the connection");
    }
}

/// A connection over TCP that sends at once.
pub(crate) async fn connect(address: SocketAddr) -> Client<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    Client::new(stream)
}

/// The bytes of a request; `token` may be empty.
pub(crate) fn request(method: &str, path: &str, token: &str, body: Option<&Value>) -> Vec<u8> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: bench\r\n");
    if !token.is_empty() {
        text += &format!("Authorization: Bearer {token}\r\n");
    }
    if method == "POST" {
        let key = RequestId::fresh(SystemClock.now(), &SystemChance);
        let length = body.len();
        text += &format!(
            "Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
        );
    }
    (text + "\r\n" + &body).into_bytes()
}

/// Successful answers a second to the same request on all connections, for `time`.
pub(crate) async fn load(address: SocketAddr, request: &[u8], time: Duration) -> f64 {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = connect(address).await;
        client.ask(request).await;
        clients.push(client);
    }
    let (mut tasks, began) = (JoinSet::new(), Instant::now());
    for mut client in clients {
        let request = request.to_vec();
        tasks.spawn(async move {
            let mut answers = 0u32;
            while began.elapsed() < time {
                client.ask(&request).await;
                answers += 1;
            }
            answers
        });
    }
    let answers: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(answers) / began.elapsed().as_secs_f64()
}
