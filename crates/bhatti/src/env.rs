//! Every environment variable that `bhatti` looks at. They are read in one place, by
//! [`crate::config::environment`].

/// Address of the daemon's API.
pub(crate) const URL: &str = "BHATTI_URL";
/// Token for the daemon's API.
pub(crate) const TOKEN: &str = "BHATTI_TOKEN";
/// The data directory.
pub(crate) const DATA_DIR: &str = "BHATTI_DATA_DIR";
/// The engine.
pub(crate) const ENGINE: &str = "BHATTI_ENGINE";
/// The daemon's TCP address.
pub(crate) const LISTEN: &str = "BHATTI_LISTEN";
/// The accelerator.
pub(crate) const ACCELERATOR: &str = "BHATTI_ACCELERATOR";
/// The QEMU program.
pub(crate) const QEMU: &str = "BHATTI_QEMU";
/// Where the daemon keeps machines' files.
pub(crate) const STORAGE: &str = "BHATTI_STORAGE";
/// What the daemon leaves free of the host's disk.
pub(crate) const DISK_RESERVE_MB: &str = "BHATTI_DISK_RESERVE_MB";
/// What machines that are awake may have together.
pub(crate) const MEMORY_LIMIT_MB: &str = "BHATTI_MEMORY_LIMIT_MB";
/// Whether machines have networks.
pub(crate) const NETWORK: &str = "BHATTI_NETWORK";
/// The range that networks are made of.
pub(crate) const NETWORK_RANGE: &str = "BHATTI_NETWORK_RANGE";
/// Resolvers for names outside.
pub(crate) const NETWORK_DNS: &str = "BHATTI_NETWORK_DNS";
/// Private ranges that machines may be let into.
pub(crate) const NETWORK_PRIVATE: &str = "BHATTI_NETWORK_PRIVATE";
/// How much the daemon logs.
pub(crate) const LOG_LEVEL: &str = "BHATTI_LOG_LEVEL";
/// Whether the daemon limits request rates.
pub(crate) const RATE_LIMIT: &str = "BHATTI_RATE_LIMIT";
/// How many started clones are kept for each template.
pub(crate) const POOL: &str = "BHATTI_POOL";
/// How many templates are kept.
pub(crate) const MAX_TEMPLATES: &str = "BHATTI_MAX_TEMPLATES";
/// Until an idle sandbox is paused.
pub(crate) const IDLE_PAUSE: &str = "BHATTI_IDLE_PAUSE";
/// Until a paused sandbox goes to disk.
pub(crate) const IDLE_COLD: &str = "BHATTI_IDLE_COLD";
/// How long a request waits for a sandbox to wake.
pub(crate) const WAKE_LIMIT: &str = "BHATTI_WAKE_LIMIT";
/// Over the key `backup`.
pub(crate) const BACKUP: &str = "BHATTI_BACKUP";
/// One configuration file in place of the two.
pub(crate) const CONFIG: &str = "BHATTI_CONFIG";
/// The host's configuration file in place of the usual one.
pub(crate) const SYSTEM_CONFIG: &str = "BHATTI_SYSTEM_CONFIG";
/// Where `~` is.
pub(crate) const HOME: &str = "HOME";
/// No colour, <https://no-color.org>.
pub(crate) const NO_COLOR: &str = "NO_COLOR";
/// The kind of terminal; `dumb` has no colour.
pub(crate) const TERM: &str = "TERM";

/// Proxies of the programs that download an image's packages.
pub(crate) const PROXIES: [&str; 6] = bhatti_image::proxies::Proxies::NAMES;

/// Where credentials for registries are looked for, and the programs that keep some.
pub(crate) const REGISTRY_AUTH_FILE: &str = "REGISTRY_AUTH_FILE";
/// Where Docker's configuration is.
pub(crate) const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// Where the containers tools keep credentials first.
pub(crate) const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";
/// Where they keep them next.
pub(crate) const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Where programs are.
pub(crate) const PATH: &str = "PATH";

/// A variable and what it is for, for the reference.
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) help: &'static str,
}

const PROXY_HELP: &str =
    "proxy for pulls of `bhatti serve`, and for the packages of `bhatti image build --recipe`";

/// All variables, in the order of the reference.
pub(crate) const VARIABLES: &[Variable] = &[
    Variable {
        name: URL,
        help: "URL of the daemon, over `api_url`",
    },
    Variable {
        name: TOKEN,
        help: "token for the daemon, over `auth_token`",
    },
    Variable {
        name: DATA_DIR,
        help: "data directory, over `data_dir`",
    },
    Variable {
        name: ENGINE,
        help: "engine of `bhatti serve`, over `engine`",
    },
    Variable {
        name: LISTEN,
        help: "TCP address of `bhatti serve`, over `listen`",
    },
    Variable {
        name: ACCELERATOR,
        help: "accelerator of `bhatti serve`, over `accelerator`",
    },
    Variable {
        name: QEMU,
        help: "QEMU program of `bhatti serve`, over `qemu`",
    },
    Variable {
        name: STORAGE,
        help: "storage of `bhatti serve`, over `storage`",
    },
    Variable {
        name: DISK_RESERVE_MB,
        help: "what `bhatti serve` leaves free of the host's disk, over `disk_reserve_mb`",
    },
    Variable {
        name: MEMORY_LIMIT_MB,
        help: "memory that machines of `bhatti serve` may have, over `memory_limit_mb`",
    },
    Variable {
        name: NETWORK,
        help: "networks of `bhatti serve`, over `network`",
    },
    Variable {
        name: NETWORK_RANGE,
        help: "range of the networks of `bhatti serve`, over `network_range`",
    },
    Variable {
        name: NETWORK_DNS,
        help: "resolvers that `bhatti serve` asks, over `network_dns`",
    },
    Variable {
        name: NETWORK_PRIVATE,
        help: "private ranges opened by `bhatti serve`, over `network_private`",
    },
    Variable {
        name: LOG_LEVEL,
        help: "how much `bhatti serve` logs, over `log_level`",
    },
    Variable {
        name: RATE_LIMIT,
        help: "request limits of `bhatti serve`, over `rate_limit`",
    },
    Variable {
        name: POOL,
        help: "started clones that `bhatti serve` keeps, over `pool`",
    },
    Variable {
        name: MAX_TEMPLATES,
        help: "templates that `bhatti serve` keeps, over `max_templates`",
    },
    Variable {
        name: IDLE_PAUSE,
        help: "time until an idle sandbox is paused, over `idle_pause`",
    },
    Variable {
        name: IDLE_COLD,
        help: "time until a paused sandbox goes to disk, over `idle_cold`",
    },
    Variable {
        name: WAKE_LIMIT,
        help: "time a request waits for a sandbox to wake, over `wake_limit`",
    },
    Variable {
        name: REGISTRY_AUTH_FILE,
        help: "file with credentials for registries, in place of the usual ones",
    },
    Variable {
        name: DOCKER_CONFIG,
        help: "directory of Docker's configuration, for credentials of `image pull`",
    },
    Variable {
        name: XDG_RUNTIME_DIR,
        help: "directory with Podman's credentials, for `image pull`",
    },
    Variable {
        name: XDG_CONFIG_HOME,
        help: "directory of configurations, for Podman's credentials",
    },
    Variable {
        name: PATH,
        help: "where Docker, Podman and their credential helpers are looked for",
    },
    Variable {
        name: BACKUP,
        help: "where volumes are backed up to and when, as JSON, over `backup`",
    },
    Variable {
        name: CONFIG,
        help: "one configuration file that is read in place of the two",
    },
    Variable {
        name: SYSTEM_CONFIG,
        help: "the host's configuration file, in place of `/etc/bhatti/config.yaml`",
    },
    Variable {
        name: PROXIES[0],
        help: PROXY_HELP,
    },
    Variable {
        name: PROXIES[1],
        help: PROXY_HELP,
    },
    Variable {
        name: PROXIES[2],
        help: PROXY_HELP,
    },
    Variable {
        name: PROXIES[3],
        help: PROXY_HELP,
    },
    Variable {
        name: PROXIES[4],
        help: PROXY_HELP,
    },
    Variable {
        name: PROXIES[5],
        help: PROXY_HELP,
    },
    Variable {
        name: HOME,
        help: "where `~/.bhatti` is",
    },
    Variable {
        name: NO_COLOR,
        help: "no colour if it is not empty",
    },
    Variable {
        name: TERM,
        help: "no colour and no progress line if it is `dumb`",
    },
];
