//! A connection to a port of a guest's loopback, through a command in the guest.

use bhatti_api::exec::MAX_CHUNK;
use bhatti_client::exec::{ExecInput, ExecOutput, ExecStep};
use bhatti_testing::guest::Guest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinSet;

use crate::machine::request;

/// What the connection holds before who writes has to wait, in bytes.
const BUFFER: usize = 64 * 1024;

/// A connection; dropping it ends it.
pub(crate) struct Tunnel {
    /// The bytes.
    pub(crate) stream: DuplexStream,
    /// What carries them; they end with it.
    pub(crate) tasks: JoinSet<()>,
}

/// Connects to a TCP port on the loopback of a guest.
pub(crate) async fn connect(guest: &Guest, port: u16) -> Tunnel {
    // The shell has sockets of its own, so this needs nothing else in the image.
    let relay = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3 & exec cat >&3");
    let mut request = request(None, &["bash", "-c", &relay]);
    request.stdin = true;
    let started = guest.client().exec_start(guest.name(), &request).await;
    let (input, output) = started.expect("the relay starts");
    let (near, far) = tokio::io::duplex(BUFFER);
    let (reader, writer) = tokio::io::split(far);
    let mut tasks = JoinSet::new();
    tasks.spawn(send(reader, input));
    tasks.spawn(receive(output, writer));
    Tunnel {
        stream: near,
        tasks,
    }
}

async fn send(mut reader: ReadHalf<DuplexStream>, mut input: ExecInput) {
    let mut buffer = vec![0; MAX_CHUNK];
    while let Ok(length @ 1..) = reader.read(&mut buffer).await {
        if input.stdin(&buffer[..length]).await.is_err() {
            break;
        }
    }
}

async fn receive(mut output: ExecOutput, mut writer: WriteHalf<DuplexStream>) {
    while let Ok(step) = output.next().await {
        match step {
            ExecStep::Stdout(bytes) => {
                if writer.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            ExecStep::Stderr(bytes) => panic!("{}", String::from_utf8_lossy(&bytes)),
            ExecStep::Exit(_) => break,
        }
    }
}
