//! `selvedge model import` in a build without the feature `calibrate`: says so.
//!
//! Rules: help does not show it; whoever was told to run it learns what to do instead. Never here:
//! an import without calibration.

use crate::output::{Failure, Output};
use std::ffi::OsString;

/// Of `selvedge model import`: whatever was written.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _any: Vec<OsString>,
}

/// Refuses.
pub(crate) fn run(_: &Arguments, _: &Output) -> Result<(), Failure> {
    Err(Failure::Failed(anyhow::anyhow!(
        "this build makes no recipes, for it lacks the feature `calibrate`; build `cli` with it, \
         or fetch a model that the catalogue has a recipe for: selvedge model pull NAME"
    )))
}
