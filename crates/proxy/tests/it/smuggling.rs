//! Requests made to be understood in two ways: what reaches the service is one request, or none.
//!
//! The forms are those that the literature on request smuggling names: lengths that disagree,
//! encodings spelt oddly, line ends that only some take for such.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{Running, until_end};

/// What a request smuggles: were it taken for a request, the service would see its path.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: web.localhost\r\n\r\n";

#[tokio::test]
async fn no_request_hides_another() {
    let n = HIDDEN.len();
    let one = |headers: &str, body: &str| {
        format!("POST /seen HTTP/1.1\r\nHost: web.localhost\r\n{headers}\r\n{body}")
    };
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    let total = chunked.len();
    let corpus = [
        one(
            &format!("Content-Length: {total}\r\nTransfer-Encoding: chunked\r\n"),
            &chunked,
        ),
        one(
            &format!("Transfer-Encoding: chunked\r\nContent-Length: {total}\r\n"),
            &chunked,
        ),
        one(
            &format!("Content-Length: {n}\r\nContent-Length: 0\r\n"),
            HIDDEN,
        ),
        one(&format!("Content-Length: 0, {n}\r\n"), HIDDEN),
        one(&format!("Content-Length: +{n}\r\n"), HIDDEN),
        one(&format!("Content-Length: 0x{n:x}\r\n"), HIDDEN),
        one(&format!("Content-Length : {n}\r\n"), HIDDEN),
        one(
            &format!("Content-Length: {n}\r\nTransfer-Encoding: identity\r\n"),
            HIDDEN,
        ),
        one(
            &format!("Content-Length: {n}\r\nTransfer-Encoding: xchunked\r\n"),
            HIDDEN,
        ),
        one("Transfer-Encoding: chunked, identity\r\n", &chunked),
        one("Transfer-Encoding: identity, chunked\r\n", &chunked),
        one(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
            &chunked,
        ),
        one("Transfer-Encoding : chunked\r\n", &chunked),
        one("Transfer-Encoding:\x0bchunked\r\n", &chunked),
        one("Transfer-Encoding: \"chunked\"\r\n", &chunked),
        one(" Transfer-Encoding: chunked\r\n", &chunked),
        one("X: y\r\n Transfer-Encoding: chunked\r\n", &chunked),
        one("X: y\rTransfer-Encoding: chunked\r\n", &chunked),
        one("X: y\nTransfer-Encoding: chunked\r\n", &chunked),
        one(&format!("Content-Length: {n}\nX: y\r\n"), HIDDEN),
        one(
            "Transfer-Encoding: chunked\r\n",
            &format!("0;a=\r\nb\r\n\r\n{HIDDEN}"),
        ),
        one("Transfer-Encoding: chunked\r\n", &format!("0\n\n{HIDDEN}")),
        one(
            "Transfer-Encoding: chunked\r\n",
            &format!("{:x}\r\n", u128::from(u64::MAX) + 1),
        ),
        one("Transfer-Encoding: chunked\r\n", &format!("-1\r\n{HIDDEN}")),
        one(
            "Connection: content-length\r\nContent-Length: 5\r\n",
            "GET /",
        ),
        format!("GET /seen HTTP/1.1\r\nHost: web.localhost\r\nX: a\0b\r\n\r\n{HIDDEN}"),
        format!("GET /seen HTTP/1.1\r\n{HIDDEN}"),
        format!("GET /seen\r\n{HIDDEN}"),
        "GET  /seen HTTP/1.1\r\nHost: web.localhost\r\n\r\n".to_owned(),
        "GET /se\ten HTTP/1.1\r\nHost: web.localhost\r\n\r\n".to_owned(),
        "GET /seen HTTP/1.1\r\nHost: web.localhost/../x\r\n\r\n".to_owned(),
        "GET http://a@web.localhost/seen HTTP/1.1\r\nHost: other.localhost\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ];
    let plain = one("Content-Length: 2\r\n", "ok");
    let (seen, answer) = told(&plain).await;
    assert!(
        seen.contains("POST /seen"),
        "what is plain passes: {seen:?}"
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    for (number, attack) in corpus.iter().enumerate() {
        let (seen, answer) = told(attack).await;
        // The hidden request may come as a request of its own, for a client may send several;
        // never as a part of another that the proxy took for something else.
        for head in heads(&seen) {
            assert!(
                head.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"),
                "{number}: {attack:?} reached the service as {seen:?}, answered {answer:?}"
            );
        }
    }
}

/// Sends bytes through a proxy; gives what its service saw and what the client was answered.
async fn told(attack: &str) -> (String, String) {
    let (proxy, listener) = Running::with_web().await;
    // The service answers each head it sees and remembers all bytes.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let remembered = Arc::clone(&seen);
    let serve = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let remembered = Arc::clone(&remembered);
            tokio::spawn(async move {
                let mut chunk = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut chunk).await {
                    remembered.lock().unwrap().extend_from_slice(&chunk[..read]);
                    if chunk[..read].windows(4).any(|end| end == b"\r\n\r\n") {
                        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                        let _ = stream.write_all(ok).await;
                    }
                }
            });
        }
    });
    let mut client = proxy.connect().await;
    // One that is refused at once may be closed while it is still being written.
    let _ = client.write_all(attack.as_bytes()).await;
    let _ = client.shutdown().await;
    let answer = until_end(&mut client).await;
    proxy.stop().await;
    serve.abort();
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    (seen, answer)
}

/// The heads of the requests in what a service saw, as the strictest of services reads it.
fn heads(mut seen: &str) -> Vec<&str> {
    let mut heads = Vec::new();
    while let Some(end) = seen.find("\r\n\r\n") {
        let (head, rest) = seen.split_at(end + 4);
        heads.push(head);
        let field = |name: &str| {
            let mut lines = head.lines();
            lines.find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix(name)
                    .map(str::to_owned)
            })
        };
        let body = match (field("transfer-encoding: "), field("content-length: ")) {
            (Some(coding), length) => {
                assert_eq!((coding.as_str(), length), ("chunked", None), "{head}");
                rest.find("0\r\n\r\n").map_or(rest.len(), |end| end + 5)
            }
            (None, Some(length)) => length.parse().unwrap(),
            (None, None) => 0,
        };
        seen = rest.get(body..).unwrap_or("");
    }
    heads
}
