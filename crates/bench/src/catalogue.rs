//! The rows of the table: what there is to measure, in the order it is shown.

use crate::plan::Plan;
use crate::results::Unit;

/// Rows that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Making machines and taking them away.
    Life,
    /// Commands, one at a time and many in one machine.
    Exec,
    /// Making machines where started clones wait in stock.
    Stock,
    /// Copies of a machine that runs.
    Forks,
    /// Machines made from a checkpoint, and commands in many of them.
    Clones,
    /// Waking machines whose vCPUs are paused.
    Warm,
    /// Going to disk and coming back.
    Cold,
    /// Checkpoints of machines that go on.
    Checkpoint,
    /// Lists, and the daemon's memory.
    List,
}

impl Group {
    /// All of them, in the order they are measured.
    pub(crate) const ALL: [Self; 9] = [
        Self::Life,
        Self::Stock,
        Self::Forks,
        Self::Exec,
        Self::Clones,
        Self::Warm,
        Self::Cold,
        Self::Checkpoint,
        Self::List,
    ];

    /// What people read while it runs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Life => "create and destroy",
            Self::Stock => "create with a warm pool",
            Self::Forks => "forks",
            Self::Exec => "exec",
            Self::Warm => "warm wake",
            Self::Clones => "clones of a checkpoint",
            Self::Cold => "going cold and waking",
            Self::Checkpoint => "checkpoints",
            Self::List => "list, and the daemon's memory",
        }
    }
}

/// How a row comes to its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// It is measured with the others of its group.
    Group(Group),
    /// It needs a feature that is not there yet.
    NotYet(&'static str),
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowSpec {
    /// Its name in files and in `--only`.
    pub(crate) id: String,
    /// What people read.
    pub(crate) title: String,
    /// What its values are.
    pub(crate) unit: Unit,
    /// Where they come from.
    pub(crate) source: Source,
}

/// Sandboxes there are when a list is asked for.
pub(crate) const LISTED: [usize; 3] = [1, 100, 1000];
/// Sandboxes there are when the daemon's memory is looked at.
pub(crate) const HELD: [usize; 3] = [0, 100, 1000];
/// Shares of memory that are written to before a checkpoint, in hundredths.
pub(crate) const DIRTIED: [u64; 3] = [1, 10, 50];

/// The row for the stall of a checkpoint.
pub(crate) fn stall(memory_mb: u64, dirtied: u64) -> String {
    format!("checkpoint-stall-{memory_mb}-{dirtied}")
}

/// The row for the time until a checkpoint is durable.
pub(crate) fn durable(memory_mb: u64, dirtied: u64) -> String {
    format!("checkpoint-durable-{memory_mb}-{dirtied}")
}

/// The row for a fork into this many copies.
pub(crate) fn fork(copies: u64) -> String {
    format!("fork-{copies}")
}

/// All rows of a run.
pub(crate) fn rows(plan: &Plan) -> Vec<RowSpec> {
    use Group::{Checkpoint, Clones, Cold, Exec, Forks, Life, List, Stock, Warm};
    let mut rows = Vec::new();
    let mut add = |id: &str, title: &str, unit, source| {
        rows.push(RowSpec {
            id: id.to_owned(),
            title: title.to_owned(),
            unit,
            source,
        });
    };
    let time = Unit::Seconds;
    let of = Source::Group;

    add("create", "create", time, of(Life));
    add("create-cold", "create, against a cold boot", time, of(Life));
    add("create-exec", "create and first command", time, of(Life));
    add("create-pool", "create with a warm pool", time, of(Stock));
    for size in &plan.forks {
        let title = format!("fork x{}, {} MB", size.copies, size.memory_mb);
        add(&fork(size.copies), &title, time, of(Forks));
    }
    add(
        "resume",
        "resume a checkpoint, first command",
        time,
        of(Clones),
    );
    for memory in plan.checkpoints.iter().map(|size| size.memory_mb) {
        for share in DIRTIED {
            let title = format!("checkpoint stall, {memory} MB, {share} % dirtied");
            add(&stall(memory, share), &title, time, of(Checkpoint));
            let title = format!("checkpoint durable, {memory} MB, {share} % dirtied");
            add(&durable(memory, share), &title, time, of(Checkpoint));
        }
    }
    add("cold", "go cold", time, of(Cold));
    add(
        "wake-first",
        "cold wake to first answer, from disk",
        time,
        of(Cold),
    );
    add(
        "wake-again",
        "cold wake to first answer, cached",
        time,
        of(Cold),
    );
    add("wake-warm", "warm wake to first answer", time, of(Warm));
    add("destroy", "destroy", time, of(Life));
    add("exec-api", "exec by API", time, of(Exec));
    add("exec-cli", "exec by CLI", time, of(Exec));
    add(
        "exec-agent",
        "exec by the bare link, against posix_spawn",
        time,
        of(Exec),
    );
    add(
        "exec-20-one",
        "20 execs at once, one machine",
        time,
        of(Exec),
    );
    add(
        "exec-20-many",
        "20 execs at once, 20 machines",
        time,
        of(Clones),
    );
    for state in ["hot", "warm", "cold"] {
        let (id, title) = (
            format!("publish-{state}"),
            format!("publish: wake and serve, {state}"),
        );
        add(&id, &title, time, Source::NotYet("publish"));
    }
    for (id, title) in [
        ("file-1k", "file of 1 KiB"),
        ("file-100m", "file of 100 MiB"),
    ] {
        for way in ["read", "write"] {
            let (id, title) = (format!("{id}-{way}"), format!("{title}, {way}"));
            add(&id, &title, time, Source::NotYet("the file API"));
        }
    }
    for n in LISTED {
        let title = format!("list by API, {n} sandboxes");
        add(&format!("list-api-{n}"), &title, time, of(List));
        let title = format!("list by CLI, {n} sandboxes");
        add(&format!("list-cli-{n}"), &title, time, of(List));
    }
    add(
        "net-latency",
        "network latency, guest to host",
        time,
        Source::NotYet("networks"),
    );
    add(
        "net-throughput",
        "network throughput, guest to host",
        time,
        Source::NotYet("networks"),
    );
    let size = Unit::Bytes;
    for n in HELD {
        let title = format!("daemon memory, {n} sandboxes");
        add(&format!("daemon-memory-{n}"), &title, size, of(List));
    }
    add(
        "clone-memory",
        "own memory of an idle clone",
        size,
        of(Life),
    );
    add(
        "cold-size",
        "sleeping image on disk, 512 MB",
        size,
        of(Cold),
    );
    add(
        "bare-clone",
        "bare: image disk cloned and synced",
        time,
        of(Life),
    );
    add(
        "bare-round-trip",
        "bare: unix socket round trip",
        time,
        of(Exec),
    );
    add("bare-program", "bare: `bhatti --version`", time, of(Exec));
    rows
}

#[cfg(test)]
mod test {
    use std::collections::BTreeSet;

    use super::{Group, Source, rows};
    use crate::plan::Plan;

    #[test]
    fn each_row_has_a_name_of_its_own_and_each_group_has_rows() {
        let rows = rows(&Plan::full());
        let ids: BTreeSet<_> = rows.iter().map(|row| &row.id).collect();
        assert_eq!(ids.len(), rows.len());
        for group in Group::ALL {
            let of_group = |row: &super::RowSpec| row.source == Source::Group(group);
            assert!(rows.iter().any(of_group), "{group:?}");
        }
    }

    #[test]
    fn a_quick_run_is_a_part_of_a_full_one() {
        let full: BTreeSet<_> = rows(&Plan::full()).into_iter().map(|row| row.id).collect();
        let quick = rows(&Plan::quick());
        assert!(quick.iter().all(|row| full.contains(&row.id)));
    }
}
