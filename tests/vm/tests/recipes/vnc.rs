//! A client of VNC (RFC 6143) over a WebSocket, as noVNC is.

use std::time::Duration;

use bhatti_testing::guest::Guest;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::picture::Picture;
use crate::tunnel::{self, Tunnel};

/// Time for the next bytes of the server.
const LIMIT: Duration = Duration::from_mins(2);
/// The security type without any.
const NO_SECURITY: u8 = 1;
/// 32 bits for a pixel, 24 of them colour, little-endian, with blue in the first byte.
const PIXELS: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];

/// A connection to a desktop.
pub(crate) struct Vnc {
    socket: WebSocketStream<DuplexStream>,
    /// Received and not yet read.
    unread: Vec<u8>,
    width: u16,
    height: u16,
    _tunnel: JoinSet<()>,
}

impl Vnc {
    /// Connects to the desktop behind the WebSocket on a port of a guest.
    pub(crate) async fn connect(guest: &Guest, port: u16) -> Self {
        let Tunnel { stream, tasks } = tunnel::connect(guest, port).await;
        let url = format!("ws://127.0.0.1:{port}/websockify");
        let mut request = url.into_client_request().expect("a URL");
        let protocol = HeaderValue::from_static("binary");
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", protocol);
        let connected = tokio_tungstenite::client_async(request, stream).await;
        let (socket, _) = connected.expect("the desktop takes a connection");
        let mut vnc = Self {
            socket,
            unread: Vec::new(),
            width: 0,
            height: 0,
            _tunnel: tasks,
        };
        vnc.begin().await;
        vnc
    }

    async fn begin(&mut self) {
        assert_eq!(self.take(12).await, b"RFB 003.008\n");
        self.send(b"RFB 003.008\n".to_vec()).await;
        let count = self.take(1).await[0];
        let kinds = self.take(usize::from(count)).await;
        assert!(kinds.contains(&NO_SECURITY), "{kinds:?}");
        self.send(vec![NO_SECURITY]).await;
        assert_eq!(self.take(4).await, [0; 4], "the server lets us in");
        // Others may stay.
        self.send(vec![1]).await;
        self.width = self.number().await;
        self.height = self.number().await;
        self.take(16).await;
        let name = self.take(4).await;
        let name = u32::from_be_bytes(name.try_into().expect("four bytes"));
        self.take(name as usize).await;
        let mut settings = vec![0, 0, 0, 0];
        settings.extend(PIXELS);
        // One encoding, and that is none.
        settings.extend([2, 0, 0, 1, 0, 0, 0, 0]);
        self.send(settings).await;
    }

    /// What the desktop shows now.
    pub(crate) async fn picture(&mut self) -> Picture {
        let (width, height) = (usize::from(self.width), usize::from(self.height));
        let mut pixels = vec![[0; 3]; width * height];
        let mut request = vec![3, 0, 0, 0, 0, 0];
        request.extend(self.width.to_be_bytes());
        request.extend(self.height.to_be_bytes());
        self.send(request).await;
        let mut missing = width * height;
        while missing > 0 {
            match self.take(1).await[0] {
                0 => {}
                // A bell.
                2 => continue,
                other => panic!("message {other}"),
            }
            self.take(1).await;
            for _ in 0..self.number().await {
                let (left, top) = (self.number().await, self.number().await);
                let (across, down) = (self.number().await, self.number().await);
                assert_eq!(self.take(4).await, [0; 4], "no encoding");
                let bytes = usize::from(across) * usize::from(down) * 4;
                let part = self.take(bytes).await;
                for (row, line) in part.chunks(usize::from(across) * 4).enumerate() {
                    let start = (usize::from(top) + row) * width + usize::from(left);
                    for (column, pixel) in line.chunks(4).enumerate() {
                        pixels[start + column] = [pixel[2], pixel[1], pixel[0]];
                    }
                }
                missing = missing.saturating_sub(bytes / 4);
            }
        }
        Picture {
            width,
            height,
            pixels,
        }
    }

    /// Types a line of ASCII.
    pub(crate) async fn type_line(&mut self, line: &str) {
        // Return is a key without a character.
        for key in line.bytes().map(u32::from).chain([0xff0d]) {
            for down in [1, 0] {
                let mut event = vec![4, down, 0, 0];
                event.extend(key.to_be_bytes());
                self.send(event).await;
            }
        }
    }

    async fn send(&mut self, bytes: Vec<u8>) {
        let sent = self.socket.send(Message::binary(bytes)).await;
        sent.expect("the desktop takes a message");
    }

    async fn number(&mut self) -> u16 {
        let bytes = self.take(2).await;
        u16::from_be_bytes(bytes.try_into().expect("two bytes"))
    }

    /// The next bytes, as many as asked for.
    async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let message = timeout(LIMIT, self.socket.next()).await;
            let message = message.expect("the desktop answers in time");
            let message = message.expect("the desktop goes on").expect("a message");
            self.unread.extend_from_slice(&message.into_data());
        }
        self.unread.drain(..count).collect()
    }
}
