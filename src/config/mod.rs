//! Reads the configuration: one file, the environment over it, the command line over both.
//!
//! In: a path, [`Environment`], options. Out: [`Settings`], whole and checked, with the place of
//! every key; or all [`Problems`] at once.
//! Never: the environment read anywhere else, a setting that was misspelt and passed over, a
//! secret in a message. [`yaml::load`] reads the other files of the same folder the same way.

mod again;
mod check;
mod environment;
mod explain;
mod files;
mod layers;
mod network;
mod parse;
mod positions;
mod problem;
mod settings;
mod tree;
mod typed;
pub mod yaml;

use std::path::{Path, PathBuf};

pub use again::{Again, Source};
pub use environment::Environment;
pub use network::{Network, is_loopback_url};
pub use positions::Positions;
pub use problem::{Problem, Problems};
pub use settings::*;
pub use yaml::{Loaded, Partial};

/// Reads, layers and checks the settings. `overrides` are pairs of a dotted path and a value.
///
/// # Errors
/// Everything that is wrong in the file, the environment and the options.
pub fn load(
    path: Option<&Path>,
    environment: &Environment,
    overrides: &[(String, String)],
) -> Result<Loaded<Settings>, Problems> {
    read(path, environment, overrides).map(|(loaded, _)| loaded)
}

/// Reads what it takes to find the running server, and counts the problems that were passed over.
/// Nothing else is checked and no secret is read: whoever has to halt the server may be no reader of
/// its secrets, and may come while somebody edits the file.
///
/// # Errors
/// Something is wrong that may be about the server's address.
pub fn to_find_the_server(
    path: Option<&Path>,
    environment: &Environment,
    overrides: &[(String, String)],
) -> Result<(Settings, usize), Problems> {
    let Laid { settings, problems, .. } = lay(path, environment, overrides)?;
    // A misspelt `listen` is an unknown key at the top; addresses stand nowhere else but in `http`.
    let of_address =
        |problem: &Problem| !problem.path.contains('.') || problem.path.starts_with("http.");
    if problems.iter().any(of_address) {
        return Err(Problems(problems));
    }
    Ok((settings, problems.len()))
}

/// What the sources say together, as far as it could be read.
struct Laid {
    settings: Settings,
    folder: PathBuf,
    positions: Positions,
    values: again::Values,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

fn lay(
    path: Option<&Path>,
    environment: &Environment,
    overrides: &[(String, String)],
) -> Result<Laid, Problems> {
    let document = files::find(path).map_err(|problem| Problems(vec![*problem]))?;
    let mut root =
        parse::parse(&document.file, &document.text).map_err(|problem| Problems(vec![*problem]))?;
    let layered = environment::lay_over(&mut root, environment, overrides);
    let values = again::values(&root);
    let Partial { value, positions, mut problems } =
        yaml::read_tree::<Settings>(&document.file, root);
    problems.extend(layered.problems);
    let Some(mut settings) = value else {
        return Err(Problems(problems));
    };
    settings.resolve(&document.folder);
    let (folder, warnings) = (document.folder, layered.warnings);
    Ok(Laid { settings, folder, positions, values, problems, warnings })
}

/// The settings, and what was written for each.
fn read(
    path: Option<&Path>,
    environment: &Environment,
    overrides: &[(String, String)],
) -> Result<(Loaded<Settings>, again::Values), Problems> {
    let Laid { mut settings, folder, positions, values, problems, mut warnings } =
        lay(path, environment, overrides)?;
    let secrets = files::read_secrets(&mut settings, &folder, &positions);
    warnings.extend(secrets.warnings);
    let further: Vec<Problem> =
        secrets.problems.into_iter().chain(settings.check(&positions)).collect();
    let problems = yaml::join(problems, further);
    if problems.is_empty() {
        return Ok((Loaded { value: settings, positions, warnings }, values));
    }
    Err(Problems(problems))
}

#[cfg(test)]
mod tests;
