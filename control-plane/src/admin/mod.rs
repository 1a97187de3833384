//! The admin services of `realtime.admin.v1`: applications, settings, nodes.
//!
//! Each call is answered in the order of docs/contract.md 4: 404, 403 address, 401, 413, 400, 403 permission, then
//! what only the documents show.

mod apps;
mod caller;
mod change;
mod document;
mod nodes;
mod rules;
mod settings;

pub use apps::AppsService;
pub use nodes::NodesService;
pub use settings::SettingsService;
