//! The keys of the configuration: declared once, for reading, showing and the reference.

use crate::env;

/// A key of the configuration.
pub(crate) struct Key {
    /// As in the files.
    pub(crate) name: &'static str,
    /// The variable that overrides it.
    pub(crate) variable: &'static str,
    /// The flag that overrides both, if there is one.
    pub(crate) flag: Option<&'static str>,
    /// How text from the environment is to be read.
    pub(crate) form: Form,
    /// Whether its value is shown.
    pub(crate) shown: Shown,
    /// What it is for.
    pub(crate) help: &'static str,
}

/// How text from the environment is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Text,
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number,
    /// A mapping, as JSON.
    Mapping,
}

/// Whether a value may be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Yes.
    Plainly,
    /// No, only that there is one.
    Redacted,
}

impl Key {
    const fn new(name: &'static str, variable: &'static str, help: &'static str) -> Self {
        Self {
            name,
            variable,
            flag: None,
            form: Form::Text,
            shown: Shown::Plainly,
            help,
        }
    }

    const fn flag(self, flag: &'static str) -> Self {
        Self {
            flag: Some(flag),
            ..self
        }
    }
}

/// Name of the key of the API's URL.
pub(crate) const API_URL: &str = "api_url";
/// Name of the key of the token.
pub(crate) const AUTH_TOKEN: &str = "auth_token";
/// Name of the key of the data directory.
pub(crate) const DATA_DIR: &str = "data_dir";
/// Name of the key of the engine.
pub(crate) const ENGINE: &str = "engine";
/// Name of the key of the rate limits.
pub(crate) const RATE_LIMIT: &str = "rate_limit";
/// Name of the key of the daemon's TCP address.
pub(crate) const LISTEN: &str = "listen";
/// Name of the key of the accelerator.
pub(crate) const ACCELERATOR: &str = "accelerator";
/// Name of the key of the QEMU program.
pub(crate) const QEMU: &str = "qemu";
/// Name of the key of the storage.
pub(crate) const STORAGE: &str = "storage";
/// Name of the key of the disk's reserve.
pub(crate) const DISK_RESERVE_MB: &str = "disk_reserve_mb";
/// Name of the key of the memory that machines may have.
pub(crate) const MEMORY_LIMIT_MB: &str = "memory_limit_mb";
/// Name of the key of networks.
pub(crate) const NETWORK: &str = "network";
/// Name of the key of the range that networks are made of.
pub(crate) const NETWORK_RANGE: &str = "network_range";
/// Name of the key of the resolvers outside.
pub(crate) const NETWORK_DNS: &str = "network_dns";
/// Name of the key of the private ranges that machines may reach.
pub(crate) const NETWORK_PRIVATE: &str = "network_private";
/// Name of the key of the log level.
pub(crate) const LOG_LEVEL: &str = "log_level";
/// Name of the key of the number of started clones kept for each template.
pub(crate) const POOL: &str = "pool";
/// Name of the key of the number of templates kept.
pub(crate) const MAX_TEMPLATES: &str = "max_templates";

/// Name of the key of the time until an idle sandbox is paused.
pub(crate) const IDLE_PAUSE: &str = "idle_pause";
/// Name of the key of the time until a paused sandbox goes to disk.
pub(crate) const IDLE_COLD: &str = "idle_cold";
/// Name of the key of the time a request waits for a sandbox to wake.
pub(crate) const WAKE_LIMIT: &str = "wake_limit";

/// Name of the key of volumes' backups.
pub(crate) const BACKUP: &str = "backup";

/// All keys, in the order they are shown.
pub(crate) const KEYS: &[Key] = &[
    Key::new(
        API_URL,
        env::URL,
        "URL of the daemon; if empty, the socket in the data directory",
    )
    .flag("--url"),
    Key {
        shown: Shown::Redacted,
        ..Key::new(AUTH_TOKEN, env::TOKEN, "token for the daemon")
    }
    .flag("--token"),
    Key::new(
        DATA_DIR,
        env::DATA_DIR,
        "where the daemon keeps everything and has its socket",
    )
    .flag("--data-dir"),
    Key::new(ENGINE, env::ENGINE, "the virtual machine monitor: `qemu`"),
    Key::new(
        LISTEN,
        env::LISTEN,
        "TCP address of the API; if empty, the unix socket alone",
    )
    .flag("--listen"),
    Key::new(ACCELERATOR, env::ACCELERATOR, "`auto`, `kvm` or `tcg`").flag("--accelerator"),
    Key::new(QEMU, env::QEMU, "the QEMU program, looked up on the PATH").flag("--qemu"),
    Key::new(
        STORAGE,
        env::STORAGE,
        "where machines' files are kept: `auto` for a pool if the file system of the data directory \
         cannot share blocks, `pool` for a pool or nothing, `plain` for no new pool",
    )
    .flag("--storage"),
    Key {
        form: Form::Number,
        ..Key::new(
            DISK_RESERVE_MB,
            env::DISK_RESERVE_MB,
            "what is left free of the host's disk, in MB; 5 % of it, 512 to 10240, if empty",
        )
    },
    Key {
        form: Form::Number,
        ..Key::new(
            MEMORY_LIMIT_MB,
            env::MEMORY_LIMIT_MB,
            "what machines that are awake may have together, in MB; what the host has, if empty",
        )
    },
    Key::new(
        NETWORK,
        env::NETWORK,
        "whether machines have networks: `auto` where the host lets the daemon make them, `on` for \
         networks or no start, `off`",
    )
    .flag("--network"),
    Key::new(
        NETWORK_RANGE,
        env::NETWORK_RANGE,
        "private range that users' networks are made of, /12 to /24",
    ),
    Key::new(
        NETWORK_DNS,
        env::NETWORK_DNS,
        "resolvers for names outside, separated by commas; the host's own, if empty",
    ),
    Key::new(
        NETWORK_PRIVATE,
        env::NETWORK_PRIVATE,
        "private ranges that machines may be let into, separated by commas",
    ),
    Key::new(
        LOG_LEVEL,
        env::LOG_LEVEL,
        "`error`, `warn`, `info`, `debug` or `trace`",
    )
    .flag("--log-level"),
    Key::new(
        IDLE_PAUSE,
        env::IDLE_PAUSE,
        "time without use until a sandbox is paused, such as `30s` or `never`",
    ),
    Key::new(
        IDLE_COLD,
        env::IDLE_COLD,
        "time from the pause until a sandbox goes to disk",
    ),
    Key::new(
        WAKE_LIMIT,
        env::WAKE_LIMIT,
        "time a request waits for a sandbox to wake; the waking goes on after it",
    ),
    Key {
        form: Form::Mapping,
        shown: Shown::Redacted,
        ..Key::new(
            BACKUP,
            env::BACKUP,
            "where volumes are backed up to and when, a mapping: see docs/volumes.md",
        )
    },
    Key {
        form: Form::Switch,
        ..Key::new(
            RATE_LIMIT,
            env::RATE_LIMIT,
            "whether users' requests are limited",
        )
    },
    Key {
        form: Form::Number,
        ..Key::new(
            POOL,
            env::POOL,
            "most started clones kept ready for each template in demand; 0 for none",
        )
    }
    .flag("--pool"),
    Key {
        form: Form::Number,
        ..Key::new(
            MAX_TEMPLATES,
            env::MAX_TEMPLATES,
            "most templates kept; with 0, every create boots",
        )
    }
    .flag("--max-templates"),
];

/// The key of a name.
///
/// # Panics
/// If there is none, which a test of every flag would show.
pub(crate) fn key(name: &'static str) -> &'static Key {
    KEYS.iter()
        .find(|key| key.name == name)
        .expect("the names of keys are those declared above")
}
