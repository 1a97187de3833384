//! Values from the command line, the environment and a TOML file, in this order of precedence. Problems are
//! collected, and each names the flag, the variable and the key; secrets are never repeated.

mod layers;
pub(crate) mod parse;
mod resolver;

pub(crate) use layers::{Layers, Problem, variable};
pub(crate) use resolver::{Noted, Resolver};
