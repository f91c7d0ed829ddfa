//! `bhatti gc`, and `bhatti image gc`.

use bhatti_api::image::CollectGarbage;
use clap::Args;

use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::table::table;
use crate::values;

/// Flags of `bhatti gc`.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
}

/// Deletes what nothing needs any more.
pub(crate) async fn run(args: GcArgs, context: &Context) -> Result<(), Failure> {
    let collect = CollectGarbage {
        dry_run: args.dry_run,
    };
    let client = context.client();
    let work = client.collect_garbage(&collect);
    let collected = with_progress(&context.ui, "looking for garbage".to_owned(), work).await?;
    context.ui.show(&collected, || {
        let rows: Vec<_> = collected
            .items
            .iter()
            .map(|item| {
                let size = values::on_disk(Some(item.bytes));
                [item.kind.clone(), item.name.clone(), size]
            })
            .collect();
        table(&["KIND", "NAME", "SIZE"], &rows)
    })?;
    let size = values::on_disk(Some(collected.bytes));
    context
        .ui
        .note(match (collected.items.len(), args.dry_run) {
            (0, _) => "nothing to delete".to_owned(),
            (count, true) => format!("{count} things would be deleted, {size}"),
            (count, false) => format!("{count} things deleted, {size}"),
        });
    Ok(())
}
