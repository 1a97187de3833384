//! `realtime settings get`.

use super::{operator, print};
use crate::cli::ServerArgs;
use crate::config::Layers;
use crate::failure::Failure;

/// `settings get`
pub(super) async fn get(args: &ServerArgs, layers: &Layers) -> Result<(), Failure> {
    let operator = operator::resolve(args, layers)?;
    print::document(&operator.ask(async |admin| Ok(admin.settings().await?)).await?.document)
}
