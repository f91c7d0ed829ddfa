//! A token server, as registries have them: gives out tokens that a registry verifies by a
//! certificate.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bhatti_host::command::Command;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::server::Auth;
use crate::artifacts::test_dir;

/// Whom it knows.
pub const CREDENTIALS: &str = "tom:sesame";

/// A token server. It ends when this is dropped.
#[derive(Debug)]
pub struct TokenServer {
    /// Where it is.
    pub realm: String,
    /// The certificate by which its tokens are verified, in PEM.
    pub certificate: String,
    _dir: TempDir,
    _task: JoinSet<()>,
}

impl TokenServer {
    /// What makes a registry let in those with a token of this server's.
    pub fn auth(&self) -> Auth {
        Auth::Token {
            realm: self.realm.clone(),
            certificate: self.certificate.clone(),
        }
    }

    /// Starts one, with a key of its own.
    ///
    /// # Panics
    /// If `openssl` is not there or there is no port.
    pub async fn start() -> Self {
        let dir = test_dir();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=test", "-keyout", &path("key.pem")])
            .args(["-out", &path("certificate.pem")]);
        made.run().await.expect("openssl makes a key");
        let certificate = fs_err::read_to_string(dir.path().join("certificate.pem"))
            .expect("the certificate is there");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("it is bound");
        let (root, chain) = (dir.path().to_owned(), certificate.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                answer(client, &root, &chain).await;
            }
        });
        Self {
            realm: format!("http://{host}/token"),
            certificate,
            _dir: dir,
            _task: task,
        }
    }
}

/// Answers one request. What fails is the client's business: it gets no answer.
async fn answer(mut client: TcpStream, root: &Path, certificate: &str) {
    let mut head = vec![0; 16 << 10];
    let Ok(count) = client.read(&mut head).await else {
        return;
    };
    let head = String::from_utf8_lossy(&head[..count]).into_owned();
    let known = format!("authorization: basic {}", STANDARD.encode(CREDENTIALS));
    let lower = head.to_ascii_lowercase();
    let knows = lower.contains(&known.to_ascii_lowercase());
    let reply = if knows {
        let token = token(&head, root, certificate).await;
        let body = json!({ "token": token }).to_string();
        format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    } else {
        "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned()
    };
    drop(client.write_all(reply.as_bytes()).await);
}

/// A token for what the request's `scope` asks for.
async fn token(head: &str, root: &Path, certificate: &str) -> String {
    let query = head.split_whitespace().nth(1).unwrap_or_default();
    let scope = query
        .split(['?', '&'])
        .find_map(|field| field.strip_prefix("scope="))
        .unwrap_or_default()
        .replace("%3A", ":")
        .replace("%2F", "/")
        .replace("%2C", ",");
    let parts: Vec<_> = scope.split(':').collect();
    let access = match parts.as_slice() {
        [kind, name, actions] => json!([{
            "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>(),
        }]),
        _ => json!([]),
    };
    let chain: String = certificate
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [chain]});
    let claims = json!({
        "iss": "test", "sub": "tom", "aud": "test", "jti": "1",
        "nbf": 1, "iat": 1, "exp": 4_000_000_000_u32, "access": access,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    let file = root.join("to-sign");
    fs_err::write(&file, &text).expect("the token is written");
    let sign = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(root.join("key.pem"))
        .arg(&file);
    let signed = sign.run().await.expect("openssl signs").stdout;
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(raw(&signed)))
}

/// The two numbers of a signature, as tokens have them (RFC 7518, 3.4), out of the DER that
/// openssl writes.
fn raw(der: &[u8]) -> Vec<u8> {
    let mut numbers = Vec::new();
    let mut at = 2;
    for _ in 0..2 {
        let len = usize::from(der[at + 1]);
        let number = &der[at + 2..at + 2 + len];
        let digits = number.strip_prefix(&[0]).unwrap_or(number);
        numbers.extend(std::iter::repeat_n(0, 32 - digits.len()));
        numbers.extend_from_slice(digits);
        at += 2 + len;
    }
    numbers
}
