//! `bhatti tree`.

use bhatti_api::tree::TreeNode;
use bhatti_types::name::SandboxName;
use clap::Args;

use crate::failure::Failure;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti tree`.
#[derive(Debug, Args)]
pub(crate) struct TreeArgs {
    /// Only this sandbox, by name or id, and what descends from it
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: Option<SandboxName>,
}

/// Shows who descends from whom.
pub(crate) async fn run(args: TreeArgs, context: &Context) -> Result<(), Failure> {
    let root = args.sandbox.as_ref().map(SandboxName::as_str);
    let nodes = context.client().tree(root).await?;
    if nodes.is_empty() {
        context.ui.note("no sandboxes and no checkpoints");
        if !context.ui.json() {
            return Ok(());
        }
    }
    context.ui.show(&nodes, || drawn(&nodes))
}

/// Draws the tree as `tree` draws directories.
fn drawn(nodes: &[TreeNode]) -> String {
    // Nobody stands deeper than one under the line before.
    let mut depths = Vec::with_capacity(nodes.len());
    for node in nodes {
        let most = depths.last().map_or(0, |depth: &usize| depth + 1);
        depths.push((node.depth as usize).min(most));
    }
    // Whether another sibling follows, found from the end.
    let mut follows = vec![false; nodes.len()];
    let mut open: Vec<bool> = Vec::new();
    for (follows, depth) in follows.iter_mut().zip(&depths).rev() {
        open.resize(depth + 1, false);
        *follows = std::mem::replace(&mut open[*depth], true);
    }
    let mut text = String::new();
    let mut above: Vec<bool> = Vec::new();
    for ((node, depth), follows) in nodes.iter().zip(depths).zip(follows) {
        above.truncate(depth);
        // Roots have no lines between them.
        for goes_on in above.iter().skip(1) {
            text.push_str(if *goes_on { "│   " } else { "    " });
        }
        if depth > 0 {
            text.push_str(if follows { "├── " } else { "└── " });
        }
        above.push(follows);
        text.push_str(&words(node));
        text.push('\n');
    }
    text
}

fn words(node: &TreeNode) -> String {
    let Some(name) = node.name.as_deref().filter(|_| !node.deleted) else {
        return format!("{} (deleted)", node.id);
    };
    let memory = node.memory_mb.map(|size| format!("{size} MB"));
    let parts: Vec<String> = if node.kind == "sandbox" {
        // Of a machine that is there, where its memory is says more than that it runs.
        let state = match node.status.as_deref() {
            Some("running" | "stopped") => node.thermal.clone(),
            _ => node.status.clone(),
        };
        state.into_iter().chain(memory).collect()
    } else {
        let kind = if node.automatic {
            "automatic checkpoint"
        } else {
            "checkpoint"
        };
        let own = node
            .disk_own_bytes
            .map(|bytes| format!("{} MB own", bytes.div_ceil(1 << 20)));
        std::iter::once(kind.to_owned())
            .chain(memory)
            .chain(own)
            .collect()
    };
    format!("{name} ({})", parts.join(", "))
}

#[cfg(test)]
mod test {
    use bhatti_api::tree::TreeNode;

    use super::drawn;

    fn node(depth: u32, kind: &str, name: Option<&str>) -> TreeNode {
        let sandbox = kind == "sandbox";
        TreeNode {
            kind: kind.to_owned(),
            id: "sbx_0123456789abcdef".to_owned(),
            parent: None,
            depth,
            deleted: name.is_none(),
            name: name.map(str::to_owned),
            status: sandbox.then(|| "running".to_owned()),
            thermal: sandbox.then(|| "hot".to_owned()),
            memory_mb: Some(256),
            disk_own_bytes: (!sandbox).then_some(5_000_000),
            disk_shared_bytes: None,
            automatic: name.is_some_and(|name| name.contains("before")),
            created_at: None,
        }
    }

    #[test]
    fn each_line_hangs_from_its_parent() {
        let nodes = [
            node(0, "sandbox", Some("agent")),
            node(1, "snapshot", Some("pre")),
            node(2, "sandbox", Some("retry")),
            node(3, "sandbox", Some("retry-fork")),
            node(2, "sandbox", Some("again")),
            node(1, "sandbox", Some("try")),
            node(2, "snapshot", Some("try-before-pre-1")),
            node(0, "sandbox", None),
            node(1, "snapshot", Some("old")),
        ];
        let expected = "\
agent (hot, 256 MB)
├── pre (checkpoint, 256 MB, 5 MB own)
│   ├── retry (hot, 256 MB)
│   │   └── retry-fork (hot, 256 MB)
│   └── again (hot, 256 MB)
└── try (hot, 256 MB)
    └── try-before-pre-1 (automatic checkpoint, 256 MB, 5 MB own)
sbx_0123456789abcdef (deleted)
└── old (checkpoint, 256 MB, 5 MB own)
";
        assert_eq!(drawn(&nodes), expected);
    }

    #[test]
    fn depths_that_make_no_sense_are_drawn_all_the_same() {
        let nodes = [
            node(7, "sandbox", Some("a")),
            node(u32::MAX, "sandbox", Some("b")),
        ];
        assert_eq!(drawn(&nodes), "a (hot, 256 MB)\n└── b (hot, 256 MB)\n");
    }
}
