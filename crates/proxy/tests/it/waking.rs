//! Requests to machines that sleep.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::fixture::{Running, head, taken};

#[tokio::test]
async fn a_browser_sees_another_page_meanwhile_and_a_program_waits() {
    let (proxy, listener) = Running::with_web().await;
    proxy.sites.asleep.store(true, Ordering::SeqCst);
    let ask = |accept: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: web.localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        )
    };
    let (browser, program) = (ask("text/html,*/*;q=0.8"), ask("*/*"));
    let watching = async {
        let answer = proxy.talk(&browser).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        assert!(answer.contains("http-equiv=\"refresh\""), "{answer}");
        proxy.sites.let_wake();
        let mut stream = taken(&listener).await;
        let _head = head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
        stream
    };
    let (answer, _stream) = tokio::join!(proxy.talk(&program), watching);
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_body_sent_to_a_machine_that_sleeps_is_not_lost() {
    const LEN: usize = 3 << 20;
    let (proxy, listener) = Running::with_web().await;
    proxy.sites.asleep.store(true, Ordering::SeqCst);
    let mut requests = JoinSet::new();
    for number in 0..20_u8 {
        let mut client = proxy.connect().await;
        requests.spawn(async move {
            let asked =
                format!("POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: {LEN}\r\n\r\n");
            client.write_all(asked.as_bytes()).await.unwrap();
            client.write_all(&vec![number; LEN]).await.unwrap();
            let answer = head(&mut client).await;
            assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        });
    }
    proxy.sites.let_wake();
    let mut seen = [false; 20];
    for _ in 0..20 {
        let mut stream = taken(&listener).await;
        let _head = head(&mut stream).await;
        let mut body = vec![0; LEN];
        stream.read_exact(&mut body).await.unwrap();
        assert!(body.iter().all(|byte| *byte == body[0]));
        seen[usize::from(body[0])] = true;
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    assert_eq!(seen, [true; 20]);
    proxy.stop().await;
}
