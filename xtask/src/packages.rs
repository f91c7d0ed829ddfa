//! Installs the distribution packages that bhatti and its build need.

use anyhow::{Context as _, bail};
use bhatti_host::command::Command;
use bhatti_image::recipe_build::Privilege;

use crate::environment::Environment;
use crate::run;

/// A package, and what it is for.
struct Package {
    name: &'static str,
    purpose: &'static str,
}

/// What is needed to build, to run and to test.
const PACKAGES: &[Package] = &[
    Package {
        name: "apache2-utils",
        purpose: "passwords of a registry, in the tests",
    },
    Package {
        name: "build-essential",
        purpose: "linker and C compiler (SQLite is built in)",
    },
    Package {
        name: "busybox-static",
        purpose: "a guest of a single file, in the tests",
    },
    Package {
        name: "ca-certificates",
        purpose: "downloads",
    },
    Package {
        name: "debian-archive-keyring",
        purpose: "checks the packages of guests",
    },
    Package {
        name: "docker-registry",
        purpose: "a registry to pull images from, in the tests",
    },
    Package {
        name: "e2fsprogs",
        purpose: "makes guests' file systems",
    },
    Package {
        name: "iproute2",
        purpose: "network namespaces, in the tests",
    },
    Package {
        name: "mmdebstrap",
        purpose: "makes the image `base`",
    },
    Package {
        name: "openssl",
        purpose: "signs the tokens of a registry, in the tests",
    },
    Package {
        name: "nftables",
        purpose: "users' networks",
    },
    Package {
        name: "qemu-system-x86",
        purpose: "runs guests",
    },
    Package {
        name: "skopeo",
        purpose: "puts images into a registry, in the tests",
    },
    Package {
        name: "strace",
        purpose: "makes system calls fail, in the tests",
    },
    Package {
        name: "umoci",
        purpose: "unpacks images in another way, in the tests",
    },
    Package {
        name: "util-linux",
        purpose: "has volumes checked by a user that may do nothing else",
    },
    Package {
        name: "xfsprogs",
        purpose: "makes a file system that shares blocks, where the host has none",
    },
];

/// Installs what is missing, by `sudo` if this is not root.
pub(crate) async fn install(environment: &Environment) -> anyhow::Result<()> {
    let began = run::step("distribution packages");
    if !environment.has_program("dpkg-query") {
        bail!(
            "this host has no dpkg; install these by hand and go on with the next command: {}",
            PACKAGES
                .iter()
                .map(|package| package.name)
                .collect::<Vec<_>>()
                .join(" ")
        );
    }
    let query = Command::new("dpkg-query").args(["-W", "-f=${Package} ${db:Status-Status}\n"]);
    let output = query
        .run()
        .await
        .context("failed to list the installed packages")?;
    let missing = missing(&String::from_utf8_lossy(&output.stdout));
    if missing.is_empty() {
        run::done(began, "all there");
        return Ok(());
    }
    for package in &missing {
        run::say(&format!(
            "    missing: {} ({})",
            package.name, package.purpose
        ));
    }
    // The lists of packages may be missing or out of date; finding out is quicker than
    // refreshing them every time.
    if apt(environment, &install_args(&missing)).await.is_err() {
        run::say("    reading the lists of packages, and trying again");
        apt(environment, &["update".to_owned()]).await?;
        apt(environment, &install_args(&missing)).await?;
    }
    run::done(began, "installed");
    Ok(())
}

/// The packages that are not among those `dpkg-query` lists as installed.
fn missing(installed: &str) -> Vec<&'static Package> {
    let is_there = |name: &str| {
        installed
            .lines()
            .any(|line| line.split_once(' ') == Some((name, "installed")))
    };
    PACKAGES
        .iter()
        .filter(|package| !is_there(package.name))
        .collect()
}

fn install_args(packages: &[&Package]) -> Vec<String> {
    let options = ["install", "-y", "-q", "--no-install-recommends"];
    // Unattended upgrades hold the lock for a while on fresh machines.
    let lock = ["-o", "DPkg::Lock::Timeout=300"];
    let names = packages.iter().map(|package| package.name);
    options
        .into_iter()
        .chain(lock)
        .chain(names)
        .map(str::to_owned)
        .collect()
}

async fn apt(environment: &Environment, args: &[String]) -> anyhow::Result<()> {
    let mut command = match Privilege::of_this_process() {
        Privilege::Root => run::tool("env", &environment.root),
        Privilege::Sudo if environment.has_program("sudo") => {
            let mut command = run::tool("sudo", &environment.root);
            command.arg("env");
            command
        }
        Privilege::Sudo => bail!("installing packages needs root or `sudo`"),
    };
    command.args(environment.proxies.assignments());
    command
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .args(args);
    run::finish(command).await
}

#[cfg(test)]
mod test {
    use super::{PACKAGES, missing};

    #[test]
    fn a_removed_package_that_left_its_configuration_is_missing() {
        let installed = PACKAGES
            .iter()
            .map(|package| format!("{} installed\n", package.name));
        let installed: String = installed.collect();
        assert!(missing(&installed).is_empty());
        let removed = installed.replace("mmdebstrap installed", "mmdebstrap config-files");
        let names: Vec<_> = missing(&removed)
            .iter()
            .map(|package| package.name)
            .collect();
        assert_eq!(names, ["mmdebstrap"]);
    }
}
