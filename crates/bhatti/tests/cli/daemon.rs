//! A daemon that gives the answers a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::stage;

/// A request as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// `POST /sandboxes`.
    pub(crate) line: String,
    /// Header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What a connection is to the stage.
pub(crate) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// The daemon. Ends with its owner.
pub(crate) struct Daemon {
    address: Address,
    requests: Receiver<Request>,
    go_on: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

enum Address {
    Unix(PathBuf),
    Tcp(u16),
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// What the one who wants the daemon gone says.
const STOP: &[u8] = b"stop\r\n\r\n";

impl Daemon {
    /// Listens on a unix socket.
    pub(crate) fn unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        Self::start(Address::Unix(path.to_owned()), Listener::Unix(listener))
    }

    /// Listens on a port of its own.
    pub(crate) fn tcp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::start(Address::Tcp(port), Listener::Tcp(listener))
    }

    fn start(address: Address, listener: Listener) -> Self {
        let (sender, requests) = channel();
        let (go_on, gate) = channel();
        let thread = std::thread::spawn(move || serve(&listener, &sender, &gate));
        Self {
            address,
            requests,
            go_on,
            thread: Some(thread),
        }
    }

    /// The port of a daemon on TCP.
    pub(crate) fn port(&self) -> u16 {
        match self.address {
            Address::Tcp(port) => port,
            Address::Unix(_) => panic!("this one has no port"),
        }
    }

    /// Lets the answer about something slow go out.
    pub(crate) fn go_on(&self) {
        self.go_on.send(()).unwrap();
    }

    /// The requests since the last time, oldest first.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }

    fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match &self.address {
            Address::Unix(path) => Box::new(UnixStream::connect(path)?),
            Address::Tcp(port) => Box::new(std::net::TcpStream::connect(("127.0.0.1", *port))?),
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A connection that still waits for this would keep the thread for ever.
        let _ = self.go_on.send(());
        let said = self.connect().and_then(|mut stream| stream.write_all(STOP));
        let thread = self.thread.take().unwrap();
        // After a panic of the thread there is nobody to hear it.
        assert!(said.is_ok() || thread.is_finished());
        assert!(thread.join().is_ok() || std::thread::panicking());
    }
}

/// One connection after the other: the program has one at a time.
fn serve(listener: &Listener, requests: &Sender<Request>, gate: &Receiver<()>) {
    loop {
        let mut stream: Box<dyn Stream> = match listener {
            Listener::Unix(listener) => Box::new(listener.accept().unwrap().0),
            Listener::Tcp(listener) => Box::new(listener.accept().unwrap().0),
        };
        let Some(request) = read(&mut stream) else {
            continue;
        };
        if request.line == "stop" {
            return;
        }
        // The test may be over.
        let _ = requests.send(request.clone());
        if request.line.contains("/slow") {
            gate.recv().unwrap();
        }
        stage::play(&request, stream);
    }
}

/// Reads one request; `None` for what is none, such as a TLS handshake.
fn read(stream: &mut Box<dyn Stream>) -> Option<Request> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let line = lines.next()?;
    let line = line.strip_suffix(" HTTP/1.1").unwrap_or(&line).to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let mut request = Request {
        line,
        headers,
        body: String::new(),
    };
    if request.header("transfer-encoding") == Some("chunked") {
        request.body = String::from_utf8(chunks(&mut reader)?).unwrap();
        return Some(request);
    }
    let length = request
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}

/// A body of which the length is not known; `None` if it breaks off.
fn chunks(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
        // A CRLF follows each chunk, and the last one, which is empty.
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}
