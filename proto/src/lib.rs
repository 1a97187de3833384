//! The gRPC contracts between the roles, and the domain types that several processes share:
//! ids, topic names, permission patterns, address lists, the validated application configuration,
//! settings and the error table. Each rule that more than one process applies stands here once.
//!
//! Never here: I/O, clocks, cryptography (keys are carried as text and compiled by `realtime-auth`).

pub mod address;
pub mod app;
pub mod close;
pub mod error;
pub mod field;
pub mod generated;
pub mod ids;
mod month;
pub mod nesting;
pub mod pattern;
pub mod permission;
pub mod problem;
mod reader;
pub mod settings;
pub mod texts;
mod timestamp;
pub mod topic;
pub mod unique;
pub mod usage;

pub use address::AddressList;
pub use app::AppConfig;
pub use close::CloseCode;
pub use error::{ApiError, ErrorCode};
pub use field::{FieldError, FieldErrors};
pub use ids::{AppId, ConnectionId, NodePrefix};
pub use month::Month;
pub use pattern::PatternSet;
pub use permission::{AdminPermission, PermissionCase, Permissions};
pub use reader::check_empty;
pub use settings::Settings;
pub use texts::Texts;
pub use timestamp::timestamp;
pub use usage::UsageCounts;
