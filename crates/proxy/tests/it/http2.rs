//! HTTP/2 from clients, and to the services that speak nothing else.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;

use crate::fixture::{Running, head, service, taken};

#[tokio::test]
async fn requests_of_one_http_2_connection_go_to_http_1_services_side_by_side() {
    let (proxy, listener) = Running::with_web().await;
    let io = TokioIo::new(proxy.connect().await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driven = tokio::spawn(connection);
    let ask = |path: &str| {
        Request::builder()
            .uri(format!("http://web.localhost{path}"))
            .body(Full::<Bytes>::default())
            .unwrap()
    };
    let (one, two) = (
        sender.send_request(ask("/1")),
        sender.send_request(ask("/2")),
    );
    let serve = async {
        // Both are there before either is answered.
        let mut streams = [taken(&listener).await, taken(&listener).await];
        for stream in &mut streams {
            let head = head(stream).await;
            assert!(head.contains("\r\nhost: web.localhost\r\n"), "{head}");
            let path = &head["GET ".len()..][..2];
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{path}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        streams
    };
    let (one, two, streams) = tokio::join!(one, two, serve);
    for (answer, path) in [(one, "/1"), (two, "/2")] {
        let body = answer.unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), path);
    }
    drop((sender, streams));
    driven.await.unwrap().unwrap();
    proxy.stop().await;
}

/// A gRPC service that answers a message with itself and a status in the trailers.
async fn grpc(
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    assert_eq!(request.headers()["te"], "trailers");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let frames = [Ok(Frame::data(body)), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)));
    let kind = "application/grpc".parse().unwrap();
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

#[tokio::test]
async fn a_grpc_service_is_spoken_to_in_http_2_and_its_trailers_pass() {
    let proxy = Running::start().await;
    let (listener, address) = service().await;
    proxy.sites.publish("rpc", address, |_| ());
    let served = tokio::spawn(async move {
        let stream = taken(&listener).await;
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server
            .serve_connection(TokioIo::new(stream), service_fn(grpc))
            .await;
    });
    let io = TokioIo::new(proxy.connect().await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driven = tokio::spawn(connection);
    for _ in 0..3 {
        let ask = Request::post("http://rpc.localhost/pkg.Service/Echo")
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers")
            .body(Full::new(Bytes::from_static(b"\0\0\0\0\x02hi")))
            .unwrap();
        let answer = sender.send_request(ask).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), &b"\0\0\0\0\x02hi"[..]);
    }
    drop(sender);
    driven.await.unwrap().unwrap();
    proxy.stop().await;
    served.await.unwrap();
}
