//! HTTP/1.1 to a service that a test plays by hand.

use std::sync::atomic::Ordering;

use bhatti_proxy::limits::Rates;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{Running, TOKEN, answered, head, service, taken, until_end};

#[tokio::test]
async fn a_request_and_its_answer_pass_with_what_the_proxy_adds() {
    let (proxy, listener) = Running::with_web().await;
    let asked = "GET /a%20b?c HTTP/1.1\r\nHost: web.sb.example.com\r\nX-Forwarded-For: 1.2.3.4\r\n\
                 Connection: close\r\n\r\n";
    let client = proxy.talk(asked);
    let serve = async {
        let mut stream = taken(&listener).await;
        let head = head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 418 Teapot\r\nX-Mine: 1\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
        (head, stream)
    };
    let (answer, (head, _stream)) = tokio::join!(client, serve);
    assert!(head.starts_with("GET /a%20b?c HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    for line in [
        "host: web.sb.example.com",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: web.sb.example.com",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    assert!(!head.contains("1.2.3.4"), "{head}");
    assert!(answer.starts_with("HTTP/1.1 418 "), "{answer}");
    assert!(
        answer.to_ascii_lowercase().contains("x-mine: 1"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    proxy.stop().await;
}

#[tokio::test]
async fn an_alias_in_the_path_is_cut_off_and_told() {
    let (proxy, listener) = Running::with_web().await;
    let moved = proxy.talk("GET /web?x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let moved = moved.await;
    assert!(moved.starts_with("HTTP/1.1 308 "), "{moved}");
    assert!(moved.contains("location: /web/?x\r\n"), "{moved}");
    let asked = "GET /web/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (answer, head) = tokio::join!(proxy.talk(asked), answered(&listener));
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(head.starts_with("GET /a HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("x-forwarded-prefix: /web\r\n"), "{head}");
    proxy.stop().await;
}

#[tokio::test]
async fn bodies_pass_in_pieces_as_they_come_both_ways_with_trailers() {
    let (proxy, listener) = Running::with_web().await;
    let mut client = proxy.connect().await;
    client
        .write_all(
            b"POST / HTTP/1.1\r\nHost: web.localhost\r\nTE: trailers\r\n\
              Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n",
        )
        .await
        .unwrap();
    let mut served = taken(&listener).await;
    let _head = head(&mut served).await;
    let mut chunk = [0; 8];
    served.read_exact(&mut chunk).await.unwrap();
    assert_eq!(
        &chunk, b"3\r\none\r\n",
        "the first piece came before the second was sent"
    );
    served
        .write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\nfour\r\n",
        )
        .await
        .unwrap();
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut chunk = [0; 9];
    client.read_exact(&mut chunk).await.unwrap();
    assert_eq!(&chunk, b"4\r\nfour\r\n");
    client.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    let mut rest = [0; 13];
    served.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"3\r\ntwo\r\n0\r\n\r\n");
    served.write_all(b"0\r\nX-Sum: 9\r\n\r\n").await.unwrap();
    let mut rest = vec![0; b"0\r\nx-sum: 9\r\n\r\n".len()];
    client.read_exact(&mut rest).await.unwrap();
    let rest = String::from_utf8(rest).unwrap().to_ascii_lowercase();
    assert_eq!(rest, "0\r\nx-sum: 9\r\n\r\n");
    drop((client, served));
    proxy.stop().await;
}

#[tokio::test]
async fn a_body_is_asked_for_only_once_there_is_a_service_for_it() {
    let (proxy, listener) = Running::with_web().await;
    let mut client = proxy.connect().await;
    client
        .write_all(
            b"POST / HTTP/1.1\r\nHost: web.localhost\r\nExpect: 100-continue\r\n\
              Content-Length: 4\r\n\r\n",
        )
        .await
        .unwrap();
    let mut served = taken(&listener).await;
    let _head = head(&mut served).await;
    assert_eq!(head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").await.unwrap();
    let mut body = [0; 4];
    served.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"body");
    served
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 204"));
    drop((client, served));
    proxy.stop().await;
}

#[tokio::test]
async fn a_service_is_asked_again_over_the_same_connection_and_over_a_new_one_if_it_closed_that() {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (proxy, listener) = Running::with_web().await;
    let mut client = proxy.connect().await;
    let ask = b"GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n";
    client.write_all(ask).await.unwrap();
    let mut served = taken(&listener).await;
    for _ in 0..2 {
        let _head = head(&mut served).await;
        served.write_all(OK).await.unwrap();
        let _head = head(&mut client).await;
        // Given back once its answer has been read; the lease goes with the answer.
        proxy.leases(0).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        client.write_all(ask).await.unwrap();
    }
    assert_eq!(proxy.sites.connects.load(Ordering::SeqCst), 1);
    // It takes the third request and closes without an answer, as a service does whose time for
    // idle connections is over.
    let _head = head(&mut served).await;
    drop(served);
    let mut served = taken(&listener).await;
    let _head = head(&mut served).await;
    served.write_all(OK).await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200"));
    assert_eq!(proxy.sites.connects.load(Ordering::SeqCst), 2);
    drop((client, served));
    proxy.stop().await;
}

#[tokio::test]
async fn a_request_that_may_not_be_repeated_is_not() {
    let (proxy, listener) = Running::with_web().await;
    let asked = "POST / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 1\r\n\
                 Connection: close\r\n\r\nx";
    let serve = async {
        let mut stream = taken(&listener).await;
        let _head = head(&mut stream).await;
        drop(stream);
    };
    let (answer, ()) = tokio::join!(proxy.talk(asked), serve);
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(proxy.sites.connects.load(Ordering::SeqCst), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_said_so() {
    let proxy = Running::start().await;
    let (listener, address) = service().await;
    proxy.sites.publish("down", address, |_| ());
    drop(listener);
    for (host, status) in [
        ("Host: down.localhost\r\n", 502),
        ("Host: other.localhost\r\n", 404),
        ("Host: other.example.net\r\n", 404),
        ("", 400),
        ("Host: a\r\nHost: b\r\n", 400),
    ] {
        let asked = format!("GET / HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        let answer = proxy.talk(&asked).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{host:?}: {answer}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_private_site_lets_in_its_owner_and_does_not_show_the_token_to_the_service() {
    let proxy = Running::start().await;
    let (listener, address) = service().await;
    proxy
        .sites
        .publish("own", address, |site| site.private = true);
    for wrong in ["", "Authorization: Bearer bht_other_1\r\n"] {
        let asked =
            format!("GET / HTTP/1.1\r\nHost: own.localhost\r\n{wrong}Connection: close\r\n\r\n");
        let answer = proxy.talk(&asked).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(answer.contains("www-authenticate: Basic "), "{answer}");
    }
    let asked = format!(
        "GET / HTTP/1.1\r\nHost: own.localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: close\r\n\r\n"
    );
    let (answer, head) = tokio::join!(proxy.talk(&asked), answered(&listener));
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(!head.contains(TOKEN), "{head}");
    proxy.stop().await;
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_ask_again() {
    let rates = Rates {
        client: (1, 2),
        ..Rates::default()
    };
    let proxy = Running::with_rates(Some(rates)).await;
    let ask = "GET / HTTP/1.1\r\nHost: x.localhost\r\nConnection: close\r\n\r\n";
    for _ in 0..2 {
        assert!(proxy.talk(ask).await.starts_with("HTTP/1.1 404 "));
    }
    let answer = proxy.talk(ask).await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("retry-after: "), "{answer}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_of_an_answer_lets_the_machine_go() {
    let (proxy, listener) = Running::with_web().await;
    let mut client = proxy.connect().await;
    client
        .write_all(b"GET /events HTTP/1.1\r\nHost: web.localhost\r\n\r\n")
        .await
        .unwrap();
    let mut served = taken(&listener).await;
    let _head = head(&mut served).await;
    served
        .write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
              Transfer-Encoding: chunked\r\n\r\n6\r\ndata:1\r\n",
        )
        .await
        .unwrap();
    let _head = head(&mut client).await;
    proxy.leases(1).await;
    drop(client);
    // Noticed by what is sent to it, or by the host's question whether it is there.
    let sending = async {
        while served.write_all(b"6\r\ndata:2\r\n").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::join!(proxy.leases(0), sending);
    assert_eq!(until_end(&mut served).await, "");
    proxy.stop().await;
}
