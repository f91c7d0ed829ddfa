//! `browser`: Chromium driven over its debugging port.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bhatti_testing::guest::Guest;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::machine::{Machine, START_LIMIT, artifact};
use crate::picture::Picture;
use crate::tunnel::{self, Tunnel};

/// The debugging port.
const PORT: u16 = 9222;
/// A page of two colours and a sum that a script makes.
const PAGE: &str = "<!doctype html><title>before</title>\
    <style>body { margin: 0; background: #c0392b } div { height: 100px; background: #2980b9 }\
    </style><div></div><h1>A page</h1>\
    <script>document.title = [1, 2, 3].reduce((a, b) => a + b)</script>";

/// One page of the browser, as its debugging protocol has it.
struct Page {
    socket: WebSocketStream<DuplexStream>,
    calls: u64,
    _tunnel: JoinSet<()>,
}

impl Page {
    /// Connects to the page with this id.
    async fn connect(guest: &Guest, id: &str) -> Self {
        let Tunnel { stream, tasks } = tunnel::connect(guest, PORT).await;
        let url = format!("ws://127.0.0.1:{PORT}/devtools/page/{id}");
        let connected = tokio_tungstenite::client_async(url, stream).await;
        let (socket, _) = connected.expect("the browser takes a connection");
        Self {
            socket,
            calls: 0,
            _tunnel: tasks,
        }
    }

    /// Calls a method and waits for its result.
    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let call = json!({"id": self.calls, "method": method, "params": params});
        let sent = self.socket.send(Message::text(call.to_string())).await;
        sent.expect("the browser takes a call");
        let id = self.calls;
        let answer = self.until(method, |said| said["id"] == id).await;
        assert_eq!(answer["error"], Value::Null, "{method}");
        answer["result"].clone()
    }

    /// Waits for something that the browser says.
    async fn until(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let message = self.socket.next().await;
                let message = message.expect("the browser goes on").expect("a message");
                if let Ok(said) = serde_json::from_slice::<Value>(&message.into_data())
                    && is(&said)
                {
                    return said;
                }
            }
        };
        let said = timeout(START_LIMIT, wait).await;
        said.unwrap_or_else(|_| panic!("{what} did not come"))
    }

    /// The value of a piece of JavaScript.
    async fn value(&mut self, script: &str) -> Value {
        let params = json!({"expression": script, "returnByValue": true});
        let told = self.call("Runtime.evaluate", params).await;
        told["result"]["value"].clone()
    }
}

#[tokio::test]
async fn a_page_is_rendered_and_photographed_and_sleeps_with_its_machine() {
    let machine = Machine::start("browser", 1024).await;
    machine.write("page.html", PAGE).await;
    machine
        .spawn(None, &["python3", "-m", "http.server", "8000"])
        .await;
    machine.spawn(None, &["browser"]).await;
    machine
        .wait_for("curl -sf http://127.0.0.1:8000/page.html")
        .await;
    let told = machine
        .wait_for("curl -sf -X PUT 'http://127.0.0.1:9222/json/new?about:blank'")
        .await;
    let target: Value = serde_json::from_str(&told).expect("the browser describes its page");
    let id = target["id"].as_str().expect("a page has an id");

    let mut page = Page::connect(&machine.guest, id).await;
    page.call("Page.enable", json!({})).await;
    let size = json!({"width": 640, "height": 480, "deviceScaleFactor": 1, "mobile": false});
    page.call("Emulation.setDeviceMetricsOverride", size).await;
    let url = json!({"url": "http://127.0.0.1:8000/page.html"});
    page.call("Page.navigate", url).await;
    let is_loaded = |said: &Value| said["method"] == "Page.loadEventFired";
    page.until("the page", is_loaded).await;
    assert_eq!(page.value("document.title").await, "6");

    let shot = page.call("Page.captureScreenshot", json!({})).await;
    let shot = shot["data"].as_str().expect("a picture");
    let shot = STANDARD.decode(shot).expect("base64");
    fs_err::write(artifact("browser.png"), &shot).expect("the picture is kept");
    let picture = Picture::from_png(&shot);
    assert_eq!((picture.width, picture.height), (640, 480));
    assert_eq!(picture.at(320, 50), [0x29, 0x80, 0xb9]);
    assert_eq!(picture.at(320, 400), [0xc0, 0x39, 0x2b]);
    assert!(picture.colours() > 8, "the heading's letters have edges");

    // What the page knows is still there after a sleep.
    page.value("window.known = 6 * 7").await;
    drop(page);
    machine.sleep().await;
    let mut page = Page::connect(&machine.guest, id).await;
    assert_eq!(page.value("window.known").await, 42);
    // It runs as the image's user, so the browser's own sandbox is there too.
    let told = machine
        .sh("pgrep -a chromium | grep -c no-sandbox || true")
        .await;
    assert_eq!(told, "0");
}
