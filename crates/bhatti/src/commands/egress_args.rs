//! The flags about what a machine may reach, which several commands have.

use bhatti_types::cidr::Cidr;
use bhatti_types::egress::EgressMode;
use clap::Args;

use crate::values;

/// What a machine may reach.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct EgressArgs {
    /// What it may reach: open, public (the internet) or deny [default: public]
    #[arg(long, value_name = "POLICY", value_parser = values::name::<EgressMode>)]
    egress: Option<EgressMode>,
    /// Address range it may reach besides; may be repeated
    #[arg(long, value_name = "RANGE", value_parser = values::name::<Cidr>)]
    allow_cidr: Vec<Cidr>,
}

/// The flags of `bhatti edit`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct EgressEditArgs {
    /// What it may reach: open, public (the internet) or deny
    #[arg(long, value_name = "POLICY", value_parser = values::name::<EgressMode>)]
    egress: Option<EgressMode>,
    /// Address range it may reach besides, in place of those that were; may be repeated
    #[arg(long, value_name = "RANGE", value_parser = values::name::<Cidr>)]
    allow_cidr: Vec<Cidr>,
    /// Take all ranges of --allow-cidr back
    #[arg(long, conflicts_with = "allow_cidr")]
    allow_none: bool,
}

/// The flags as the API's fields.
pub(crate) struct EgressFields {
    pub(crate) egress: Option<String>,
    pub(crate) allow_cidrs: Option<Vec<String>>,
}

impl EgressArgs {
    /// The flags as the API's fields.
    pub(crate) fn fields(self) -> EgressFields {
        let ranges = self.allow_cidr;
        fields(self.egress, (!ranges.is_empty()).then_some(ranges))
    }
}

impl EgressEditArgs {
    /// The flags as the API's fields.
    pub(crate) fn fields(self) -> EgressFields {
        let changed = self.allow_none || !self.allow_cidr.is_empty();
        fields(self.egress, changed.then_some(self.allow_cidr))
    }
}

fn fields(mode: Option<EgressMode>, ranges: Option<Vec<Cidr>>) -> EgressFields {
    EgressFields {
        egress: mode.map(|mode| mode.as_str().to_owned()),
        allow_cidrs: ranges.map(|ranges| ranges.into_iter().map(String::from).collect()),
    }
}
