//! Holds the direction of dependencies between the crates.
//!
//! The map is in ARCHITECTURE.md. An edge that is missing here is a decision to be made, not an
//! entry to be added in passing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What each crate may depend on, besides crates that are not ours.
const ALLOWED: &[(&str, &[&str])] = &[
    ("bhatti-types", &[]),
    ("bhatti-proto", &[]),
    ("bhatti-api", &["bhatti-types"]),
    ("bhatti-lifecycle", &["bhatti-types"]),
    ("bhatti-store", &["bhatti-types"]),
    ("bhatti-host", &["bhatti-types"]),
    ("bhatti-client", &["bhatti-api", "bhatti-types"]),
    ("bhatti-guest", &["bhatti-proto", "bhatti-types"]),
    ("bhatti-ext4", &[]),
    (
        "bhatti-image",
        &["bhatti-ext4", "bhatti-host", "bhatti-types"],
    ),
    ("bhatti-net", &["bhatti-host", "bhatti-types"]),
    // Knows what is published by a trait of its own.
    ("bhatti-proxy", &[]),
    ("bhatti-vmm", &["bhatti-host", "bhatti-types"]),
    ("bhatti-backup", &["bhatti-host", "bhatti-types"]),
    (
        "bhatti-engine",
        &[
            "bhatti-backup",
            "bhatti-guest",
            "bhatti-host",
            "bhatti-image",
            "bhatti-lifecycle",
            "bhatti-net",
            "bhatti-store",
            "bhatti-types",
            "bhatti-vmm",
        ],
    ),
    // The engine hands out a command's input and output as the link to the guest has them.
    (
        "bhatti-server",
        &[
            "bhatti-api",
            "bhatti-engine",
            "bhatti-guest",
            "bhatti-types",
        ],
    ),
    // It makes images of packages itself: the daemon runs no package manager.
    (
        "bhatti",
        &[
            "bhatti-api",
            "bhatti-client",
            "bhatti-engine",
            "bhatti-image",
            "bhatti-server",
            "bhatti-types",
        ],
    ),
    ("lohar", &["bhatti-proto"]),
    ("xtask", &["bhatti-host", "bhatti-image"]),
];

/// Crates that exist for tests and measurements, may see everything, and are nobody's dependency
/// outside of tests.
const FOR_TESTS: &[&str] = &["bhatti-bench", "bhatti-testing", "vm-tests"];

struct Package {
    dependencies: BTreeSet<String>,
    dev_dependencies: BTreeSet<String>,
}

/// The packages of the workspace with their dependencies on each other.
fn workspace() -> BTreeMap<String, Package> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .expect("cargo reads the workspace it is run from");
    let ours: BTreeSet<_> = metadata
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let packages = metadata.packages.iter().map(|package| {
        let of_kind = |dev: bool| {
            let all = package.dependencies.iter();
            let chosen = all.filter(|dependency| {
                ours.contains(&dependency.name)
                    && dev == (dependency.kind == cargo_metadata::DependencyKind::Development)
            });
            chosen.map(|dependency| dependency.name.clone()).collect()
        };
        let package_edges = Package {
            dependencies: of_kind(false),
            dev_dependencies: of_kind(true),
        };
        (package.name.to_string(), package_edges)
    });
    packages.collect()
}

#[test]
fn crates_depend_only_on_what_the_map_allows() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, package) in workspace() {
        if FOR_TESTS.contains(&name.as_str()) {
            continue;
        }
        let Some(allowed) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} is not on the map"));
            continue;
        };
        let beyond = package
            .dependencies
            .iter()
            .filter(|to| !allowed.contains(&to.as_str()));
        wrong.extend(beyond.map(|to| format!("{name} -> {to}")));
    }
    assert!(wrong.is_empty(), "not allowed: {wrong:#?}");
}

#[test]
fn what_is_made_for_tests_ships_in_nothing() {
    for (name, package) in workspace() {
        if FOR_TESTS.contains(&name.as_str()) {
            continue;
        }
        for helper in FOR_TESTS {
            assert!(
                !package.dependencies.contains(*helper),
                "{name} ships {helper}"
            );
        }
    }
}

#[test]
fn the_map_has_no_circle_and_no_crate_that_is_gone() {
    let workspace = workspace();
    let mut settled: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<_> = ALLOWED.iter().collect();
    while !open.is_empty() {
        let before = open.len();
        open.retain(|(name, to)| {
            let ready = to.iter().all(|to| settled.contains(to));
            if ready {
                settled.insert(name);
            }
            !ready
        });
        assert!(open.len() < before, "a circle among {open:?}");
    }
    let gone: Vec<_> = settled
        .iter()
        .filter(|name| !workspace.contains_key(**name))
        .collect();
    assert!(
        gone.is_empty(),
        "on the map but not in the workspace: {gone:?}"
    );
}

#[test]
fn the_agent_and_the_pure_crates_stay_small() {
    // The agent sits in every guest; rules and words have no business with the outside.
    let workspace = workspace();
    assert_eq!(workspace["lohar"].dependencies.len(), 1);
    for name in ["bhatti-types", "bhatti-lifecycle"] {
        assert!(
            workspace[name]
                .dev_dependencies
                .iter()
                .all(|to| to == "bhatti-types"),
            "{name}"
        );
    }
}
