//! `bhatti serve`.

use std::fs::Permissions;
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bhatti_engine::config::{
    EngineConfig, IdlePolicy, NetworkSettings, Proxies, RegistryOptions, StorageSettings,
};
use bhatti_engine::engine::Engine;
use bhatti_engine::fault::{BadFaultPoint, FaultPoint, Faults, NoFaults};
use bhatti_server::app::Options;
use bhatti_server::serve::{Listeners, serve};
use bhatti_types::idle::{IdleSettings, IdleTime};
use clap::Args;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::keys::{
    ACCELERATOR, LISTEN, LOG_LEVEL, MAX_TEMPLATES, NETWORK, POOL, QEMU, STORAGE,
};
use crate::config::load::Flags;
use crate::config::settings::{EngineChoice, Listen};
use crate::failure::Failure;
use crate::run::Context;
use crate::signals::Signals;
use crate::trace_file::TraceFile;

/// How long blocking work may take to end once everything else has.
const LAST_LIMIT: Duration = Duration::from_secs(5);

/// How long a request waits for a sandbox to wake if that is not to be limited.
const LONGEST_WAKE: Duration = Duration::from_hours(1);

/// Flags of `bhatti serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// TCP address of the API; empty for the unix socket alone
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// What runs the guests' code: auto, kvm or tcg
    #[arg(long, value_name = "NAME")]
    accelerator: Option<String>,
    /// The QEMU program
    #[arg(long, value_name = "PROGRAM")]
    qemu: Option<String>,
    /// Where to keep machines' files: auto, pool or plain
    #[arg(long, value_name = "NAME")]
    storage: Option<String>,
    /// Whether machines have networks: auto, on or off
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// How much to log: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Most started clones kept ready for each template in demand; 0 for none
    #[arg(long, value_name = "COUNT")]
    pool: Option<String>,
    /// Most templates kept; with 0, every create boots
    #[arg(long, value_name = "COUNT")]
    max_templates: Option<String>,
    /// A fault to put into a workflow, for tests: PLAN:STEP:before|after:fail|abort
    #[arg(long, hide = true, value_name = "FAULT")]
    fault: Option<String>,
    /// A file that takes what the daemon does and how long it takes, for trace viewers
    #[arg(long, hide = true, value_name = "FILE")]
    trace_file: Option<PathBuf>,
}

impl ServeArgs {
    /// The flags as keys of the configuration.
    pub(crate) fn config_flags(&self) -> Flags {
        let flags = [
            (LISTEN, &self.listen),
            (ACCELERATOR, &self.accelerator),
            (QEMU, &self.qemu),
            (STORAGE, &self.storage),
            (NETWORK, &self.network),
            (LOG_LEVEL, &self.log_level),
            (POOL, &self.pool),
            (MAX_TEMPLATES, &self.max_templates),
        ];
        flags
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.clone()?)))
            .collect()
    }
}

/// Runs the daemon until a signal ends it: the first lets requests in progress finish, the second
/// does not wait for them.
pub(crate) fn run(args: &ServeArgs, context: &Context) -> Result<(), Failure> {
    let faults = faults(args)?;
    let settings = &context.config.settings;
    let trace = trace(args.trace_file.as_deref())?;
    log_to_stderr(settings.log_level.level(), trace);
    check_length(&context.config.socket())?;
    prepare_data_dir(&settings.data_dir)?;
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Io {
            what: "start",
            source,
        })?;
    let result = runtime.block_on(daemon(context, faults));
    runtime.shutdown_timeout(LAST_LIMIT);
    result
}

/// The faults that were asked for: none, but in tests.
fn faults(args: &ServeArgs) -> Result<Arc<dyn Faults>, Failure> {
    match &args.fault {
        None => Ok(Arc::new(NoFaults)),
        Some(text) => {
            let point: FaultPoint = text.parse().map_err(|error: BadFaultPoint| Failure::Said {
                message: error.to_string(),
                hint: None,
            })?;
            Ok(Arc::new(point))
        }
    }
}

async fn daemon(context: &Context, faults: Arc<dyn Faults>) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let shutdown = CancellationToken::new();
    let work = serve_until(context, faults, shutdown.clone());
    tokio::pin!(work);
    let first = tokio::select! {
        result = &mut work => return result,
        signal = signals.next() => signal,
    };
    tracing::info!(signal = first, "stopping");
    shutdown.cancel();
    tokio::select! {
        result = &mut work => result,
        signal = signals.next() => Err(Failure::CutOff { signal }),
    }
}

async fn serve_until(
    context: &Context,
    faults: Arc<dyn Faults>,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let settings = &context.config.settings;
    let socket = context.config.socket();
    if UnixStream::connect(&socket).await.is_ok() {
        return Err(Failure::Said {
            message: format!(
                "a daemon is already running on {}",
                settings.data_dir.display()
            ),
            hint: Some("stop it first, or choose another --data-dir".to_owned()),
        });
    }
    let tcp = match settings.listen {
        Some(Listen(address)) => Some(listen_tcp(address).await?),
        None => None,
    };
    let EngineChoice::Qemu = settings.engine;
    let config = EngineConfig {
        qemu: settings.qemu.clone(),
        accelerator: settings.accelerator,
        pool: settings.pool.into(),
        max_templates: settings.max_templates.into(),
        storage: StorageSettings {
            choice: settings.storage,
            reserve: settings
                .disk_reserve_mb
                .map(|mb| mb.saturating_mul(1 << 20)),
            limit: None,
        },
        memory_limit: settings
            .memory_limit_mb
            .map(|mb| mb.saturating_mul(1 << 20)),
        network: NetworkSettings {
            choice: settings.network,
            range: settings.network_range,
            dns: settings.network_dns.iter().map(|server| server.0).collect(),
            private: settings.network_private.clone(),
        },
        idle: IdlePolicy::default().with(IdleSettings {
            pause_after: Some(settings.idle_pause),
            cold_after: Some(settings.idle_cold),
            ..IdleSettings::default()
        }),
        wake_limit: match settings.wake_limit {
            IdleTime::After(limit) => limit,
            IdleTime::Never => LONGEST_WAKE,
        },
        backup: settings.backup.0.clone(),
        registries: RegistryOptions {
            proxies: Proxies::from_lookup(|name| context.environment.get(name).map(str::to_owned)),
            ..RegistryOptions::default()
        },
        faults,
        ..EngineConfig::new(settings.data_dir.clone())
    };
    let engine = tokio::select! {
        engine = Engine::open(config) => engine.map_err(|source| Failure::Engine { source })?,
        () = shutdown.cancelled() => return Ok(()),
    };
    // The engine holds the data directory's lock, so a socket found now is a dead daemon's.
    let result = match listen_unix(&socket) {
        Ok(unix) => {
            let address = tcp.as_ref().and_then(|tcp| tcp.local_addr().ok());
            tracing::info!(
                version = env!("CARGO_PKG_VERSION"),
                socket = %socket.display(),
                listen = address.map(tracing::field::display),
                "ready",
            );
            let options = Options {
                rate_limits: settings.rate_limit,
                ..Options::default()
            };
            serve(engine.clone(), Listeners { unix, tcp }, options, shutdown)
                .await
                .map_err(|source| Failure::Serve {
                    source: source.into(),
                })
        }
        Err(failure) => Err(failure),
    };
    engine.close().await;
    remove_socket(&socket).and(result)
}

async fn listen_tcp(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Failure::Listen {
            address: address.to_string(),
            source,
            hint: "choose another address with --listen, or none with --listen=",
        })
}

/// Sees to it, before anything is made, that the path of the socket is one.
fn check_length(socket: &Path) -> Result<(), Failure> {
    match std::os::unix::net::SocketAddr::from_pathname(socket) {
        Ok(_) => Ok(()),
        Err(source) => Err(listen_failed(socket, source)),
    }
}

fn listen_unix(socket: &Path) -> Result<UnixListener, Failure> {
    remove_socket(socket)?;
    let listener = UnixListener::bind(socket).map_err(|source| listen_failed(socket, source))?;
    // The directory lets nobody else in; this holds even if somebody opens it.
    fs_err::set_permissions(socket, Permissions::from_mode(0o600))
        .map_err(|source| listen_failed(socket, source))?;
    Ok(listener)
}

fn listen_failed(socket: &Path, source: io::Error) -> Failure {
    Failure::Listen {
        address: socket.display().to_string(),
        source,
        // Of `sun_path` in unix(7), with room for a NUL.
        hint: "the path of a socket has at most 107 bytes; choose a shorter --data-dir if it has more",
    }
}

/// Removes the daemon's socket, if it is there.
fn remove_socket(socket: &Path) -> Result<(), Failure> {
    match fs_err::remove_file(socket) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Failure::Io {
            what: "remove the socket of an earlier daemon",
            source,
        }),
    }
}

/// Makes the data directory, or sees to it that it is private: it holds the memory of guests.
fn prepare_data_dir(dir: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::Io {
        what: "prepare the data directory",
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| Failure::File {
            what: "make the data directory",
            path: dir.to_owned(),
            source,
        })?;
    let mode = fs_err::metadata(dir).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs_err::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// The file that spans are written to, if one was asked for.
fn trace(path: Option<&Path>) -> Result<Option<TraceFile>, Failure> {
    let Some(path) = path else {
        return Ok(None);
    };
    let file = TraceFile::create(path).map_err(|source| Failure::File {
        what: "make the trace file",
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(file))
}

/// Logs to standard error: lines for people on a terminal, JSON elsewhere.
fn log_to_stderr(level: tracing::Level, trace: Option<TraceFile>) {
    // What libraries say about their own insides is of use to nobody here unless it is a warning.
    let filter = Targets::new()
        .with_default(tracing::Level::WARN.min(level))
        .with_target("bhatti", level);
    let trace = trace.map(|trace| trace.with_filter(TraceFile::filter()));
    let registry = tracing_subscriber::registry().with(trace);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    if io::stderr().is_terminal() {
        registry.with(layer.with_filter(filter)).init();
    } else {
        registry.with(layer.json().with_filter(filter)).init();
    }
}
