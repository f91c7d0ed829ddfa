//! Which headers pass through, and what is added. Pure.

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{Method, StatusCode, Version};

/// Headers that are about one connection and never pass (RFC 9110, 7.6.1), besides those that
/// `Connection` names.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// Headers by which a proxy tells who asked. What a client says of itself there is not believed.
const TOLD_BY_PROXIES: [HeaderName; 7] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// Who asks, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The client's address.
    pub client: IpAddr,
    /// Whether it asked over TLS.
    pub tls: bool,
    /// The host it asked for, as it wrote it.
    pub host: HeaderValue,
    /// What was cut off the path.
    pub prefix: Option<String>,
}

/// Makes a request's headers those that the service gets. Gives the protocol that the client wants
/// to change to, if it asks for that.
pub fn for_service(
    headers: &mut HeaderMap,
    asked: &Asked,
    version: Version,
) -> Option<HeaderValue> {
    let upgrade = wanted_upgrade(headers, version);
    // The only transfer that a client may speak of: without it a service sends no trailers.
    let trailers = headers.get_all(TE).iter().any(|te| {
        te.to_str().is_ok_and(|te| {
            te.split(',')
                .any(|word| word.trim().eq_ignore_ascii_case("trailers"))
        })
    });
    remove_hop_by_hop(headers);
    for name in &TOLD_BY_PROXIES {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = &upgrade {
        headers.insert(UPGRADE, protocol.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    headers.insert(HOST, asked.host.clone());
    let text = |text: String| HeaderValue::try_from(text).ok();
    let proto = if asked.tls { "https" } else { "http" };
    let told = [
        (
            "x-forwarded-for",
            text(asked.client.to_canonical().to_string()),
        ),
        ("x-forwarded-host", Some(asked.host.clone())),
        ("x-forwarded-proto", Some(HeaderValue::from_static(proto))),
        ("x-forwarded-prefix", asked.prefix.clone().and_then(text)),
    ];
    for (name, value) in told {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    upgrade
}

/// Takes off what a private site's guard was shown: it is no business of the service's.
pub fn without_credentials(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
}

/// Makes an answer's headers those that the client gets. The protocol's change, if it is one, is
/// kept.
pub fn for_client(headers: &mut HeaderMap, status: StatusCode) {
    let upgrade = headers.get(UPGRADE).cloned();
    let trailer = headers.get(TRAILER).cloned();
    remove_hop_by_hop(headers);
    if let Some(trailer) = trailer {
        headers.insert(TRAILER, trailer);
    }
    if status == StatusCode::SWITCHING_PROTOCOLS
        && let Some(protocol) = upgrade
    {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    headers.append(VIA, HeaderValue::from_static("1.1 bhatti"));
}

/// The protocol that a request asks to change to, as only HTTP/1.1 can.
fn wanted_upgrade(headers: &HeaderMap, version: Version) -> Option<HeaderValue> {
    let says_so = headers.get_all(CONNECTION).iter().any(|value| {
        value.to_str().is_ok_and(|value| {
            value
                .split(',')
                .any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
        })
    });
    let protocol = headers
        .get(UPGRADE)
        .filter(|_| says_so && version == Version::HTTP_11)?;
    // h2c would hide what follows from everything here.
    (!protocol.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| protocol.clone())
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|word| word.trim().parse().ok())
        // Nobody's to drop: the service would see another request than the proxy.
        .filter(|name| *name != HOST && *name != http::header::CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Whether a request is one of gRPC's, whose services speak HTTP/2 only.
pub fn is_grpc(method: &Method, headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE);
    *method == Method::POST
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod test {
    use http::header::{HeaderMap, HeaderName, HeaderValue};
    use http::{StatusCode, Version};

    use super::{Asked, for_client, for_service};

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                let name: HeaderName = name.parse().unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn asked() -> Asked {
        Asked {
            client: "::ffff:192.0.2.7".parse().unwrap(),
            tls: true,
            host: HeaderValue::from_static("web.example.com"),
            prefix: Some("/web".to_owned()),
        }
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn who_asked_is_told_by_the_proxy_alone() {
        let mut given = headers(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("cookie", "a=b"),
        ]);
        assert_eq!(for_service(&mut given, &asked(), Version::HTTP_11), None);
        assert_eq!(
            shown(&given),
            [
                "cookie: a=b",
                "host: web.example.com",
                "x-forwarded-for: 192.0.2.7",
                "x-forwarded-host: web.example.com",
                "x-forwarded-prefix: /web",
                "x-forwarded-proto: https",
            ]
        );
    }

    #[test]
    fn what_is_about_the_connection_stays_with_it() {
        let mut given = headers(&[
            ("connection", "keep-alive, X-Secret, host"),
            ("keep-alive", "timeout=5"),
            ("x-secret", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "gzip, trailers"),
            ("upgrade", "websocket"),
        ]);
        // Without `Connection: upgrade` nobody asked for one.
        assert_eq!(for_service(&mut given, &asked(), Version::HTTP_11), None);
        let given = shown(&given);
        assert!(given.contains(&"te: trailers".to_owned()), "{given:?}");
        assert!(given.contains(&"host: web.example.com".to_owned()));
        let left = [
            "keep-alive",
            "x-secret",
            "transfer-encoding",
            "upgrade",
            "connection",
        ];
        for name in left {
            assert!(!given.iter().any(|line| line.starts_with(name)), "{name}");
        }
    }

    #[test]
    fn only_http_1_can_ask_for_another_protocol_and_never_for_h2c() {
        let ask = |protocol: &str, version| {
            let mut given = headers(&[("connection", "Upgrade"), ("upgrade", protocol)]);
            for_service(&mut given, &asked(), version)
        };
        assert!(ask("websocket", Version::HTTP_11).is_some());
        assert!(ask("websocket", Version::HTTP_10).is_none());
        assert!(ask("websocket", Version::HTTP_2).is_none());
        assert!(ask("H2C", Version::HTTP_11).is_none());
    }

    #[test]
    fn an_answer_keeps_its_change_of_protocol_only_if_it_is_one() {
        let lines = [("connection", "upgrade"), ("upgrade", "websocket")];
        let mut given = headers(&lines);
        for_client(&mut given, StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(given.len(), 3);
        let mut given = headers(&lines);
        for_client(&mut given, StatusCode::OK);
        assert_eq!(shown(&given), ["via: 1.1 bhatti"]);
    }
}
